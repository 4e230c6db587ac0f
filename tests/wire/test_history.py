"""Entries of the history: what is stored, and what is shown of it."""

import json
import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from autoscaler.core.decision import OutcomeKind
from autoscaler.core.flow.planning import plan
from autoscaler.core.state import State
from autoscaler.wire.history import Event, EventKind, HistoryEntry, Note, view_of
from tests.observations import deployment, node, observation, outcome, policy, rule

NOW = 1_760_000_000.0


def update(name="elser", *, brief=False):
    stats = deployment(node(allocations=2), deployment_id=name)
    planned, _ = plan(State(), observation(NOW, stats), policy(rule(min_allocations=3)))
    (decision,) = planned.decisions
    refused = outcome(decision, OutcomeKind.NO_CAPACITY, at=NOW, detail="not enough memory")
    return Event(NOW, name, "update", refused, brief=brief)


def entry(content, kind="update"):
    return HistoryEntry(NOW, "elser", kind, content)


def test_an_update_shows_its_allocations_its_reason_and_its_outcome():
    view = view_of(update().entry(), whole=False)
    assert (view.at, view.deployment, view.kind) == (NOW, "elser", "update")
    assert (view.current, view.desired, view.outcome) == (2, 3, "no_capacity")
    assert view.reason == "bounds"
    assert "not enough memory" in view.message
    assert view.decision is None


def test_the_whole_decision_has_its_steps():
    view = view_of(update().entry(), whole=True)
    assert view.decision is not None
    assert view.decision.steps[-1].after == 3


def test_a_brief_one_shows_the_same_without_its_steps():
    brief, whole = (view_of(update(brief=each).entry(), whole=True) for each in (True, False))
    assert brief.decision is None
    assert msgspec.structs.replace(whole, decision=None) == brief


def test_an_instruction_shows_the_operator_and_the_stated_reason():
    event = Event(NOW, "elser", "instruction", Note("elser is paused", "alice", "reindexing"))
    view = view_of(event.entry(), whole=True)
    assert (view.message, view.by, view.stated_reason) == (
        "elser is paused",
        "alice",
        "reindexing",
    )
    assert (view.current, view.outcome, view.decision) == (None, "", None)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"message": 3}', b"\xff", b'{"message": "\xff"}', b'"[' * 20]
)
def test_a_damaged_entry_says_so(content):
    view = view_of(entry(content), whole=True)
    assert (view.at, view.message) == (NOW, "this entry cannot be read")


def test_an_entry_of_an_earlier_release_shows_its_kind_at_least():
    content = json.dumps({"allocations": 3, "lead_time_s": 9.0, "new_node": False}).encode()
    assert view_of(entry(content, "completed"), whole=True).message == "completed"


def test_an_entry_of_a_later_release_is_shown_as_far_as_it_is_known():
    content = json.loads(update().entry().content)
    content |= {"steps": "in another form", "more": 1}
    view = view_of(entry(json.dumps(content).encode()), whole=True)
    assert (view.desired, view.outcome, view.decision) == (3, "no_capacity", None)


def test_each_kind_is_documented():
    page = (Path(__file__).parents[2] / "docs/operations.md").read_text()
    section = page.partition("### What has happened\n")[2].partition("\n### ")[0]
    named = set(re.findall(r"`(\w+)`", section))
    assert set(get_args(EventKind)) <= named
