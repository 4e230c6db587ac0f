"""This program's metrics become the load that the cluster has counted, whatever gaps they have."""

import pytest

from autoscaler.adapters.prometheus import cluster_families, families, slo_families
from autoscaler.errors import UserError
from autoscaler.importing import readings as names
from autoscaler.importing.own_metrics import OwnMetrics
from autoscaler.importing.readings import OBSERVED_AT, Readings, add

STEP_S = 60.0
ONE = (("instance", "a"), ("job", "autoscaler"))
OTHER = (("instance", "b"), ("job", "autoscaler"))

DEPLOYMENT = {
    "elasticsearch_ml_deployment_requested_allocations": 2.0,
    "elasticsearch_ml_deployment_target_allocations": 2.0,
    "elasticsearch_ml_deployment_running_allocations": 2.0,
    "elasticsearch_ml_deployment_adaptive_allocations_enabled": 0.0,
}
NODE = {
    "elasticsearch_ml_deployment_node_allocations": 1.0,
    "elasticsearch_ml_deployment_node_started_timestamp_seconds": 500.0,
    "elasticsearch_ml_deployment_node_pending_requests": 0.0,
    "elasticsearch_ml_deployment_node_inferences_total": 0.0,
    "elasticsearch_ml_deployment_node_inference_seconds_total": 0.0,
    "elasticsearch_ml_deployment_node_cache_hits_total": 0.0,
    "elasticsearch_ml_deployment_node_errors_total": 0.0,
    "elasticsearch_ml_deployment_node_rejections_total": 0.0,
    "elasticsearch_ml_deployment_node_timeouts_total": 0.0,
}
COMPLETED = "elasticsearch_ml_deployment_node_inferences_total"
STARTED = "elasticsearch_ml_deployment_node_started_timestamp_seconds"


class Exported:
    """What readers export of one deployment on two nodes."""

    def __init__(self):
        self.readings = {}

    def scrape(self, at, completed, *, reader=ONE, observed_at=None, figures=None, started=500.0):
        """One reading, with the total of each node; None: the node did not respond."""
        found = self.readings.setdefault(reader, Readings())
        add(found, OBSERVED_AT, {}, [(at, at - 5.0 if observed_at is None else observed_at)])
        own = {"deployment": "elser"}
        add(found, "elasticsearch_ml_deployment_state", {**own, "state": "started"}, [(at, 1.0)])
        for name, value in {**DEPLOYMENT, **(figures or {})}.items():
            add(found, name, own, [(at, value)])
        for node, total in enumerate(completed):
            labels = {**own, "node": f"n{node}"}
            routing = "elasticsearch_ml_deployment_node_routing_state"
            add(found, routing, {**labels, "state": "started"}, [(at, 1.0)])
            if total is not None:
                for name, value in {**NODE, COMPLETED: total, STARTED: started}.items():
                    add(found, name, labels, [(at, value)])
        return self


def intervals(exported, made=None, until=10_000.0):
    made = made or OwnMetrics(STEP_S)
    return [*made.lines(exported.readings, until), *made.rest()]


def counts(exported):
    return [(line.at, line.interval_s, line.arrivals, line.issues) for line in intervals(exported)]


def test_requests_are_counted_between_observations_of_the_daemon():
    exported = Exported().scrape(1_060, (10, 5)).scrape(1_120, (30, 6)).scrape(1_180, (30, 6))
    assert counts(exported) == [(1_115.0, 60.0, 21, ()), (1_175.0, 60.0, 0, ())]


@pytest.mark.parametrize("completed", [((10, 5), (30, 6)), ((), ())])
def test_an_interval_says_when_the_deployment_was_created(completed):
    """From it and the start of the first process follows the loading time of the model."""
    created = {
        "elasticsearch_ml_deployment_created_timestamp_seconds": 480.0,
        "elasticsearch_ml_deployment_inferences_total": 7.0,
    }
    exported = Exported()
    for at, totals in zip((1_060, 1_120), completed, strict=True):
        exported.scrape(at, totals, figures=created)
    (line,) = intervals(exported)
    assert line.created_at == 480.0


def test_a_reading_of_the_same_observation_is_no_interval_without_load():
    """The daemon could not observe the cluster, or was not scraped."""
    exported = Exported().scrape(1_060, (10, 5)).scrape(1_120, (10, 5), observed_at=1_055.2)
    exported.scrape(1_180, (60, 5))
    assert counts(exported) == [(1_175.0, 120.0, 50, ())]


def test_a_node_that_does_not_respond_for_a_while_loses_no_request():
    exported = Exported().scrape(1_060, (10, 5)).scrape(1_120, (20, None))
    exported.scrape(1_180, (30, 25))
    assert counts(exported) == [(1_175.0, 120.0, 40, ())]


def test_a_node_that_does_not_respond_for_long_is_an_issue():
    exported = Exported().scrape(1_000, (10, 5)).scrape(1_300, (20, None))
    assert counts(exported) == [(1_295.0, 300.0, 10, ("incomplete", "observation_gap"))]


def test_a_restarted_process_is_an_issue_and_no_negative_count():
    exported = Exported().scrape(1_060, (1_000, 5)).scrape(1_120, (7, 5), started=1_100.0)
    ((_, _, arrivals, issues),) = counts(exported)
    assert (arrivals, issues) == (12, ("counter_reset", "counter_reset"))


@pytest.mark.parametrize(
    ("metric", "figures"),
    [
        ("inference_seconds_total", ["busy_s"]),
        ("cache_hits_total", ["cache_hits"]),
        ("timeouts_total", ["failed"]),
        ("pending_requests", ["in_flight"]),
    ],
)
def test_what_the_source_does_not_store_is_unknown_and_not_0(metric, figures):
    """Such as where a few metrics are kept for long: without the times, the load would be 0."""
    exported = Exported().scrape(1_060, (10, 5)).scrape(1_120, (30, 6))
    for of_entity in exported.readings[ONE].values.values():
        of_entity.pop(names.NODE_METRICS[f"elasticsearch_ml_deployment_node_{metric}"], None)
    (line,) = intervals(exported)
    assert line.arrivals == 21
    for part in (line, *line.nodes):
        unknown = [
            name
            for name in ("busy_s", "cache_hits", "failed", "in_flight")
            if getattr(part, name) is None
        ]
        assert unknown == figures


@pytest.mark.parametrize("value", [-1.0, 1e18, 1e300])
def test_a_figure_that_no_cluster_has_is_unknown(value):
    exported = Exported()
    for at in (1_060, 1_120):
        figures = {"autoscaler_desired_allocations": value, "autoscaler_slo_requests_total": value}
        exported.scrape(at, (10, 5), figures=figures)
    (line,) = intervals(exported)
    assert (line.arrivals, line.desired, line.requests) == (0, None, None)


def test_a_total_that_falls_is_unknown():
    exported = Exported().scrape(1_060, (1_000, 5)).scrape(1_120, (990, 5))
    ((_, _, arrivals, issues),) = counts(exported)
    assert (arrivals, issues) == (None, ("counter_decreased",))


def test_a_long_gap_has_a_count_and_an_issue():
    exported = Exported().scrape(1_060, (10, 5)).scrape(2_060, (500, 5))
    assert counts(exported) == [(2_055.0, 1_000.0, 490, ("observation_gap",))]


def test_several_instances_are_not_counted_twice():
    exported = Exported()
    for at in range(1_060, 1_400, 60):
        exported.scrape(at, (at, 0))
        exported.scrape(at, (at - 30, 0), reader=OTHER, observed_at=at - 35.0)
    assert [arrivals for _, _, arrivals, _ in counts(exported)] == [60] * 5


def test_another_instance_continues_where_one_ends():
    exported = Exported().scrape(1_060, (100, 0)).scrape(1_120, (160, 0))
    for at in range(1_090, 1_600, 60):
        exported.scrape(at, (at, 0), reader=OTHER)
    exported.scrape(1_120, (1_120, 0))
    found = counts(exported)
    assert found[-1][0] == 1_565.0
    assert sum(arrivals for _, _, arrivals, _ in found[1:]) == 1_570 - 1_120


def test_the_parts_of_a_period_are_compared_with_one_another():
    made = OwnMetrics(STEP_S)
    first = list(made.lines(Exported().scrape(1_060, (10, 0)).readings, 1_060.0))
    second = list(made.lines(Exported().scrape(1_120, (15, 0)).readings, 1_120.0))
    assert (first, second) == ([], [])  # held back: an earlier one might follow
    assert [line.arrivals for line in made.rest()] == [5]


def test_another_cluster_in_a_later_part_is_refused():
    """Its deployments may have the same ids, and none of their requests is load of the first."""
    made = OwnMetrics(STEP_S)
    for at, cluster in ((1_060, "prod"), (1_120, "prod"), (1_180, "test")):
        exported = Exported().scrape(at, (10, 0), reader=(*ONE, ("cluster", cluster)))
        if cluster == "prod":
            list(made.lines(exported.readings, at))
    with pytest.raises(UserError, match="several clusters \\(prod, test\\)"):
        made.lines(exported.readings, 1_180.0)


TOTALS = {
    "elasticsearch_ml_deployment_errors_total": 0.0,
    "elasticsearch_ml_deployment_rejections_total": 0.0,
    "elasticsearch_ml_deployment_timeouts_total": 0.0,
    "autoscaler_service_time_seconds": 0.1,
}
TOTAL = "elasticsearch_ml_deployment_inferences_total"


def without_nodes(*totals, incomplete=()):
    exported = Exported()
    for number, total in enumerate(totals):
        at = 1_060.0 + 60.0 * number
        exported.scrape(at, (), figures={**TOTALS, TOTAL: total})
        if number in incomplete:
            labels = {"deployment": "elser", "issue": "incomplete"}
            add(exported.readings[ONE], "autoscaler_sample_issue", labels, [(at, 1.0)])
    return exported


def test_without_metrics_by_node_totals_are_compared():
    (line,) = intervals(without_nodes(100.0, 130.0))
    assert (line.arrivals, line.completed, line.failed, line.issues) == (30, 30, 0, ())
    assert line.busy_s == pytest.approx(3.0)
    assert line.nodes == ()


def test_a_total_that_falls_and_returns_is_no_load():
    """A node did not respond; nothing else says so."""
    found = counts(without_nodes(1_000.0, 1_010.0, 500.0, 520.0, 1_045.0, 1_060.0))
    assert [arrivals for _, _, arrivals, _ in found] == [10, None, 20, None, 15]


def test_totals_without_a_node_are_left_out_where_the_daemon_says_so():
    found = counts(without_nodes(1_000.0, 500.0, 1_045.0, 1_060.0, incomplete=(1,)))
    assert [(interval_s, arrivals) for _, interval_s, arrivals, _ in found] == [
        (120.0, 45),
        (60.0, 15),
    ]


def test_what_the_daemon_decided_is_at_the_end_of_an_interval():
    own = {"autoscaler_desired_allocations": 3.0}
    exported = Exported()
    for at, requests, late in ((1_060, 10.0, 1.0), (1_120, 30.0, 2.5), (1_180, 4.0, 0.0)):
        slo = {
            "autoscaler_slo_requests_total": requests,
            "autoscaler_slo_late_requests_total": late,
        }
        exported.scrape(at, (at, 0), figures={**own, **slo})
    labels = {"deployment": "elser", "outcome": "accepted"}
    update = "autoscaler_last_update_timestamp_seconds"
    add(exported.readings[ONE], update, labels, [(1_120, 1_100.0), (1_180, 1_100.0)])
    first, second = intervals(exported)
    assert (first.desired, first.outcome, first.requests, first.late_requests) == (
        3,
        "accepted",
        20,
        1.5,
    )
    assert (second.outcome, second.requests, second.late_requests) == ("", None, None)  # restarted


def test_the_nodes_are_there_when_they_change():
    exported = Exported().scrape(1_060, (1, 1)).scrape(1_120, (2, 2)).scrape(1_180, (3, 3))
    found = exported.readings[ONE]
    for node, instants in (("n0", (1_060, 1_120, 1_180)), ("n1", (1_180,))):
        points = [(float(at), 8.0) for at in instants]
        add(found, "elasticsearch_ml_node_processors", {"node": node}, points)
        info = {"node": node, "node_id": node, "name": node, "version": "9.10.0"}
        add(found, names.NODE_INFO, info, [(at, 1.0) for at, _ in points])
    lines = [line for line in intervals(exported) if hasattr(line, "version")]
    assert [(line.at, len(line.nodes), line.version) for line in lines] == [
        (1_055.0, 1, "9.10.0"),
        (1_175.0, 2, "9.10.0"),
    ]


def test_labels_of_the_target_are_not_those_of_the_daemon():
    """Prometheus adds them to each series, and renames the daemon's own if they have their name."""
    plain = Exported().scrape(1_060, (1, 1)).scrape(1_120, (2, 2)).readings[ONE]
    target = {"node": "worker-1", "deployment": "autoscaler", "pod": "autoscaler-0"}
    found = Readings()
    readers = set()

    def add_with_target(metric, labels, points):
        own = {f"exported_{name}": text for name, text in labels.items() if name in target}
        others = {name: text for name, text in labels.items() if name not in target}
        shown = {**target, **own, **others}
        readers.add(names.reader_of(shown))
        add(found, metric, shown, points)

    for at in plain.observed_at:
        add_with_target(OBSERVED_AT, {}, [(at, at - 5.0)])
        own = {"deployment": "elser"}
        add_with_target("elasticsearch_ml_deployment_state", {**own, "state": "started"}, [(at, 1)])
        for name, value in DEPLOYMENT.items():
            add_with_target(name, own, [(at, value)])
        add_with_target("elasticsearch_ml_node_processors", {"node": "n0"}, [(at, 8.0)])
        for node in ("n0", "n1"):
            labels = {**own, "node": node}
            routing = "elasticsearch_ml_deployment_node_routing_state"
            add_with_target(routing, {**labels, "state": "started"}, [(at, 1.0)])
            for name, value in {**NODE, COMPLETED: at / 60.0 // 1}.items():
                add_with_target(name, labels, [(at, value)])
    exported = Exported()
    exported.readings = {readers.pop(): found}
    assert readers == set()
    hardware, line = intervals(exported)
    assert [node.id for node in hardware.nodes] == ["n0"]
    assert (line.deployment, line.arrivals, line.issues) == ("elser", 2, ())
    assert [node.node for node in line.nodes] == ["n0", "n1"]


def exported_names():
    """The names of all declared metrics, as Prometheus has them."""
    for module in (cluster_families, families, slo_families):
        for value in vars(module).values():
            for each in (value, *(value if isinstance(value, tuple) else ())):
                if hasattr(each, "kind"):
                    yield f"{each.name}_total" if each.kind == "counter" else each.name


def test_every_metric_that_is_read_is_one_that_the_daemon_exports():
    assert {*names.ALL_METRICS, names.OBSERVATION_AGE} <= {*exported_names()}
