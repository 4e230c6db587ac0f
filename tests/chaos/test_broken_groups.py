"""Each invariant of a group catches a build that is broken on purpose, within a hundred seeds."""

import math

import pytest
from msgspec.structs import replace

from autoscaler import daemon
from autoscaler.adapters.elasticsearch.transport import Transport
from autoscaler.adapters.state import document_state, store
from autoscaler.adapters.state.restore import restored
from autoscaler.control_loop import ControlLoop
from autoscaler.core.election import Candidacy
from tests.chaos import group
from tests.chaos.broken import no_update_storm
from tests.chaos.group import run_group
from tests.chaos.shrinking import kind_of

pytestmark = [pytest.mark.deep, pytest.mark.untraced]

SEEDS = 100
CYCLES = 100


def only_the_leader(monkeypatch):
    """Followers act as the leader does."""
    monkeypatch.setattr(ControlLoop, "why_not_leading", lambda *_: "")
    monkeypatch.setattr(Transport, "_require_permission", lambda *_: None)


def one_leader(monkeypatch):
    """A lease is taken before its end."""
    takeover_at = Candidacy._takeover_at
    monkeypatch.setattr(
        Candidacy, "_takeover_at", lambda self: takeover_at(self) - 0.5 * self.ttl_s
    )


def one_writer(monkeypatch):
    """Followers act as the leader does."""
    only_the_leader(monkeypatch)


def fail_over(monkeypatch):
    """The lease of a process that has died is respected for ever."""

    def takeover_at(self):
        return -math.inf if self.holder in (None, "", self.name) else math.inf

    monkeypatch.setattr(Candidacy, "_takeover_at", takeover_at)


def stopped_remembered(monkeypatch):
    """Stopped deployments are not read again."""

    def without_stopped(*given):
        found = restored(*given)
        return replace(found, state=replace(found.state, stopped={}))

    monkeypatch.setattr(store, "restored", without_stopped)
    monkeypatch.setattr(document_state, "restored", without_stopped)


def one_configuration(monkeypatch):
    """A configuration counts at once, however short it is."""
    monkeypatch.setattr(daemon, "SETTLE_S", 0.01)
    monkeypatch.setattr(daemon, "RELOAD_INTERVAL_S", 0.5)


BUILDS = (
    only_the_leader,
    one_leader,
    one_writer,
    fail_over,
    no_update_storm,
    stopped_remembered,
    one_configuration,
)

INVARIANTS = ("CYCLE_INVARIANTS", "ACCEPTED_INVARIANTS", "SENT_INVARIANTS", "MOMENT_INVARIANTS")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("broken", BUILDS, ids=lambda broken: broken.__name__)
def test_a_broken_build_is_caught(broken, monkeypatch):
    broken(monkeypatch)
    for name in INVARIANTS:
        those = tuple(each for each in getattr(group, name) if each.__name__ == broken.__name__)
        monkeypatch.setattr(group, name, those)
    for seed in range(SEEDS):
        if broken.__name__ in map(kind_of, run_group(seed, cycles=CYCLES).violations):
            return
    raise AssertionError(f"no violation of {broken.__name__} in {SEEDS} seeds")
