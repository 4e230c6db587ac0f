"""Figures of intervals that no cluster has."""

import math

import pytest

from autoscaler.replay.plausible import plausible
from autoscaler.replay.record import record_of, recording_of
from autoscaler.wire.intervals import Hardware, HardwareNode, LoadInterval, NodeInterval

WHOLE = LoadInterval(
    deployment="model",
    at=1_700_000_000.0,
    interval_s=10.0,
    arrivals=5,
    busy_s=1.0,
    requested=2,
    running=2,
    threads=1,
    queue_capacity=1024,
    nodes=(NodeInterval(node="n1", completed=5, busy_s=1.0),),
)


def changed(**figures):
    return LoadInterval(
        **{name: getattr(WHOLE, name) for name in WHOLE.__struct_fields__} | figures
    )


def test_what_a_cluster_may_have_stays():
    assert plausible(WHOLE) is WHOLE


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("arrivals", -5),
        ("arrivals", 10**30),
        ("busy_s", -1.0),
        ("busy_s", 1e300),
        ("busy_s", math.nan),
        ("requested", -1),
        ("running", 10**12),
        ("threads", 0),
        ("queue_capacity", 10**12),
    ],
)
def test_a_figure_that_no_cluster_has_is_unknown_and_the_others_stay(name, value):
    assert plausible(changed(**{name: value})) == changed(**{name: None})


def test_a_figure_of_a_node_that_no_cluster_has_is_unknown():
    odd = changed(nodes=(NodeInterval(node="n1", completed=-5, busy_s=1.0),))
    assert plausible(odd) == changed(nodes=(NodeInterval(node="n1", busy_s=1.0),))


@pytest.mark.parametrize(
    "times",
    [{"at": 1e15}, {"at": math.inf}, {"at": -5.0}, {"interval_s": -10.0}, {"interval_s": 1e12}],
)
def test_an_interval_of_an_impossible_time_is_left_out(times):
    assert plausible(changed(**times)) is None


def test_a_record_says_how_many_intervals_have_impossible_figures():
    found = recording_of([WHOLE, changed(arrivals=-5), changed(at=1e15)])
    assert len(list(found.intervals["model"])) == 2
    assert found.odd == 2


@pytest.mark.parametrize("processors", [-3.0, 0.0, 1e300, math.inf, math.nan])
def test_processors_that_no_node_has_are_unknown(processors):
    nodes = (HardwareNode(id="n1", processors=processors), HardwareNode(id="n2", processors=8.0))
    (found,) = recording_of([Hardware(at=8.0, nodes=nodes), WHOLE]).hardware
    assert [(node.id, node.processors) for node in found.nodes] == [("n1", None), ("n2", 8.0)]


def test_a_node_that_is_named_twice_is_one_node():
    nodes = (HardwareNode(id="n1", processors=4.0), HardwareNode(id="n1", processors=8.0))
    (found,) = recording_of([Hardware(at=8.0, nodes=nodes), WHOLE]).hardware
    assert [(node.id, node.processors) for node in found.nodes] == [("n1", 8.0)]


def test_nodes_that_are_known_only_after_the_end_are_those_of_no_record():
    """As with `--to` before the hardware changed."""
    nodes = [Hardware(at=at, nodes=(HardwareNode(id="n", processors=at),)) for at in (8.0, 64.0)]
    found = recording_of([*nodes, WHOLE], until=32.0)
    assert [each.at for each in found.hardware] == [8.0]
    assert recording_of([*nodes, WHOLE]).hardware == tuple(nodes)


def test_a_gap_of_years_does_not_fill_the_memory():
    found = record_of("model", [changed(at=100.0), WHOLE])
    assert len(found.edges) < 20_000
