"""Serving an emulated cluster from a thread."""

import asyncio
import math
import threading
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from autoscaler.emulator.stepped_clock import SteppedClock
from autoscaler.simulation.emulator.server import RunningEmulator, running_emulator
from autoscaler.simulation.scenario import (
    ClusterScenario,
    adjust,
    read_scenario,
    sample_scenario,
    scenario_of,
)

_T = TypeVar("_T")


class EmulatedCluster:
    """A running cluster. `url` has no slash at the end."""

    def __init__(
        self, emulator: RunningEmulator, clock: SteppedClock, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.url = emulator.url
        self._emulator, self._clock, self._loop = emulator, clock, loop

    @property
    def now(self) -> float:
        """The time of the cluster, in Unix seconds."""
        return self._clock.now()

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass in the cluster.

        Raises:
            ValueError: time cannot pass backwards, or for ever.
        """
        if not 0.0 <= seconds < math.inf:
            raise ValueError(f"advance: seconds must not be negative or infinite, not {seconds}")
        _run(self._advance(seconds), self._loop)

    async def _advance(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
        await self._emulator.emulation.catch_up()


@contextmanager
def serve(
    scenario: str | Path | Mapping[str, Any] | None = None,
    *,
    version: str | None = None,
    load: bool | None = None,
    user: str | None = None,
) -> Iterator[EmulatedCluster]:
    """Serve a cluster on a free port of this host until the end of the block.

    Args:
        scenario: a TOML file, or the same as a mapping; None: a sample cluster of three nodes.
        version: for example "8.19", "9.2.4" or "serverless"; None: that of the scenario.
        load: False removes the loads of the scenario.
        user: `name:password` of a superuser, whose credentials are required.

    Raises:
        ClusterScenarioError: an argument is invalid; the message names the key.
    """
    described = adjust(_read(scenario), version=version, load=load, user=user)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="emulated cluster", daemon=True)
    thread.start()
    try:
        clock = SteppedClock()
        serving = running_emulator(described, clock=clock)
        emulator = _run(serving.__aenter__(), loop)
        try:
            yield EmulatedCluster(emulator, clock, loop)
        finally:
            _run(serving.__aexit__(None, None, None), loop)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _read(scenario: str | Path | Mapping[str, Any] | None) -> ClusterScenario:
    if scenario is None:
        return sample_scenario()
    if isinstance(scenario, str | Path):
        return read_scenario(Path(scenario))
    return scenario_of(scenario)


def _run(work: Coroutine[Any, Any, _T], loop: asyncio.AbstractEventLoop) -> _T:
    return asyncio.run_coroutine_threadsafe(work, loop).result()
