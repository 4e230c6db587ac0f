"""What is recorded of each cycle, and what is kept of it in memory."""

import json
from types import SimpleNamespace

import pytest

from autoscaler.adapters.history import History, HistoryRecorder
from autoscaler.adapters.history.levels import MAX_EVENTS, MAX_EVENTS_IN_AN_HOUR
from autoscaler.adapters.history.recent import RecentHistory
from autoscaler.core.decision import OutcomeKind
from autoscaler.core.flow.planning import plan
from autoscaler.core.state import State
from autoscaler.core.values import AdaptiveAllocations
from autoscaler.ports import CycleTimes, FailureKind, ObservationFailed
from autoscaler.wire.history import Event, HistoryQuery, Note, position_of
from tests.fakes import FakeClock
from tests.observations import deployment, node, observation, outcome, policy, rule

NOW = 1_760_000_000.0
TIMES = CycleTimes(observe_s=0.0, plan_s=0.0, act_s=0.0)


class Recorded:
    """A recorder, and the events that each cycle adds."""

    def __init__(self, **options):
        self.events = []
        self.recorder = HistoryRecorder(SimpleNamespace(record=self.events.extend), **options)
        self.state = State()
        self.at = NOW

    def cycle(self, *deployments, ruleset=None, kind=OutcomeKind.UNCHANGED, **given):
        """The new events, as their kinds and messages."""
        self.at += 10.0
        seen = observation(self.at, *deployments, **given)
        planned, self.state = plan(self.state, seen, ruleset or policy(rule(min_allocations=1)))
        outcomes = tuple(outcome(each, kind) for each in planned.decisions)
        return self._new(lambda: self.recorder.planned(seen, planned, outcomes, TIMES))

    def fails(self, kind=FailureKind.UNREACHABLE, message="cluster: no route to host"):
        self.at += 10.0
        failure = ObservationFailed(kind, message)
        return self._new(lambda: self.recorder.skipped(failure, self.at))

    def _new(self, record):
        self.events.clear()
        record()
        return [
            (each.kind, each.subject.message if isinstance(each.subject, Note) else "")
            for each in self.events
        ]


def kinds(events):
    return [kind for kind, _ in events]


class TestDecisions:
    def record(self, *cycles):
        """The kinds of the events of each cycle, given the recommendation and the outcome."""
        recorded, found = Recorded(), []
        stats = deployment(node(allocations=2), deployment_id="a")
        for minimum, kind in cycles:
            recorded.state = State()  # so that the reason depends on nothing else
            ruleset = policy(rule(min_allocations=minimum))
            found.append(kinds(recorded.cycle(stats, ruleset=ruleset, kind=kind)))
        return found

    def test_those_that_differ_from_the_one_before_and_are_new(self):
        unchanged, dry = (2, OutcomeKind.UNCHANGED), (3, OutcomeKind.DRY_RUN)
        assert self.record(unchanged, unchanged, dry, dry, unchanged) == [
            ["decision"],
            [],
            ["decision"],
            [],
            [],
        ]

    def test_reasons_that_alternate_while_nothing_changes_only_once_in_an_hour(self):
        recorded, found = Recorded(), []
        adaptive = AdaptiveAllocations(enabled=True, minimum=1, maximum=4)
        direct, bounds = (
            deployment(node(allocations=2), adaptive=each) for each in (None, adaptive)
        )
        for stats in (direct, bounds) * 200:
            recorded.state = State()  # so that the reason depends on nothing else
            found += recorded.cycle(stats)
        assert recorded.at - NOW > 3_600.0
        assert kinds(found) == ["decision"] * 4

    @pytest.mark.parametrize("kind", [OutcomeKind.ACCEPTED, OutcomeKind.NO_CAPACITY])
    def test_every_update_and_every_refusal(self, kind):
        sent = (3, kind)
        assert self.record(sent, sent, (3, OutcomeKind.UNKNOWN)) == [["update"]] * 3

    def test_an_update_that_is_repeated_has_no_steps_again(self):
        recorded, stats = Recorded(), deployment(node(allocations=2))
        for _ in range(2):
            recorded.state = State()
            ruleset = policy(rule(min_allocations=3))
            recorded.cycle(stats, ruleset=ruleset, kind=OutcomeKind.NOT_STARTED)
            content = json.loads(recorded.events[-1].entry().content)
            assert content["outcome"]["kind"] == "not_started"
        assert "steps" not in content

    def test_a_first_one_that_changes_nothing_is_brief(self):
        recorded = Recorded()
        stats = deployment(node(allocations=2))
        recorded.cycle(stats)
        (first,) = recorded.events
        recorded.cycle(stats, ruleset=policy(rule(min_allocations=3)), kind=OutcomeKind.DRY_RUN)
        (second,) = recorded.events
        brief, whole = (json.loads(each.entry().content) for each in (first, second))
        assert brief["message"].startswith("elser")
        assert "steps" not in brief
        assert [step["after"] for step in whole["steps"]][-1] == 3


class TestStates:
    def test_a_deployment_that_begins_and_ends_to_be_managed_and_vanishes(self):
        recorded, stats = Recorded(), deployment(node())
        recorded.cycle(stats)
        assert recorded.cycle(stats, ruleset=policy(rule(models=("other",)))) == [
            ("unmanaged", "elser is not managed: no rule matches it")
        ]
        assert ("managed", "elser is managed by the rule all") in recorded.cycle(stats)
        assert recorded.cycle(unreadable={"elser": "its id is no text"}) == [
            ("unreadable", "elser: the statistics are invalid: its id is no text")
        ]
        assert recorded.cycle() == [("vanished", "elser is no longer reported by the cluster")]

    def test_what_the_first_observation_shows_is_no_change(self):
        assert Recorded().cycle(unreadable={"elser": "its id is no text"}) == []

    def test_a_change_that_concerns_all_is_a_few_events_and_their_number(self):
        recorded = Recorded()
        recorded.cycle(unreadable={f"d{n}": "damaged" for n in range(1_000)})
        *some, (kind, others) = recorded.cycle()
        assert kinds(some) == ["vanished"] * MAX_EVENTS
        assert (kind, others) == ("others", "vanished: the same applies to 980 further deployments")

    def test_changes_that_do_not_end_are_bounded_in_an_hour_and_counted(self):
        recorded, kept, counted = Recorded(), 0, 0
        recorded.cycle()
        for number in range(1_000):  # a place in a damaged response is another one in each
            for kind, message in recorded.cycle(unreadable={f"entry {number}": "damaged"}):
                if kind == "unreadable":
                    kept += 1
                elif kind == "others" and message.startswith("unreadable"):
                    counted += int(message.split()[-3])
        hours = (recorded.at - NOW) / 3_600.0
        assert kept <= MAX_EVENTS_IN_AN_HOUR * (hours + 1.0)
        assert kept + counted > 1_000 - 3_600 / 10

    def test_allocations_that_do_not_run_until_they_do(self):
        recorded = Recorded()
        whole = deployment(node("n1"), node("n2"))
        less = deployment(node("n1"), allocations=2, running_allocations=1)
        recorded.cycle(whole)
        assert "allocations_missing" in kinds(recorded.cycle(less))
        assert "allocations_missing" not in kinds(recorded.cycle(less))
        (message,) = (text for kind, text in recorded.cycle(whole) if kind == "allocations_running")
        assert message == "elser: all 2 allocations run again, after 20 s"

    def test_a_cluster_that_cannot_be_read_and_is_back(self):
        recorded = Recorded()
        assert recorded.fails() == [("observation_failed", "cluster: no route to host")]
        assert recorded.fails() == []
        assert kinds(recorded.fails(FailureKind.TIMEOUT, "cluster: no response")) == [
            "observation_failed"
        ]
        assert recorded.cycle() == [
            ("observation_recovered", "cluster: statistics are available again after 30 s")
        ]

    def test_who_leads(self):
        leadership = SimpleNamespace(name="a", leader="b", leading_since=None)
        recorded = Recorded(leadership=leadership)
        assert recorded.cycle() == [("leadership", "this instance, a, does not lead; b leads")]
        leadership.leading_since, leadership.leader = float("inf"), "b"
        assert recorded.cycle() == []  # it has not taken the state yet
        leadership.leading_since, leadership.leader = NOW, "a"
        assert recorded.fails()[1:] == [("leadership", "this instance, a, leads")]
        leadership.leading_since, leadership.leader = None, ""
        assert recorded.cycle()[1:] == [
            ("leadership", "this instance, a, does not lead; no leader is known")
        ]


def note(at, name="a", message="something"):
    return Event(at, name, "instruction", Note(message))


class TestInMemory:
    async def test_it_is_read_newest_first(self):
        recent = RecentHistory()
        recent.record([note(NOW + 1.0), note(NOW + 2.0, "b"), note(NOW + 3.0, ""), note(NOW + 3.0)])
        found = recent.read(HistoryQuery())
        assert [(each.at - NOW, each.deployment_id) for each in found] == [
            (3.0, "a"),
            (3.0, ""),
            (2.0, "b"),
            (1.0, "a"),
        ]

    async def test_one_deployment_has_the_events_of_the_whole(self):
        recent = RecentHistory()
        recent.record([note(NOW, "a"), note(NOW, "b"), note(NOW, "")])
        found = recent.read(HistoryQuery("a"))
        assert [each.deployment_id for each in found] == ["", "a"]

    async def test_pages_have_every_entry_once(self):
        recent = RecentHistory()
        recent.record([note(NOW, str(number)) for number in range(10)])
        found, before = [], None
        while page := recent.read(HistoryQuery(limit=3, before=before)):
            found += [each.deployment_id for each in page]
            before = page[-1].position
        assert found == [str(number) for number in reversed(range(10))]

    async def test_it_begins_at_an_instant(self):
        recent = RecentHistory()
        recent.record([note(NOW + second) for second in range(4)])
        assert len(recent.read(HistoryQuery(since=NOW + 2.0))) == 2

    async def test_it_is_bounded(self):
        recent = RecentHistory(max_bytes=1_000)
        for second in range(100):
            recent.record([note(NOW + second, message="x" * 80)])
        found = recent.read(HistoryQuery())
        assert found[0].at == NOW + 99.0
        assert 5 < len(found) <= 10


class Stored:
    """A history in the saved state."""

    place = "/state"

    def __init__(self):
        self.is_open, self.problem, self.readable, self.events = True, "", True, []

    def record(self, events):
        self.events += events

    def read_history(self, query):
        return [each.entry() for each in self.events] if self.readable else None


class TestWhereItIsKept:
    async def test_in_the_saved_state_if_there_is_one(self):
        stored = Stored()
        history = History(FakeClock(NOW), stored)
        history.note("instruction", "paused", deployment_id="a", by="ops", stated_reason="tests")
        (entry,), kept_in = history.read(HistoryQuery())
        assert (kept_in, entry.at, entry.deployment_id) == ("/state", NOW, "a")
        assert json.loads(entry.content) == {
            "message": "paused",
            "by": "ops",
            "stated_reason": "tests",
        }

    @pytest.mark.parametrize("broken", [{"is_open": False}, {"problem": "the disk is full"}, None])
    async def test_in_memory_otherwise(self, broken):
        stored = None if broken is None else Stored()
        for name, value in (broken or {}).items():
            setattr(stored, name, value)
        history = History(FakeClock(NOW), stored)
        history.note("started", "the daemon has started")
        entries, kept_in = history.read(HistoryQuery())
        assert ([each.kind for each in entries], kept_in) == (["started"], "")

    async def test_it_is_read_from_memory_if_the_disk_does_not_respond(self):
        stored = Stored()
        stored.readable = False
        assert History(FakeClock(NOW), stored).read(HistoryQuery()) == ([], "")


class TestPositions:
    async def test_they_are_read_as_they_are_written(self):
        recent = RecentHistory()
        recent.record([note(NOW + 0.1)])
        (entry,) = recent.read(HistoryQuery())
        assert position_of(str(entry.position)) == entry.position

    @pytest.mark.parametrize(
        "text", ["", "1", ":", "1:", ":1", "x:1", "nan:1", "inf:1", "1:-1", "1:²", "1:" + "9" * 99]
    )
    def test_others_are_rejected(self, text):
        with pytest.raises(ValueError, match=r".+"):
            position_of(text)
