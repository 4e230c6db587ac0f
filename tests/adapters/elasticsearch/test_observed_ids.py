"""Of very many deployments, the known ones stay observed, and ids that change do not add up."""

from hypothesis import given
from hypothesis import strategies as st

from autoscaler.adapters.elasticsearch.observed_ids import MAX_DEPLOYMENTS, ObservedIds
from autoscaler.core.state import FORGET_AFTER_S


def test_few_deployments_are_all_observed():
    assert ObservedIds(most=3).admit(["a", "b", "c"], 0.0) == {"a", "b", "c"}


def test_known_deployments_come_before_new_ones():
    ids = ObservedIds(most=2)
    assert ids.admit(["a", "b"], 0.0) == {"a", "b"}
    assert ids.admit(["new", "a", "b", "other"], 10.0) == {"a", "b"}


def test_a_deployment_that_vanishes_keeps_its_place_while_its_state_is_kept():
    ids = ObservedIds(most=1)
    ids.admit(["a"], 0.0)
    assert ids.admit(["b"], FORGET_AFTER_S - 1.0) == frozenset()
    assert ids.admit(["b"], FORGET_AFTER_S) == {"b"}


@given(
    st.lists(st.tuples(st.floats(0.0, 300.0), st.lists(st.integers(0, 9), max_size=9)), max_size=20)
)
def test_within_the_time_in_which_states_are_kept_no_more_are_observed(polls):
    ids, at, admitted = ObservedIds(most=4), 0.0, []
    for after_s, reported in polls:
        at += after_s
        found = ids.admit(map(str, reported), at)
        admitted = [(seen, name) for seen, name in admitted if seen > at - FORGET_AFTER_S]
        admitted += [(at, name) for name in found]
        assert found <= set(map(str, reported))
        assert len({name for _, name in admitted}) <= 4


def test_many_deployments_can_be_observed():
    assert MAX_DEPLOYMENTS >= 5_000
