"""Stories: a cluster, a load, a configuration, and beside it what the daemon said.

Each `tests/scenarios/*.toml` runs through the emulator in virtual time. Its transcript has a line
for every cycle that brings something new, in the words operators read, and ends with what callers
experienced. After a change of behaviour, `WRITE_STORIES=1 pytest tests/test_stories.py` writes the
transcripts anew: review the difference like code.
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
from autoscaler.core.explanation import explain
from autoscaler.core.values import OutcomeKind
from autoscaler.simulation.scenario import ClusterScenario
from tests.end_to_end.world import Cycle, World, world_of

STORIES = Path(__file__).parent / "scenarios"
LATE_S = 1.0
"""A request that waited longer has been noticed by somebody."""


class Event(Struct, frozen=True, forbid_unknown_fields=True):
    """Something that happens, as a request to the emulator."""

    at_s: float
    request: str  # method and path
    body: dict[str, Any] | None = None


class Story(Struct, frozen=True, forbid_unknown_fields=True):
    for_s: Annotated[float, Meta(gt=0.0)]
    config: dict[str, Any]  # as in the configuration file
    cluster: ClusterScenario
    events: list[Event] = []


def read_story(path: Path) -> Story:
    return msgspec.convert(tomllib.loads(path.read_text()), Story)


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


async def tell(story: Story) -> list[str]:
    """The transcript of a story."""
    config = load(None, settings(story.config))
    lines: list[str] = []
    told: dict[str, object] = {}
    events = sorted(story.events, key=lambda event: event.at_s)
    async with (
        world_of(story.cluster, ruleset_of(config), poll_s=config.poll_interval_s) as world,
        aiohttp.ClientSession(world.running.url) as session,
    ):
        while world.now < story.for_s:
            while events and events[0].at_s <= world.now:
                await world.clock.run(happen(session, events[0]))
                lines.append(f"{world.now:6.0f} s  -- {events.pop(0).request}")
            lines += news(await world.cycle(), told)
        return [*lines, *score(world)]


async def happen(session: aiohttp.ClientSession, event: Event) -> None:
    method, path = event.request.split()
    async with session.request(method, path, json=event.body) as response:
        assert response.status == 200, await response.text()


def news(cycle: Cycle, told: dict[str, object]) -> Iterator[str]:
    """What a cycle says that the last did not."""
    if cycle.failure is not None:
        if told.get("") != cycle.failure.kind:
            yield f"{cycle.at:6.0f} s  no statistics: {cycle.failure.kind}"
        told[""] = cycle.failure.kind
        return
    told[""] = None
    for outcome in cycle.outcomes:
        decision = outcome.decision
        key = (decision.current, decision.desired, decision.reason, outcome.kind)
        if told.get(decision.deployment_id) != key:
            sent = "" if outcome.kind is OutcomeKind.UNCHANGED else f" [{outcome.kind}]"
            yield f"{cycle.at:6.0f} s  {explain(decision)}{sent}"
        told[decision.deployment_id] = key


def score(world: World) -> Iterator[str]:
    for name, deployment in sorted(world.cluster.deployments.items()):
        ledger = deployment.ledger
        late = ledger.waited_longer_than(LATE_S) + ledger.rejected + ledger.failed
        yield (
            f"{name}: {ledger.requests} requests, {late / ledger.requests:.1%} late or lost; "
            f"{world.allocation_s(name) / world.now:.1f} allocations on average, "
            f"changed {ledger.changes} times"
        )


@pytest.mark.parametrize("name", sorted(path.stem for path in STORIES.glob("*.toml")))
async def test_story(name):
    transcript = "\n".join(await tell(read_story(STORIES / f"{name}.toml"))) + "\n"
    expected = STORIES / f"{name}.expected"
    if os.environ.get("WRITE_STORIES"):
        expected.write_text(transcript)
    assert transcript == expected.read_text()


async def test_a_story_is_always_the_same():
    story = read_story(STORIES / "burst.toml")
    assert await tell(story) == await tell(story)


def test_every_transcript_has_its_story():
    assert {p.stem for p in STORIES.glob("*.expected")} == {p.stem for p in STORIES.glob("*.toml")}
