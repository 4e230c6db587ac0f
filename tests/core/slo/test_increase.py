"""How long an increase is kept, and what ends that."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from autoscaler.core.slo.increase import Increase, KeptIncrease, PresentLoad, with_increase_kept

HOUR_S = 3600.0
NOW = PresentLoad(
    at=600.0, rate_per_s=40.0, service_time_s=0.1, dispersion=1.0, expected_duration_s=376.0
)
RAISED = Increase(at=0.0, load=4.0, expected_duration_s=376.0, too_few=5)


def is_kept(**given):
    return RAISED.is_kept(replace(NOW, **given))


class TestHold:
    def test_it_is_kept_for_about_two_hours_at_a_constant_load(self):
        assert is_kept(at=1.9 * HOUR_S)
        assert not is_kept(at=2.1 * HOUR_S)

    def test_after_a_load_jump_for_minutes(self):
        assert is_kept(expected_duration_s=20.0, at=390.0)
        assert not is_kept(expected_duration_s=20.0, at=410.0)

    def test_briefly_if_the_load_was_uncertain_then(self):
        assert not replace(RAISED, expected_duration_s=20.0).is_kept(NOW)

    def test_shorter_if_counts_vary_more_than_by_chance(self):
        assert is_kept(dispersion=2.0, at=1_870.0)
        assert not is_kept(dispersion=2.0, at=1_890.0)

    def test_until_the_load_is_lower(self):
        assert is_kept(rate_per_s=36.0)
        assert not is_kept(rate_per_s=30.0)

    def test_a_few_requests_do_not_show_a_lower_load(self):
        """4 of them in ten seconds may be chance."""
        assert Increase(0.0, 0.06, 376.0, 1).is_kept(replace(NOW, rate_per_s=0.4))

    def test_a_few_requests_after_many_do(self):
        assert not is_kept(rate_per_s=0.4)

    def test_a_shorter_service_time_is_a_lower_load(self):
        assert not is_kept(service_time_s=0.05)


class TestAllocations:
    def test_more_than_were_too_few(self):
        assert with_increase_kept(RAISED, 9, 5, NOW) == KeptIncrease(6, RAISED, 600.0)

    def test_an_increase_starts_a_new_hold(self):
        assert with_increase_kept(RAISED, 6, 7, NOW) == KeptIncrease(
            7, Increase(600.0, 4.0, 376.0, 6)
        )

    @given(st.integers(1, 50), st.integers(1, 50), st.integers(1, 50), st.floats(0.1, 1e4))
    def test_it_never_raises_and_only_delays(self, current, cheapest, too_few, at):
        known = Increase(0.0, 4.0, 376.0, too_few)
        kept = with_increase_kept(known, current, cheapest, replace(NOW, at=at))
        assert min(current, cheapest) <= kept.allocations <= max(current, cheapest)
        if cheapest >= current:
            assert kept.allocations == cheapest
        assert (kept.raised_s is None) == (kept.allocations == cheapest)

    def test_without_an_increase_nothing_is_kept(self):
        assert with_increase_kept(None, 6, 5, NOW) == KeptIncrease(5, None)
