"""Each figure of an entry of `_stats` in turn is removed or spoilt, in several situations.

Nothing is decreased on it, the reason names it or is true of the rest, and no metric shows it as 0.
"""

import copy
import math

import pytest
from prometheus_client import CollectorRegistry

from autoscaler.adapters.prometheus import PrometheusRecorder
from autoscaler.core.decision import Mode
from autoscaler.core.explanation import explain
from autoscaler.core.flow.planning import plan
from autoscaler.core.state import State
from autoscaler.core.values import Cluster, NodeCapacity
from autoscaler.ports import CycleTimes
from autoscaler.wire.stats import MalformedStats
from tests import observations
from tests.observations import policy, rule
from tests.test_damaged_statistics import places, response
from tests.virtual_clock import VirtualClock

ABSENT = object()
SPOILT = {
    "absent": ABSENT,
    "null": None,
    "text": "a few",
    "negative": -1,
    "float": 0.5,
    "nan": math.nan,
    "large": 2**60,
    "list": [],
    "object": {},
}
CLUSTER = Cluster(
    nodes=tuple(NodeCapacity(node_id=f"node-{n}", name=f"ml-{n}", processors=16.0) for n in (1, 2)),
    growable=False,
)


def statistics(cycle, *, allocations=8, adaptive=None, seen=(40, 12, 2)):
    """All figures that a deployment can report, none of them 0."""
    document = response(cycle)
    deployment = document["trained_model_stats"][0]["deployment_stats"]
    hits, timeouts, rejections = seen
    for node in deployment["nodes"]:
        node["number_of_allocations"] = allocations // 2
        node["inference_cache_hit_count"] = hits
        node["inference_cache_hit_count_last_minute"] = 7
        node["timeout_count"], node["rejected_execution_count"] = timeouts, rejections
        node["average_inference_process_memory_rss_bytes"] = 2**30
    deployment["number_of_allocations"] = allocations
    deployment["allocation_status"].update(
        allocation_count=allocations, target_allocation_count=allocations
    )
    deployment["timeout_count"], deployment["rejected_execution_count"] = 2 * timeouts, 4
    deployment["peak_throughput_per_minute"] = 4_000
    if adaptive is not None:
        deployment["adaptive_allocations"] = adaptive
    return document


BOUNDED = {"enabled": True, "min_number_of_allocations": 10, "max_number_of_allocations": 12}
SITUATIONS = {
    "steady": (rule(max_allocations=12), {}),
    "decrease": (rule(max_allocations=16, stabilisation_window_s=0.0), {"allocations": 16}),
    "increase": (rule(max_allocations=12), {"allocations": 2}),
    "above the bounds": (rule(max_allocations=6, stabilisation_window_s=0.0), {}),
    "bounds": (
        rule(mode=Mode.BOUNDS, max_allocations=12, stabilisation_window_s=0.0),
        {"adaptive": BOUNDED, "allocations": 10},
    ),
    "taken over": (rule(take_over=True, max_allocations=12), {"adaptive": BOUNDED}),
}

CAUSES = (
    "is not started",
    "contradict",
    "a node began",
    "a process ended",
    "the state is",
    "statistics of a serving node are missing",
    "another writer",
    "the first observation",
    "adaptive allocations are enabled",
    "adaptive allocations were",
    "no allocation",
)
"""Causes that a missing figure is not."""


def observed(document, at):
    return observations.observed(document, at, cluster=CLUSTER)


_IDENTIFIES = ("model_id", "deployment_id", "deployment_stats")


def figures(document):
    """The paths of everything in the entry that has a name, except what identifies it."""
    entry = document["trained_model_stats"][0]
    for path in places(entry):
        if path and isinstance(path[-1], str) and path[-1] not in _IDENTIFIES:
            yield path


def spoilt(document, path, value):
    damaged = copy.deepcopy(document)
    holder = damaged["trained_model_stats"][0]
    for key in path[:-1]:
        holder = holder[key]
    if value is ABSENT:
        del holder[path[-1]]
    else:
        holder[path[-1]] = value
    return damaged


def exported(observation, planned):
    """The values of all metrics about the deployment and its nodes."""
    recorder = PrometheusRecorder(VirtualClock(observation.at))
    recorder.planned(observation, planned, (), CycleTimes(observe_s=0.0, plan_s=0.0, act_s=0.0))
    registry = CollectorRegistry()
    registry.register(recorder)
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name.startswith("elasticsearch_ml_deployment")
    }


MEANS_ZERO_IF_ABSENT = {
    "inference_count",
    "error_count",
    "rejected_execution_count",
    "timeout_count",
    "inference_cache_hit_count",  # of versions that have no such count
    "adaptive_allocations",
    "min_number_of_allocations",
    "max_number_of_allocations",
}
"""Figures whose absence has a meaning: the count is 0, the setting was never made."""


def is_another_setting(path, value):
    """Whether it is a valid setting that differs: a bound that is not set, or no setting."""
    name = path[-1]
    return value in (ABSENT, None) and (
        name == "adaptive_allocations" or name.endswith("_number_of_allocations")
    )


def reason_is_true(text, path, value):
    """Whether the text claims no cause other than the figure."""
    if is_another_setting(path, value):
        return True
    if path == ("deployment_stats", "state") and "the cluster reports: state" in text:
        return True  # a state that is not known
    if path[-1] == "nodes" and value == []:
        return "statistics of a serving node are missing" in text
    if value is ABSENT and path[-1] in MEANS_ZERO_IF_ABSENT:
        text = text.replace("contradict", "")  # the sum of the nodes is another number now
    return not any(cause in text for cause in CAUSES)


@pytest.fixture(scope="module", params=list(SITUATIONS))
def situation(request):
    governing, given = SITUATIONS[request.param]
    rules, state = policy(governing), State()
    for cycle in range(12):
        _, state = plan(state, observed(statistics(cycle, **given), 10.0 * cycle), rules)
    return rules, state, given


@pytest.mark.parametrize("kind", list(SPOILT))
def test_a_spoilt_figure_lowers_nothing_and_is_named(situation, kind):
    rules, state, given = situation
    value, good = SPOILT[kind], statistics(12, **given)
    (undamaged,) = plan(state, observed(good, 120.0), rules)[0].decisions
    wrong = []
    for path in figures(good):
        try:
            seen = observed(spoilt(good, path, value), 120.0)
        except MalformedStats:
            continue  # the cycle is skipped
        planned, after = plan(state, seen, rules)
        if not planned.decisions:
            assert seen.unreadable, path
            continue
        (decision,) = planned.decisions
        text = explain(decision)
        if "elser" in seen.unknown_figures:
            held = decision.desired >= decision.current and decision.sample.issues
        else:
            # Only what the figure would have supported may be missing.
            held = decision.desired >= min(decision.current, undamaged.desired)
        # The next good response is measured as if nothing had happened.
        (following,) = plan(after, observed(statistics(13, **given), 130.0), rules)[0].decisions
        recovers = "not_reported" not in following.sample.issues and (
            following.external_change is None or is_another_setting(path, value)
        )
        if not (held and reason_is_true(text, path, value) and recovers):
            wrong.append((path, text, explain(following)))
    assert wrong == []


@pytest.mark.parametrize("kind", list(SPOILT))
def test_no_metric_shows_a_spoilt_figure_as_zero(situation, kind):
    rules, state, given = situation
    value, good = SPOILT[kind], statistics(12, **given)
    shown = exported(observed(good, 120.0), plan(state, observed(good, 120.0), rules)[0])
    wrong = []
    for path in figures(good):
        if value is ABSENT and path[-1] in MEANS_ZERO_IF_ABSENT:
            continue
        if is_another_setting(path, value) or (kind == "float" and path[-1].endswith("_bytes")):
            continue  # valid
        try:
            seen = observed(spoilt(good, path, value), 120.0)
        except MalformedStats:
            continue
        planned, _ = plan(state, seen, rules)
        wrong += [
            (path, labels, number)
            for labels, number in exported(seen, planned).items()
            if number == 0.0 and shown.get(labels) not in (0.0, None)
        ]
    assert wrong == []
