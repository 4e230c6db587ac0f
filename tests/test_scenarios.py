"""Scenarios: a cluster, a workload, a configuration, and the expected decisions.

Each `tests/scenarios/*.toml` runs through the emulator in virtual time. Its transcript has a line
for every decision that differs from the last one, as the log explains it, and ends with the late
requests and the allocations. After a change of behaviour,
`WRITE_EXPECTED=1 pytest tests/test_scenarios.py` writes the transcripts again: review the
difference like code.
"""

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import msgspec
import pytest
from msgspec import Meta, Struct

from autoscaler.cluster_controller import ruleset_of
from autoscaler.config import load
from autoscaler.core.decision import OutcomeKind
from autoscaler.core.explanation import explain
from autoscaler.simulation.scenario import ClusterScenario
from tests.end_to_end.world import Cycle, World, world_of

pytestmark = pytest.mark.untraced

SCENARIOS = Path(__file__).parent / "scenarios"
LATE_S = 1.0
"""Seconds of queue wait beyond which a request counts as late."""


class Event(Struct, frozen=True, forbid_unknown_fields=True):
    """A request to the emulator at a given time."""

    at_s: float
    request: str  # method and path
    body: dict[str, Any] | None = None


class Scenario(Struct, frozen=True, forbid_unknown_fields=True):
    for_s: Annotated[float, Meta(gt=0.0)]
    config: dict[str, Any]  # as in the configuration file
    cluster: ClusterScenario
    events: list[Event] = []


def read_scenario(path: Path) -> Scenario:
    return msgspec.convert(tomllib.loads(path.read_text()), Scenario)


def settings(config: dict[str, Any]) -> dict[str, str]:
    """A configuration as variables of the environment."""
    everything = {"elasticsearch": {"hosts": "http://localhost"}, "rules": [{"name": "all"}]}
    variables = {}
    for key, value in (everything | config).items():
        if isinstance(value, dict):
            for inner, text in value.items():
                variables[f"AUTOSCALER_{key}__{inner}".upper()] = str(text)
        else:
            text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
            variables[f"AUTOSCALER_{key}".upper()] = text
    return variables


async def transcript_of(scenario: Scenario) -> list[str]:
    """The lines of the transcript."""
    config = load(None, settings(scenario.config))
    lines: list[str] = []
    reported: dict[str, object] = {}
    events = sorted(scenario.events, key=lambda event: event.at_s)
    async with (
        world_of(scenario.cluster, ruleset_of(config)) as world,
        aiohttp.ClientSession(world.running.url) as session,
    ):
        while world.now < scenario.for_s:
            while events and events[0].at_s <= world.now:
                await world.clock.run(send(session, events[0]))
                lines.append(f"{world.now:6.0f} s  -- {events.pop(0).request}")
            lines += changes_of(await world.cycle(), reported)
        return [*lines, *score(world)]


async def send(session: aiohttp.ClientSession, event: Event) -> None:
    method, path = event.request.split()
    async with session.request(method, path, json=event.body) as response:
        assert response.status == 200, await response.text()


def changes_of(cycle: Cycle, reported: dict[str, object]) -> Iterator[str]:
    """The failure and the decisions of a cycle that differ from those of the last one."""
    if cycle.failure is not None:
        if reported.get("") != cycle.failure.kind:
            yield f"{cycle.at:6.0f} s  no statistics: {cycle.failure.kind}"
        reported[""] = cycle.failure.kind
        return
    reported[""] = None
    for outcome in cycle.outcomes:
        decision = outcome.decision
        key = (decision.current, decision.desired, decision.reason, outcome.kind)
        if reported.get(decision.deployment_id) != key:
            sent = "" if outcome.kind is OutcomeKind.UNCHANGED else f" [{outcome.kind}]"
            yield f"{cycle.at:6.0f} s  {explain(decision)}{sent}"
        reported[decision.deployment_id] = key


def score(world: World) -> Iterator[str]:
    for name, deployment in sorted(world.cluster.deployments.items()):
        ledger = deployment.ledger
        late = ledger.waited_longer_than(LATE_S) + ledger.rejected + ledger.failed
        yield (
            f"{name}: {ledger.requests} requests, {late / ledger.requests:.1%} late or lost; "
            f"{world.allocation_s(name) / world.now:.1f} allocations on average, "
            f"changed {ledger.changes} times"
        )


@pytest.mark.parametrize("name", sorted(path.stem for path in SCENARIOS.glob("*.toml")))
async def test_transcript(name):
    transcript = "\n".join(await transcript_of(read_scenario(SCENARIOS / f"{name}.toml"))) + "\n"
    expected = SCENARIOS / f"{name}.expected"
    if os.environ.get("WRITE_EXPECTED"):
        expected.write_text(transcript)
    assert transcript == expected.read_text()


async def test_a_scenario_is_deterministic():
    scenario = read_scenario(SCENARIOS / "burst.toml")
    assert await transcript_of(scenario) == await transcript_of(scenario)


def test_every_transcript_has_its_scenario():
    assert {p.stem for p in SCENARIOS.glob("*.expected")} == {
        p.stem for p in SCENARIOS.glob("*.toml")
    }
