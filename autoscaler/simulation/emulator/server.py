"""Serving an emulated cluster over HTTP or HTTPS."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext, suppress
from pathlib import Path

from aiohttp import web
from msgspec import Struct

from autoscaler.errors import UserError
from autoscaler.ports import Clock
from autoscaler.simulation.cluster import SimulatedCluster
from autoscaler.simulation.emulator.application import build_application
from autoscaler.simulation.emulator.building import build_emulation
from autoscaler.simulation.emulator.emulation import Emulation
from autoscaler.simulation.scenario import ClusterScenario

_CATCH_UP_EVERY_S = 0.05
"""Seconds of host time between advances of the cluster."""


class CannotServe(UserError):
    """The address or port is not available."""


class Tls(Struct, frozen=True):
    """Files with a certificate chain and its key, in PEM."""

    certificate: Path
    key: Path


class RunningEmulator(Struct, frozen=True, kw_only=True):
    """An emulated cluster and its address."""

    url: str  # without a slash at the end
    emulation: Emulation

    @property
    def cluster(self) -> SimulatedCluster:
        return self.emulation.cluster


@asynccontextmanager
async def running_emulator(
    scenario: ClusterScenario,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    clock: Clock,
    keep_up: bool = False,
    tls: Tls | None = None,
) -> AsyncIterator[RunningEmulator]:
    """Serve a scenario until the end of the block.

    Args:
        port: 0 means any free port.
        clock: the clock of the cluster, which should run at the speed of the scenario.
        keep_up: advance the cluster continuously, and not only with requests; for a clock that
            runs by itself.

    Raises:
        ClusterScenarioError: the scenario is inconsistent.
        CannotServe: the address or port is not available.
        OSError: a file of `tls` cannot be read.
    """
    emulation = build_emulation(scenario, clock)
    runner = web.AppRunner(build_application(emulation), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, ssl_context=_ssl_context(tls))
        try:
            await site.start()
        except (OSError, UnicodeError) as error:  # the latter for an invalid host name
            raise CannotServe(
                f"cannot listen on {_authority(host, port)}: the port is in use, or the address "
                "does not belong to this machine; choose another host or port"
            ) from error
        scheme = "https" if tls else "http"
        url = f"{scheme}://{_authority(host, runner.addresses[0][1])}"
        async with _keeping_up(emulation, scenario.speed) if keep_up else nullcontext():
            yield RunningEmulator(url=url, emulation=emulation)
    finally:
        await runner.cleanup()


@asynccontextmanager
async def _keeping_up(emulation: Emulation, speed: float) -> AsyncIterator[None]:
    keeping_up = asyncio.create_task(emulation.keep_up(_CATCH_UP_EVERY_S * speed))
    try:
        yield
    finally:
        keeping_up.cancel()
        with suppress(asyncio.CancelledError):
            await keeping_up


def _ssl_context(tls: Tls | None) -> ssl.SSLContext | None:
    if tls is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tls.certificate, tls.key)
    return context


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
