"""What a hostile or broken server sends costs a bounded amount of memory and text."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.wire.bounds import MAX_LISTED, MAX_NAME, MAX_TEXT, count_values, listed
from autoscaler.wire.errors import parse_error
from autoscaler.wire.stats import (
    MAX_ENTRIES,
    MAX_ENTRY_BYTES,
    MAX_LENIENT_ENTRIES,
    MAX_ROUTES,
    MAX_ROUTES_IN_ALL,
    MalformedStats,
    parse_stats,
)

MIB = 2**20
MEMORY_BYTES = 512 * MIB
"""For a body of the maximum size, what is made of it, and the parts that the test makes it of."""


def page(*entries):
    return b'{"count": 1, "trained_model_stats": [' + b",".join(entries) + b"]}"


def entry(deployment_id="e5", **fields):
    stats = {"deployment_id": deployment_id, "state": "started", **fields}
    return json.dumps({"model_id": "m", "deployment_stats": stats}).encode()


HOSTILE = {
    "numbers": lambda: page(b"1," * 1_900_000 + b"1"),
    "empty objects": lambda: page(b"{}," * 900_000 + b"{}"),
    "lists": lambda: page(b"[]," * 900_000 + b"[]"),
    "small objects": lambda: page(b'{"a":1},' * 900_000 + b"{}"),
    "numbers that JSON does not have": lambda: page(b"NaN," * 400_000 + b"1"),
    "entries with odd values": lambda: page(
        *[entry(f"d{number}", nodes=number) for number in range(MAX_ENTRIES)]
    ),
    "numbers as nodes": lambda: page(entry(nodes=[1] * 600_000)),
    "nodes without figures": lambda: page(
        *[entry(f"d{number}", nodes=[{}] * MAX_ROUTES) for number in range(300)]
    ),
    "one long text": lambda: page(b'{"model_id":"' + b"x" * (60 * MIB) + b'"}'),
    "no JSON": lambda: b"x" * (64 * MIB),
    "invalid text": lambda: page(b"1," * 200_000 + b'"\xff"'),
    "nested lists": lambda: page(b"[" * MIB),
    "nested objects": lambda: page(b'{"deployment_stats":' + b'{"a":' * (MIB // 5)),
    "a nested error": lambda: b'{"error": {"reason": ' + b"[" * 900 + b"]" * 900 + b"}}",
}


def use_up(names):
    """Read the bodies in this process, whose memory is limited, and print what comes of each."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES,) * 2)
    for name in names:
        body = HOSTILE[name]()
        assert count_values(body) <= 2_000_000
        parse_error(500, body[:MIB])
        try:
            found = parse_stats(body)
        except MalformedStats as error:
            print(f"{name}: {error}"[:200])
        else:
            texts = [text for _, text in (*found.unreadable, *found.unreadable_figures)]
            print(f"{name}: {len(found.unreadable)} unreadable, {max(map(len, texts), default=0)}")


@pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is limited on Linux")
def test_hostile_bodies_take_a_bounded_amount_of_memory():
    script = "import sys; from tests.wire.test_bounds import use_up; use_up(sys.argv[1:])"
    run = subprocess.run(
        [sys.executable, "-c", script, *HOSTILE], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert [line.partition(":")[0] for line in run.stdout.splitlines()] == list(HOSTILE)


def test_too_many_entries_are_no_statistics():
    with pytest.raises(MalformedStats, match=f"{MAX_ENTRIES + 1} entries"):
        parse_stats(page(*[b"{}"] * (MAX_ENTRIES + 1)))


def test_too_many_nodes_are_no_statistics():
    entries = [entry(f"d{n}", nodes=[{}] * MAX_ROUTES) for n in range(101)]
    assert len(parse_stats(page(*entries[:100])).deployments) == MAX_ROUTES_IN_ALL // MAX_ROUTES
    with pytest.raises(MalformedStats, match="nodes"):
        parse_stats(page(*entries))


@pytest.mark.parametrize(
    ("damaged", "why"),
    [
        (entry(nodes=[{}] * (MAX_ROUTES + 1)), "nodes: more than 1000 nodes"),
        (entry(comment="x" * MAX_ENTRY_BYTES), "larger than 2 MiB"),
    ],
    ids=["nodes", "bytes"],
)
def test_a_deployment_that_is_too_large_is_unreadable_alone(damaged, why):
    found = parse_stats(page(entry("a"), damaged, entry("b")))
    assert [stats.deployment_id for stats in found.deployments] == ["a", "b"]
    ((name, problem),) = found.unreadable
    assert name == "e5"
    assert why in problem


def test_an_id_that_is_too_long_is_none():
    found = parse_stats(page(entry("x" * MAX_NAME), entry("y" * (MAX_NAME + 1))))
    assert [stats.deployment_id for stats in found.deployments] == ["x" * MAX_NAME]
    ((name, _),) = found.unreadable
    assert name == "trained_model_stats[1]"


def test_of_many_entries_with_odd_values_the_last_are_unreadable_as_a_whole():
    odd = [entry(f"d{n:04d}", queue_capacity="x") for n in range(MAX_LENIENT_ENTRIES + 1)]
    found = parse_stats(page(*odd, entry("good")))
    assert [name for name, _ in found.unreadable] == [f"d{MAX_LENIENT_ENTRIES:04d}"]
    assert len(found.deployments) == MAX_LENIENT_ENTRIES + 1


def test_texts_of_the_cluster_are_cut():
    node = {"routing_state": {"routing_state": "failed", "reason": "why " * 1_000}}
    (stats,) = parse_stats(page(entry(reason="no " * 1_000, nodes=[node]))).deployments
    assert len(stats.reason) == len(stats.nodes[0].routing_reason) == MAX_TEXT


def test_problems_of_one_deployment_are_listed_in_part():
    odd = {"inference_count": "x" * 100, "error_count": []}
    ((_, text),) = parse_stats(page(entry(nodes=[odd] * 500))).unreadable_figures
    assert text.endswith(f"and {1000 - MAX_LISTED} more")
    assert len(text) < 1000


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda e: st.lists(e) | st.dictionaries(st.text(), e)
    )
)
def test_no_value_is_missed(value):
    def values(each):
        inner = each.values() if isinstance(each, dict) else each if isinstance(each, list) else ()
        return 1 + sum(map(values, inner))

    assert count_values(json.dumps(value).encode()) >= values(value)


def test_few_texts_are_listed_in_full():
    assert listed(["a", "b", "c", "d", "e"]) == "a, b, c, d, e"
    assert listed([]) == ""
