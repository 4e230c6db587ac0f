"""The arithmetic of adaptive allocations, compared with a record of Elasticsearch."""

import csv
import json
from pathlib import Path

import pytest

from autoscaler.simulation.adaptive_allocations_scaler import (
    AdaptiveAllocationsScaler,
    Filter,
    Interval,
    Limits,
)

RECORDS = Path(__file__).parents[2].parent / "shared" / "peers" / "native-scaler"

STORIES = [
    "steady-1",
    "ramp-2",
    "spike-3",
    "diurnal-4",
    "idle-5",
    "saturated-6",
    "tiny-7",
    "walk-8",
]


def record(story: str) -> tuple[dict, list[dict[str, str]]]:
    if not (RECORDS / "index.json").exists():
        pytest.skip(f"no records of adaptive allocations at {RECORDS}")
    index = {entry["file"]: entry for entry in json.loads((RECORDS / "index.json").read_text())}
    with (RECORDS / f"{story}.csv").open() as file:
        return index[f"{story}.csv"], list(csv.DictReader(file))


def optional(text: str) -> float | None:
    return float(text) if text else None


@pytest.mark.parametrize("story", STORIES)
def test_every_step_of_the_record_is_reproduced(story):
    settings, rows = record(story)
    limits = Limits(
        minimum=settings["min"],
        maximum=settings["max"],
        scale_to_zero_s=settings["scale_to_zero_after_s"],
    )
    scaler = AdaptiveAllocationsScaler()
    for line, row in enumerate(rows, 2):
        current = int(row["current_allocations"])
        scaler = scaler.after(
            Interval(
                duration_s=float(row["interval_s"]),
                success=float(row["success"]),
                in_flight=float(row["pending"]),
                failed=float(row["failed"]),
                inference_time_s=optional(row["inference_time_s"]),
            )
        )
        where = f"{story}.csv, line {line}"
        low, high = scaler.load
        for name, ours in (
            ("rate", scaler.rate.value),
            ("rate_variance", scaler.rate.variance),
            ("time_s", scaler.time.value),
            ("time_variance", scaler.time.variance if scaler.time.value is not None else None),
            ("load_lower", low),
            ("load_upper", high),
        ):
            recorded = optional(row[name])
            assert (ours is None) == (recorded is None), f"{where}: {name}"
            if recorded is not None:
                assert ours == pytest.approx(recorded, rel=1e-9, abs=1e-300), f"{where}: {name}"
        needed = scaler.needed(current)
        decision, scaler = scaler.decide(current, limits)
        # The record applies idleness before the limits, this scaler as a limit.
        assert (0 if decision == 0 else needed) == int(row["needed"]), where
        assert decision == (int(row["decision"]) if row["decision"] else current), where


def test_a_converged_filter_has_a_memory_of_ten_measurements():
    """With constant variance M, P/M and the gain tend to (sqrt(1 + 400) - 1) / 200 = 0.0951."""
    settled = Filter()
    for _ in range(200):
        settled = settled.after(5.0, 1.0)
    assert settled.value == pytest.approx(5.0)
    assert settled.variance == pytest.approx(0.0951, abs=1e-4)


def test_a_jump_of_ten_deviations_is_adopted_at_once():
    settled = Filter()
    for _ in range(50):
        settled = settled.after(100.0, 1.0, detect=True)
    assert settled.after(500.0, 1.0, detect=True).value == pytest.approx(500.0, rel=0.01)
    assert settled.after(500.0, 1.0).value == pytest.approx(138.0, rel=0.01)


def test_allocations_change_by_the_least_that_meets_the_thresholds():
    busy = AdaptiveAllocationsScaler(
        rate=Filter(value=100.0, variance=0.0), time=Filter(value=0.05, variance=0.0)
    )
    assert busy.load == (5.0, 5.0)
    assert [busy.needed(current) for current in (0, 1, 5, 6, 7, 20)] == [6, 6, 6, 6, 6, 6]


def test_an_idle_deployment_is_scaled_to_zero():
    limits = Limits(minimum=0, maximum=4, scale_to_zero_s=900.0)
    quiet = Interval(duration_s=10.0, success=0, in_flight=0, failed=0, inference_time_s=None)
    scaler, decisions = AdaptiveAllocationsScaler(), []
    for _ in range(91):
        scaler = scaler.after(quiet)
        desired, scaler = scaler.decide(1, limits)
        decisions.append(desired)
    assert decisions == [1] * 90 + [0]
    assert scaler.not_idle().decide(1, limits)[0] == 1


def test_a_minimum_keeps_an_idle_deployment():
    scaler = AdaptiveAllocationsScaler(rate=Filter(value=0.0, variance=0.01), idle_s=1e9)
    assert scaler.decide(1, Limits(minimum=1, scale_to_zero_s=900.0))[0] == 1
    assert scaler.decide(1, Limits(minimum=0, scale_to_zero_s=None))[0] == 1


def test_without_a_maximum_there_is_a_default_one():
    scaler = AdaptiveAllocationsScaler(rate=Filter(value=1e4, variance=0.0))
    assert scaler.decide(1, Limits())[0] == 32
    assert scaler.decide(1, Limits(maximum=100))[0] == 100
