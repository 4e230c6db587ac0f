"""How the intervals of weeks are kept until their deployment is replayed."""

import pickle
import weakref

from msgspec.structs import replace

from autoscaler.replay.engine import ReplayOptions, tasks_of
from autoscaler.replay.packed_intervals import BLOCK_BYTES, PackedIntervals
from autoscaler.replay.record import recording_of
from autoscaler.wire.intervals import LoadInterval, NodeInterval, encoded
from tests.replay import recorded


class Watched(
    LoadInterval,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    tag_field="type",
    tag="interval",
    weakref=True,
):
    """An interval of which it can be seen whether anything keeps it."""


def interval(place, kind=LoadInterval):
    return kind(
        deployment=f"model-{place % 3}",
        at=1_762_128_000.1 + 10.0 * place,
        interval_s=10.0 + 1.0 / (place + 3),
        arrivals=None if place % 7 == 0 else place,
        busy_s=0.1 * place,
        desired=10**30,  # read from a file, whatever it means
        issues=("counter_reset",) if place % 5 == 0 else (),
        nodes=(NodeInterval(node="n-\u2028", completed=place, started_at=1_762_000_000.123),),
    )


def test_packed_intervals_equal_those_that_were_added_in_their_order():
    added = [interval(place) for place in range(1_000)]
    packed = PackedIntervals()
    for each in added:
        packed.add(each)
        assert len(packed.latest) < BLOCK_BYTES
    assert len(packed.blocks) > 3
    assert list(packed) == added
    assert list(pickle.loads(pickle.dumps(packed))) == added


def test_nothing_keeps_the_intervals_that_were_read():
    kept = weakref.WeakSet()

    def lines():
        for place in range(500):
            each = interval(place, Watched)
            kept.add(each)
            assert len(kept) <= 2  # this one, and the one before
            yield each

    found = recording_of(lines())
    assert sum(len(list(each)) for each in found.intervals.values()) == 500
    assert (found.since, found.until) == (interval(0).at - interval(0).interval_s, interval(499).at)


def test_what_a_worker_is_sent_is_a_fraction_of_the_lines(tmp_path):
    lines, _ = recorded.fixed(8, recorded.cluster(), recorded.trace(hours=1))
    options = ReplayOptions()
    (task,) = tasks_of(recorded.configuration(tmp_path), lines, options).tasks
    assert len(pickle.dumps(task.intervals)) < sum(map(len, encoded(lines))) / 5
    of_lines = [each for each in lines if isinstance(each, LoadInterval)]
    assert list(task.record().intervals) == of_lines
    later = [*lines[:-1], replace(lines[-1], arrivals=0)]
    (other,) = tasks_of(recorded.configuration(tmp_path), later, options).tasks
    assert other.intervals != task.intervals
