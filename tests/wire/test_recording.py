"""Recorded cycles, through frames and blocks and back."""

from itertools import accumulate

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from autoscaler.core.values import AdaptiveAllocations, DeploymentStats, NodeStats
from autoscaler.wire.recording import (
    RecordedCycle,
    RecordedDecision,
    RecordedNode,
    RecordedNodes,
    RecordingDamaged,
)
from autoscaler.wire.recording_blocks import (
    compressed_block,
    compressed_frame,
    decompressed_block,
    decompressed_frame,
)
from autoscaler.wire.recording_decoder import FrameDecoder
from autoscaler.wire.recording_encoder import FrameEncoder

COUNTS = st.integers(0, 2**53 - 1) | st.integers(0, 3)
OPTIONAL = st.none() | st.integers(0, 2**31 - 1) | st.integers(0, 3)
INSTANTS = st.none() | st.integers(0, 2**53 - 1).map(lambda ms: ms / 1000.0)
STATES = st.sampled_from(["", "started", "starting", "stopping", "ñ"])
IDS = st.sampled_from(["", "n1", "n2", "n3", "nö"])

NODES = st.builds(
    NodeStats,
    node_id=IDS,
    routing_state=STATES,
    server_started_at=INSTANTS,
    allocations=OPTIONAL,
    completed=COUNTS,
    cache_hits=COUNTS,
    errors=COUNTS,
    rejections=COUNTS,
    timeouts=COUNTS,
    busy_s=st.integers(0, 2**53 - 1).map(lambda ms: ms / 1000.0),
    pending=COUNTS,
    server_last_access_at=INSTANTS,
)
SETTINGS = st.none() | st.builds(
    AdaptiveAllocations, enabled=st.booleans(), minimum=OPTIONAL, maximum=OPTIONAL
)
DEPLOYMENTS = st.builds(
    DeploymentStats,
    deployment_id=st.just(""),  # replaced by the key
    model_id=IDS,
    state=STATES,
    allocations=OPTIONAL,
    running_allocations=OPTIONAL,
    target_allocations=OPTIONAL,
    threads_per_allocation=OPTIONAL,
    queue_capacity=OPTIONAL,
    server_created_at=INSTANTS,
    adaptive=SETTINGS,
    completed=st.none(),  # this and the next are not recorded
    errors=st.none(),
    rejections=st.none(),
    timeouts=st.none(),
    peak_throughput_per_minute=st.none(),
    nodes=st.lists(NODES, max_size=3).map(tuple),
)
DECISIONS = st.builds(
    RecordedDecision,
    desired=st.integers(0, 2**31),
    recommended=st.integers(0, 2**31),
    outcome=st.sampled_from(["accepted", "dry_run", "unchanged"]),
    active=st.none() | st.booleans(),
    requests=st.none() | COUNTS,
    late_requests=st.none() | st.floats(0.0, 1e9),
)
HARDWARE = st.builds(
    RecordedNodes,
    nodes=st.none()
    | st.lists(
        st.builds(RecordedNode, id=IDS, processors=st.none() | st.floats(0.0, 1e6)), max_size=3
    ).map(tuple),
    version=st.sampled_from(["", "9.1.0"]),
)


@st.composite
def cycles(draw):
    found = []
    for at in range(draw(st.integers(1, 6))):
        deployments = draw(st.dictionaries(IDS, DEPLOYMENTS, max_size=3))
        found.append(
            RecordedCycle(
                at=1.7e9 + at,
                span_s=draw(st.floats(0.0, 10.0)),
                poll_interval_s=draw(st.sampled_from([2.0, 10.0])),
                missed=draw(st.booleans()),
                deployments={
                    name: replace(stats, deployment_id=name) for name, stats in deployments.items()
                },
                decisions={name: draw(DECISIONS) for name in deployments if draw(st.booleans())},
                hardware=draw(HARDWARE),
            )
        )
    return found


def frames_of(recorded):
    encoder = FrameEncoder()
    for cycle in recorded:
        yield encoder.frame(cycle)
        encoder.written()


def read(frames):
    decoder = FrameDecoder()
    return [decoder.cycle(frame) for frame in frames]


def without_late(cycle):
    return replace(
        cycle,
        decisions={
            name: replace(each, late_requests=None) for name, each in cycle.decisions.items()
        },
    )


@given(cycles())
def test_cycles_are_read_as_they_were_recorded(recorded):
    found = read(decompressed_frame(compressed_frame(frame)) for frame in frames_of(recorded))
    assert [without_late(cycle) for cycle in found] == [without_late(cycle) for cycle in recorded]
    for before, after in zip(recorded, found, strict=True):
        for name, decision in before.decisions.items():
            late, recorded_late = decision.late_requests, after.decisions[name].late_requests
            assert (late is None) is (recorded_late is None)
            assert late is None or abs(late - recorded_late) <= 0.001 + 1e-9 * late


@given(cycles())
def test_a_block_has_the_frames_that_were_written(recorded):
    frames = list(frames_of(recorded))
    assert list(decompressed_block(compressed_block(frames))) == frames


@given(cycles(), st.data())
def test_a_frame_that_was_not_written_is_no_obstacle_to_the_next(recorded, data):
    """A full disk takes nothing but the cycles in which it is full."""
    encoder, frames, kept = FrameEncoder(), [], []
    for cycle in recorded:
        frame = encoder.frame(cycle)
        if data.draw(st.booleans()):
            encoder.written()
            frames.append(frame)
            kept.append(cycle)
    assert list(map(without_late, read(frames))) == list(map(without_late, kept))


def cycle(*nodes, **given):
    stats = DeploymentStats("elser", "elser", nodes=nodes)
    return RecordedCycle(at=1.0, poll_interval_s=10.0, deployments={"elser": stats}, **given)


def test_what_does_not_change_takes_no_space():
    same = cycle(NodeStats("n1", "started", completed=10**9, allocations=2))
    first, second = frames_of([same, same])
    assert first.columns
    assert second.layout is None
    assert second.columns == {}


def test_zero_is_not_unknown():
    (first,) = read(frames_of([cycle(NodeStats("n1", "started", allocations=0))]))
    (node,) = first.deployments["elser"].nodes
    assert node.allocations == 0
    assert node.server_started_at is None


def test_small_numbers_of_late_requests_keep_their_sum():
    late = 0.0004
    decision = RecordedDecision(
        desired=1, recommended=1, outcome="unchanged", requests=1, late_requests=late
    )
    recorded = [cycle(decisions={"elser": decision})] * 1000
    found = [each.decisions["elser"].late_requests for each in read(frames_of(recorded))]
    for count, total in enumerate(accumulate(found), 1):
        assert total == pytest.approx(count * late, abs=0.00051)


def test_busy_times_that_damage_has_made_enormous_are_cut():
    (found,) = read(frames_of([cycle(NodeStats("n1", "started", busy_s=1e25))]))
    assert found.deployments["elser"].nodes[0].busy_s == pytest.approx(2**62 / 1000.0)


@given(st.data())
def test_a_changed_byte_is_noticed(data):
    (frame,) = frames_of([cycle(NodeStats("n1", "started", completed=12345))])
    for content, read_content in (
        (compressed_frame(frame), decompressed_frame),
        (compressed_block([frame]), lambda changed: list(decompressed_block(changed))),
    ):
        place = data.draw(st.integers(0, len(content) - 1))
        value = data.draw(
            st.integers(0, 255).filter(lambda value, was=content[place]: value != was)
        )
        changed = content[:place] + bytes((value,)) + content[place + 1 :]
        try:
            found = read_content(changed)
        except RecordingDamaged:
            continue
        assert found in (frame, [frame])  # bits of the header that mean nothing


def contradicting_blocks():
    """The version, frames, counts and columns of blocks that contradict themselves."""
    frames = tuple(frames_of([cycle(NodeStats("n1", "started", completed=12345, allocations=2))]))
    columns = {"node.completed": (b"\1", (b"x",))}
    plain = tuple(replace(frame, columns={}) for frame in frames)
    for counts, found in (
        ({}, columns),
        ({"node": ()}, columns),
        ({"node": (1,)}, {"node.completed": (b"\2", (b"x",))}),
        ({"node": (1,)}, {"node.completed": (b"\1\1", (b"x",))}),
        ({"node": (-1,)}, columns),
    ):
        yield (1, plain, counts, found)
    layout = plain[0].layout
    for changed in (
        replace(layout, routes=(2,)),
        replace(layout, routes=()),
        replace(layout, models=()),
        replace(layout, routes=(-1,)),
        replace(layout, nodes=("n1", "n2")),
    ):
        yield (1, (replace(plain[0], layout=changed),), {}, {})
    yield (1, (plain[0], replace(plain[0], layout=replace(layout, routes=(3,)))), {}, {})
    states = {"node.routing_state": (b"\1", (b"\5",))}
    yield (1, plain, {"node": (1,)}, states)


@pytest.mark.parametrize("block", list(contradicting_blocks()))
def test_a_block_that_contradicts_itself_is_damaged(block):
    """Of another writer, or of a defect: an export reports it, and goes on with the next."""
    content = b"\1" + zstandard.compress(msgspec.msgpack.encode(block))
    with pytest.raises(RecordingDamaged):
        read(decompressed_block(content))


def test_frames_of_a_later_release_are_refused():
    (frame,) = frames_of([cycle()])
    for content in (compressed_frame(frame), compressed_block([frame])):
        with pytest.raises(RecordingDamaged, match="version 2 of its frames is later than 1"):
            decompressed_frame(b"\2" + content[1:])


def test_frames_without_the_first_of_their_block_are_refused():
    _, second = frames_of([cycle(), cycle()])
    with pytest.raises(RecordingDamaged, match="the first frame of a block is missing"):
        FrameDecoder().cycle(second)
