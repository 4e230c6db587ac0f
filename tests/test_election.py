"""Never two instances that may change the cluster, whatever happens between them.

`python -m tests.test_election COUNT [SEED]` runs so many elections, from that or a random seed on.
"""

import random
import sys

import pytest
from msgspec.structs import replace

from autoscaler.core.election import Candidacy
from tests.elections import TTL_S, MemoryLeaseStore, TwoLeaders, run_election

SEEDS = 60


FOUND = (3614298864,)  # by earlier defects


@pytest.mark.parametrize("seed", [*range(SEEDS), *FOUND])
def test_no_two_instances_ever_lead_and_one_does_after_everything_has_recovered(seed):
    run_election(seed)


@pytest.mark.deep
@pytest.mark.timeout(600)
def test_no_two_instances_lead_in_two_thousand_elections():
    for seed in range(10_000, 12_000):
        run_election(seed)


def test_the_elections_that_are_tested_have_many_leaders():
    elections = [run_election(seed) for seed in range(SEEDS, SEEDS + 10)]

    assert sum(len(election.led) for election in elections) > 20
    assert sum(len(election.changes) for election in elections) > 500


def test_a_follower_leads_within_a_lease_and_two_attempts_after_its_leader_has_been_killed():
    led_after_s = []
    for seed in range(20):
        election = run_election(seed, events=0, recover_s=3.0 * TTL_S, kill_leader=True)
        led_after_s.append(election.led_after_s)

    assert max(led_after_s) <= TTL_S * 1.4
    assert min(led_after_s) > TTL_S * 0.7


async def _write_always(self, lease, replaces):
    return self.put(lease)


def _at_once(after_write):
    def patched(self, written, sent_at, at):
        return replace(after_write(self, written, sent_at, at), leads_from=-float("inf"))

    return patched


def _from_the_response(after_write):
    def patched(self, written, sent_at, at):
        return after_write(self, written, at, at)

    return patched


def _for_ever(after_write):
    def patched(self, written, sent_at, at):
        return replace(after_write(self, written, sent_at, at), leads_until=float("inf"))

    return patched


def _own_name_leads(after_read):
    def patched(self, found, at):
        return replace(after_read(self, found, at), leads_from=self.leads_from)

    return patched


def _impatient(takeover_at):
    def patched(self):
        return takeover_at(self) - 0.3 * TTL_S

    return patched


BROKEN = {
    "a lease counts from the response": ("after_write", _from_the_response),
    "a lease has no end": ("after_write", _for_ever),
    "an absent lease begins at once": ("after_write", _at_once),
    "a lease without a response begins at once": ("after_read", _own_name_leads),
    "a lease is taken before its end": ("_takeover_at", _impatient),
}


@pytest.mark.parametrize("defect", BROKEN)
def test_each_rule_is_needed(defect, monkeypatch):
    name, broken = BROKEN[defect]
    monkeypatch.setattr(Candidacy, name, broken(getattr(Candidacy, name)))

    _expect_two_leaders()


def test_the_condition_of_a_write_is_needed(monkeypatch):
    monkeypatch.setattr(MemoryLeaseStore, "write", _write_always)

    _expect_two_leaders()


def _expect_two_leaders() -> None:
    """Within a hundred elections."""
    for seed in range(100):
        try:
            run_election(seed)
        except TwoLeaders:
            return
        except AssertionError:
            continue
    pytest.fail("the defect was not noticed")


if __name__ == "__main__":
    count = int(sys.argv[1])
    first = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(2**32)
    print(f"{count} elections, from seed {first} on")
    failed = 0
    for each in range(first, first + count):
        try:
            run_election(each)
        except AssertionError as failure:
            failed += 1
            print(f"seed {each}: {failure}")
    print(f"{failed} failed")
    sys.exit(failed > 0)
