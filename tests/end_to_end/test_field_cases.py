"""Situations met on real clusters, recorded beside the repository: each is played to the daemon.

A folder without an expectation is played too, and the invariants of the daemon hold.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from autoscaler.adapters.elasticsearch.preflight_report import Severity
from autoscaler.check import check
from autoscaler.config import load
from autoscaler.core.decision import OutcomeKind
from autoscaler.core.scale_to_zero import unsafe_reason
from autoscaler.core.selection import ScaleToZero, ZeroMethod
from autoscaler.core.state import StoppedDeployment
from autoscaler.core.values import STARTED, DataIssue, DeploymentStats, Reason
from autoscaler.operate.start import StartFailed, StartOptions, start
from autoscaler.wire.state import encode_stopped
from tests.conftest import NEEDS_SHARED, SHARED
from tests.end_to_end.field_cluster import Json
from tests.end_to_end.field_play import (
    STOPPED,
    Played,
    Script,
    Session,
    check_promises,
    configured,
    play,
    requested_by,
)
from tests.virtual_loop import START, LoopClock, run_in_virtual_time

pytestmark = pytest.mark.untraced

CASES = SHARED / "cases"
HOUR_S = 3600.0
MISSING = f"{NEEDS_SHARED}: cases"


def folders() -> list[str]:
    return sorted(path.parent.name for path in CASES.glob("*/input.json"))


def read(name: str) -> Json:
    if not (CASES / name / "input.json").exists():
        pytest.skip(f"{MISSING}/{name}")
    return json.loads((CASES / name / "input.json").read_text())


def played(case: Json, folder: Path, *, seconds: float = HOUR_S, begin: Script | None = None):
    """The daemon on a case; its invariants hold."""
    found = run_in_virtual_time(play(case, folder, seconds=seconds, begin=begin))
    check_promises(found)
    return found


@pytest.mark.parametrize("name", folders() or [pytest.param("", marks=pytest.mark.skip(MISSING))])
def test_the_invariants_hold_in_any_case(name, tmp_path):
    case = read(name)
    if case["kind"] in ("stats", "http"):
        played(case, tmp_path, seconds=HOUR_S / 2.0)
    else:
        assert case["kind"] == "function"


# The expected behaviour in each case


def two_nodes_of_one_name(found: Played) -> None:
    for page in range(len(found.pages["/metrics"])):
        labels = [labels for _, labels, _ in found.samples(page) if "node" in labels]
        assert labels
        assert {each["node"] for each in labels} == {"idA", "idB"}
    nodes = {
        labels["node"]
        for name, labels, _ in found.samples()
        if name.startswith("elasticsearch_ml_node_")
    }
    assert nodes == {"idA", "idB"}


def missing_count(found: Played) -> None:
    assert not found.changes
    last = found.last("elser").decision
    assert DataIssue.INCOMPLETE in last.sample.issues
    assert last.reason is Reason.DATA_QUALITY
    assert "load 0" not in found.explained["elser"]


def clamped_node(found: Played) -> None:
    last = found.last("elser").decision
    assert DataIssue.INCOMPLETE not in last.sample.issues
    assert last.load is not None
    assert last.load.offered_load == pytest.approx(3.6, rel=0.1)
    assert "4 of 8" in found.explained["elser"]
    assert any("4 of 8" in line for line in found.lines("warning", "info"))


def elser_into_oom(found: Played) -> None:
    assert not found.changes
    last = found.last("my-elser").decision
    assert last.recommended > 4, "it would like more"
    assert last.desired == 4
    assert any(step.reason is Reason.FIT and step.changed for step in last.steps)
    text = found.explained["my-elser"]
    assert re.search(r"6\.\d+ GiB|6\.\d+ GB|\d{4,5} MiB", text), "with the figures"


def serverless(found: Played) -> None:
    assert found.changes
    for change in found.changes:
        assert "number_of_allocations" not in change.body
        bounds = change.body["adaptive_allocations"]
        assert 1 <= bounds["min_number_of_allocations"] <= bounds["max_number_of_allocations"] <= 8
    assert any(
        change.body["adaptive_allocations"]["min_number_of_allocations"] >= 3
        for change in found.changes
    )
    last = found.last("my-elser").decision
    assert not last.sample.issues
    assert last.load is not None


def accepted_without_effect(found: Played) -> None:
    warnings = [line for line in found.log if line["event"] == "update.no_effect"]
    assert 1 <= len(warnings) <= 12, "once for each attempt, and the attempts become rare"
    assert all(line["log_level"] == "warning" for line in warnings)
    bodies = {json.dumps(change.body) for change in found.changes}
    assert len(bodies) > 1, f"another setting is sent first: {bodies}"
    assert all(1 <= number <= 3 for change in found.changes for number in requested_by(change))
    assert len(found.changes) <= 30
    assert "without effect" in found.explained["elser"]


def old_shape(found: Played) -> None:
    assert not found.cluster.paths("POST */_stop")
    assert "owns" in found.explained["my-elser"]


def unreadable_list(found: Played) -> None:
    assert not found.cluster.paths("POST /_ml/*/_update")
    assert any("endpoint" in line for line in found.lines("warning"))


def slow_statistics(found: Played) -> None:
    asked = found.cluster.paths("GET */_stats")
    assert len(asked) <= HOUR_S / 30.0 + 20.0, "three times as rarely as every 10 s"
    for text in (
        *found.lines("warning")[:1],
        found.pages["/readyz"][-1].text,
        found.explained[""],
    ):
        assert "request_timeout" in text, text
        assert "poll_interval" in text, text


def start_without_room(found: Played) -> None:
    assert len(found.cluster.paths("POST */_start")) in range(2, 20)
    assert OutcomeKind.NO_CAPACITY in found.kinds("e5")
    assert OutcomeKind.ACCEPTED not in found.kinds("e5")
    shown = found.shown["e5"]
    assert shown["current"] == 0
    assert "no ML nodes with sufficient capacity" in json.dumps(shown)
    assert any(line["event"] == "update.refused" for line in found.log)


class Expected(NamedTuple):
    """The expected behaviour in a case after some time."""

    right: Callable[[Played], None]
    seconds: float = HOUR_S
    begin: Script | None = None


async def resume(session: Session) -> None:
    await LoopClock().sleep(15.0)
    assert await session.request_resume("e5") == 202


EXPECTED = {
    "accepted-without-effect": Expected(accepted_without_effect),
    "clamped-node-holds-for-ever": Expected(clamped_node),
    "elser-into-oom": Expected(elser_into_oom),
    "endpoint-list-old-shape": Expected(old_shape),
    "endpoint-list-unreadable-or-slow": Expected(unreadable_list),
    "missing-count-read-as-zero": Expected(missing_count),
    "serverless-without-state": Expected(serverless, seconds=600.0),
    "slow-statistics": Expected(slow_statistics),
    "start-409-no-room": Expected(start_without_room, begin=resume),
    "two-nodes-of-one-name": Expected(two_nodes_of_one_name, seconds=300.0),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_right_behaviour(name, tmp_path):
    case, expected = read(name), EXPECTED[name]
    if name == "start-409-no-room":
        leave_stopped(tmp_path, "e5")
    found = played(case, tmp_path, seconds=expected.seconds, begin=expected.begin)
    expected.right(found)


def leave_stopped(folder: Path, deployment_id: str) -> None:
    """The state file of a daemon that stopped a deployment."""
    stats = DeploymentStats(
        deployment_id=deployment_id, model_id=deployment_id, state=STARTED, allocations=1
    )
    stopped = {deployment_id: StoppedDeployment(stats=stats, since=START - 600.0)}
    (folder / STOPPED).write_bytes(encode_stopped(stopped))


def test_a_slow_list_keeps_the_known_owner(tmp_path):
    """The variant of an unreadable list: it comes, but too late for the observation."""
    case = read("endpoint-list-unreadable-or-slow")
    endpoint = {
        "inference_id": "elser",
        "task_type": "sparse_embedding",
        "service": "elasticsearch",
        "service_settings": {"num_allocations": 2, "num_threads": 1, "model_id": "m"},
    }
    slow = {"status": 200, "after_s": 4.0, "body": {"endpoints": [endpoint]}}
    case["answers"]["GET /_inference/_all"] = slow
    found = played(case, tmp_path)
    assert not found.cluster.paths("POST /_ml/*/_update")


def test_check_reports_that_the_owners_are_unknown(tmp_path):
    found = checked(read("endpoint-list-unreadable-or-slow"), tmp_path)
    sentences = [problem.sentence for problem in found.preflight.problems]
    assert any("endpoint" in sentence for sentence in sentences), sentences


def test_check_names_the_remedy_for_slow_statistics(tmp_path):
    found = checked(read("slow-statistics"), tmp_path)
    fatal = [p.sentence for p in found.preflight.problems if p.level is Severity.FATAL]
    assert any("request_timeout" in each and "poll_interval" in each for each in fatal), fatal


def test_starting_by_hand_without_room(tmp_path):
    async def attempt() -> None:
        async with configured(read("start-409-no-room"), tmp_path) as (_, path):
            options = StartOptions(model_id="e5")
            await start(load(path, {}), options, LoopClock(), lambda _: None)

    with pytest.raises(StartFailed) as failed:
        run_in_virtual_time(attempt())
    assert "nodes" in str(failed.value)
    assert "--deployment-id" not in str(failed.value)


def checked(case: Json, folder: Path) -> Any:
    async def inspect() -> Any:
        async with configured(case, folder) as (_, path):
            return await check(load(path, {}))

    return run_in_virtual_time(inspect())


def test_unsafe_versions():
    case = read("zero-lost-at-node-shutdown")
    for version in case["versions"]:
        numbers = tuple(map(int, version.split(".")))
        stats = DeploymentStats(deployment_id="m", model_id="m")
        zero = ScaleToZero(after_s=HOUR_S, via=ZeroMethod.ADAPTIVE)
        assert "146806" in unsafe_reason(zero, stats, None, numbers), version
