"""A field case played to the daemon: its requests, log, explanations and metrics."""

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import msgspec
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from structlog.testing import capture_logs

from autoscaler.config import load
from autoscaler.core.decision import Outcome, OutcomeKind, Plan
from autoscaler.core.values import Observation
from autoscaler.daemon import Daemon
from autoscaler.explain import AdminRequestFailed, DaemonAddress, Reply, fetch, render
from autoscaler.ports import CycleTimes, ObservationFailed
from tests.end_to_end.field_cluster import (
    FieldCluster,
    Json,
    Request,
    deployments_in,
    is_count,
    routes_of,
    serving,
)
from tests.virtual_loop import START, LoopClock

POLL_S = 10.0
STOPPED = "stopped.msgpack"
CONFIG = """
poll_interval = "{poll}"
min_poll_interval = "{poll}"  # the recorded statistics are that far apart
state_dir = "state"
{stopped}[elasticsearch]
hosts = ["{url}"]
[server]
port = 0
token = "0123456789abcdef"
{rule}
"""


class Page(NamedTuple):
    """A response of the daemon's server, and when, in seconds after the start."""

    at: float
    status: int
    text: str


@dataclass
class Played:
    """Everything that came of one case."""

    cluster: FieldCluster
    log: list[Json]
    outcomes: list[Outcome] = field(default_factory=list)
    failures: list[ObservationFailed] = field(default_factory=list)
    observations: list[Observation] = field(default_factory=list)
    pages: dict[str, list[Page]] = field(default_factory=dict)
    explained: dict[str, str] = field(default_factory=dict)  # `explain ID`, at the end

    @property
    def changes(self) -> list[Request]:
        return self.cluster.changes

    def kinds(self, deployment_id: str | None = None) -> set[OutcomeKind]:
        return {
            outcome.kind
            for outcome in self.outcomes
            if deployment_id in (None, outcome.decision.deployment_id)
        }

    def last(self, deployment_id: str) -> Outcome:
        return next(
            outcome
            for outcome in reversed(self.outcomes)
            if outcome.decision.deployment_id == deployment_id
        )

    def lines(self, *levels: str) -> list[str]:
        """The messages of the log at these levels."""
        return [str(line.get("message", "")) for line in self.log if line["log_level"] in levels]

    @property
    def shown(self) -> dict[str, Json]:
        """The deployments of the last /decisions, by id."""
        response = msgspec.json.decode(self.pages["/decisions"][-1].text)
        return {each["deployment"]: each for each in response.get("deployments", [])}

    def samples(self, page: int = -1) -> Iterator[tuple[str, dict[str, str], float]]:
        """Name, labels and value of everything in one of the /metrics."""
        for family in text_string_to_metric_families(self.pages["/metrics"][page].text):
            for sample in family.samples:
                yield sample.name, sample.labels, sample.value


class _Kept:
    """A Recorder that keeps everything."""

    def __init__(self, played: Played) -> None:
        self._played = played

    def planned(
        self, observation: Observation, plan: Plan, outcomes: tuple[Outcome, ...], took: CycleTimes
    ) -> None:
        self._played.observations.append(observation)
        self._played.outcomes.extend(outcomes)

    def skipped(self, failure: ObservationFailed, at: float) -> None:
        self._played.failures.append(failure)


Script = Callable[["Session"], Awaitable[None]]


class Session:
    """A daemon that runs on a field case."""

    def __init__(self, daemon: Daemon, played: Played) -> None:
        self.daemon, self.played = daemon, played

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.daemon.server.port}"

    async def look(self, *paths: str) -> None:
        """Read pages of the daemon's server."""
        async with aiohttp.ClientSession() as session:
            for path in paths:
                async with session.get(self.url + path) as response:
                    page = Page(asyncio.get_running_loop().time(), response.status, "")
                    page = page._replace(text=await response.text())
                    self.played.pages.setdefault(path, []).append(page)

    async def request_resume(self, deployment_id: str) -> int:
        token = {"Authorization": "Bearer 0123456789abcdef"}
        url = f"{self.url}/resume/{deployment_id}"
        async with aiohttp.request("POST", url, headers=token) as response:
            return response.status

    async def explain(self) -> None:
        """Keep the output of `explain` for every deployment."""
        for id_ in ("", *self.played.shown):
            try:
                text = _rendered(await fetch(DaemonAddress(self.url), id_ or None))
            except AdminRequestFailed as failure:
                text = str(failure)
            self.played.explained[id_] = text


def _rendered(reply: Reply) -> str:
    output = io.StringIO()
    render(reply.response, Console(file=output, width=200))
    return output.getvalue()


async def play(
    case: Json,
    folder: Path,
    *,
    seconds: float,
    begin: Script | None = None,
    look_every_s: float = 60.0,
) -> Played:
    """Run the daemon on a case for `seconds`, and read its pages every `look_every_s`."""
    async with configured(case, folder) as (cluster, path):
        with capture_logs() as log:
            played = Played(cluster, log)
            clock = LoopClock()
            daemon = Daemon(lambda: load(path, {}), clock=clock, recorders=(_Kept(played),))
            session = Session(daemon, played)
            running = asyncio.ensure_future(daemon.run())
            try:
                await _either(daemon.started.wait(), running)
                if begin is not None:
                    await begin(session)
                # Between two polls, where every cycle is complete.
                await asyncio.sleep(look_every_s / 2.0 + 1.0)
                while clock.now() - START < seconds:
                    await session.look("/metrics", "/decisions", "/healthz", "/readyz")
                    await asyncio.sleep(look_every_s)
                await session.look("/metrics", "/decisions", "/healthz", "/readyz")
                await session.explain()
            finally:
                daemon.stop()
                await running
    return played


@asynccontextmanager
async def configured(case: Json, folder: Path) -> AsyncIterator[tuple[FieldCluster, Path]]:
    """The scripted cluster of a case, and a configuration for it with its rule."""
    async with serving(case) as (cluster, url):
        path = folder / "config.toml"
        poll = case.get("poll_interval") or f"{case.get('every_s', POLL_S):g}s"
        left = (folder / STOPPED).exists()  # by a daemon before the saved state
        stopped = f'state_file = "{STOPPED}"\n' if left else ""
        path.write_text(CONFIG.format(poll=poll, url=url, rule=case["rule"], stopped=stopped))
        path.chmod(0o600)  # it contains the token
        yield cluster, path


async def _either(first: Any, running: asyncio.Task[None]) -> None:
    """Wait until `first` has happened; raise what ended the daemon before."""
    waiting = asyncio.ensure_future(first)
    await asyncio.wait({waiting, running}, return_when=asyncio.FIRST_COMPLETED)
    if not waiting.done():
        waiting.cancel()
        await running
        raise AssertionError("the daemon has ended")


# What holds for every case


def check_promises(played: Played) -> None:
    """Raise AssertionError if an invariant of the daemon does not hold."""
    _check_no_defect(played)
    _check_bounds(played)
    _check_no_decrease_on_unknown(played)
    _check_calls_end(played)
    _check_all_shown(played)


def _check_no_defect(played: Played) -> None:
    defects = [
        line
        for line in played.log
        if "exc_info" in line or line.get("kind") == "defect" or "internal" in line["event"]
    ]
    assert not defects, defects
    assert all(page.status in (200, 503) for page in played.pages["/decisions"])
    for path in ("/metrics", "/healthz"):
        assert all(page.status == 200 for page in played.pages[path]), path


def requested_by(change: Request) -> list[int]:
    """The allocations, and their bounds, that a change requests."""
    settings = change.body.get("service_settings", change.body)
    adaptive = settings.get("adaptive_allocations") or {}
    return [
        value
        for value in (
            settings.get("number_of_allocations"),
            settings.get("num_allocations"),
            adaptive.get("min_number_of_allocations"),
            adaptive.get("max_number_of_allocations"),
        )
        if value is not None
    ]


def _check_bounds(played: Played) -> None:
    for outcome in played.outcomes:
        decision = outcome.decision
        if decision.change is None:
            continue
        low = 0 if "scale_to_zero" in played.cluster.case["rule"] else 1
        sent = [
            number
            for change in played.changes
            if decision.deployment_id in change.path.split("/")
            for number in requested_by(change)
        ]
        assert all(low <= number <= decision.max_allocations for number in sent), (
            f"outside the rule's {decision.min_allocations}..{decision.max_allocations}: {sent}"
        )


def _check_no_decrease_on_unknown(played: Played) -> None:
    for outcome in played.outcomes:
        decision = outcome.decision
        if decision.change is not None and decision.desired < decision.current:
            assert not decision.sample.issues, f"decreased on {decision.sample.issues}: {decision}"
    for change in played.changes:
        before = [given for at, given in played.cluster.given if at <= change.at]
        if not before:
            continue
        for id_, stats in deployments_in(before[-1]).items():
            if id_ not in change.path.split("/"):
                continue
            current, numbers = stats.get("number_of_allocations"), requested_by(change)
            known = isinstance(current, int | float) and current == int(current)
            assert known, f"changed from an unknown number: {change}"
            lowers = change.path.endswith("/_stop") or (numbers and max(numbers) < current)
            assert not (lowers and _silent_routes(stats)), f"decreased on unknown counts: {change}"


def _silent_routes(stats: Json) -> list[Json]:
    """The started routes whose counts cannot be read."""
    return [
        route
        for route in routes_of(stats)
        if isinstance(state := route.get("routing_state"), dict)
        and state.get("routing_state") == "started"
        and not is_count(route.get("inference_count"))
    ]


_CALLS_PER_HOUR = 40
"""Changes of one deployment that nothing comes of: a poll every 10 s would send 360."""


def _check_calls_end(played: Played) -> None:
    hours = max(1.0, played.pages["/metrics"][-1].at / 3600.0)
    by_path: dict[str, int] = {}
    for change in played.changes:
        by_path[change.path] = by_path.get(change.path, 0) + 1
    assert all(calls <= _CALLS_PER_HOUR * hours for calls in by_path.values()), by_path


def _check_all_shown(played: Played) -> None:
    if played.pages["/decisions"][-1].status != 200 or not played.cluster.given:
        return
    at, last = played.cluster.given[-1]
    if played.observations and played.observations[-1].at >= START + at:
        expected = set(deployments_in(last))
        assert expected <= set(played.shown), f"not shown: {expected - set(played.shown)}"
        assert expected <= set(played.explained), "explain shows all"
