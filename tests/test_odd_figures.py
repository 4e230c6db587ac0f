"""One odd figure among good ones: it is unknown, and nothing else is lost or misread."""

import copy
import random

import pytest
from msgspec.structs import replace

from autoscaler.core.flow.planning import plan
from autoscaler.core.slo.policy import SloPolicy
from autoscaler.core.state import State
from tests.observations import observed, policy, rule
from tests.test_damaged_statistics import POLICY, places, response

ODD = (
    *("NaN", "inf", "-1", "12", "5ms", "1.5gb", "", None, True, [], {}, [7], {"value": 7}),
    *(-1, 0.5, 2**31, 2**53, 2**53 + 1, 2**63, 2**64, 10**30, 1e18, 1e300, -1e300),
)
RULES = {"utilisation": POLICY, "slo": policy(rule(policy=SloPolicy()))}


def two(cycle):
    """The same deployment twice, under two ids."""
    document = response(cycle)
    other = copy.deepcopy(document["trained_model_stats"][0])
    other["deployment_stats"]["deployment_id"] = "other"
    document["trained_model_stats"].append(other)
    return document | {"count": 2}


def figures(document):
    """The paths of all figures of the first deployment, counters included."""
    entry = document["trained_model_stats"][0]["deployment_stats"]
    for node in entry["nodes"]:
        for name in ("error_count", "rejected_execution_count", "timeout_count"):
            node.setdefault(name, 0)
    for path in places(entry):
        value = entry
        for key in path:
            value = value[key]
        if isinstance(value, int | float):
            yield path


def with_odd(document, path, value):
    odd = copy.deepcopy(document)
    *way, last = ("trained_model_stats", 0, "deployment_stats", *path)
    holder = odd
    for key in way:
        holder = holder[key]
    holder[last] = value
    return odd


@pytest.mark.parametrize("name", list(RULES))
def test_it_never_looks_like_idleness_and_never_costs_another_deployment(name):
    rules, state = RULES[name], State()
    for cycle in range(12):
        planned, state = plan(state, observed(two(cycle), at=10.0 * cycle), rules)
    before = {d.deployment_id: d for d in planned.decisions}
    good = two(12)
    undamaged, _ = plan(state, observed(good, at=120.0), rules)
    other = next(d for d in undamaged.decisions if d.deployment_id == "other")
    rng = random.Random(13)
    for path in figures(good):
        for value in rng.sample(ODD, 12):
            seen = observed(with_odd(good, path, value), at=120.0)
            assert set(seen.deployments) == {"elser", "other"}, (path, value)
            planned, after = plan(state, seen, rules)
            decisions = {d.deployment_id: d for d in planned.decisions}
            assert decisions["other"] == other, (path, value)
            first = decisions["elser"]
            assert first.desired >= first.current, (path, value, first.steps)
            assert first.load is None or first.load.arrival_rate_per_s > 0.0, (path, value)
            # The next good response is measured as if nothing had happened.
            planned, _ = plan(after, observed(two(13), at=130.0), rules)
            second = next(d for d in planned.decisions if d.deployment_id == "elser")
            assert second.desired == before["elser"].desired, (path, value, second.steps)


@pytest.mark.parametrize("value", ODD, ids=str)
def test_an_odd_figure_that_is_not_needed_changes_nothing(value):
    good = two(12)
    path = ("nodes", 0, "throughput_last_minute")
    odd = observed(with_odd(good, path, value), at=0.0)
    known = observed(good, at=0.0)

    def without(stats):
        first, *others = stats.nodes
        return replace(stats, nodes=(replace(first, throughput_last_minute=0), *others))

    for name, stats in known.deployments.items():
        assert without(odd.deployments[name]) == without(stats)


@pytest.mark.parametrize("name", list(RULES))
def test_a_count_that_is_always_missing_is_never_read_as_zero(name):
    """A started route that responds always has it, so this one did not respond."""
    rules, state = RULES[name], State()
    for cycle in range(12):
        _, state = plan(state, observed(two(cycle), at=10.0 * cycle), rules)
    for cycle in range(12, 120):
        document = two(cycle)
        for node in document["trained_model_stats"][0]["deployment_stats"]["nodes"]:
            del node["inference_count"]
        planned, state = plan(state, observed(document, at=10.0 * cycle), rules)
        decision = next(d for d in planned.decisions if d.deployment_id == "elser")
        assert decision.desired == decision.current
        assert "incomplete" in decision.sample.issues
