"""The measured coverage of margins equals the quantile."""

import random

import pytest

from autoscaler.core.forecast.calibration import (
    SCORE_COUNT,
    initial_calibration,
    updated_calibration,
)


def after(scores, quantile=0.95):
    calibration = initial_calibration(quantile)
    covered = []
    for score in scores:
        covered.append(score <= calibration.margin)
        calibration = updated_calibration(calibration, quantile, score)
    return calibration, covered


def test_there_is_no_margin_before_the_first_outcome():
    assert initial_calibration(0.95).margin == 0.0


def test_the_margin_is_a_quantile_of_the_scores():
    dice = random.Random(1)
    calibration, _ = after([dice.random() for _ in range(1000)], quantile=0.9)
    assert calibration.margin == pytest.approx(0.9, abs=0.05)
    assert calibration.median == pytest.approx(0.5, abs=0.1)


def test_a_margin_is_never_negative():
    calibration, _ = after([-1.0] * 50)
    assert calibration.margin == 0.0
    assert calibration.median == -1.0


@pytest.mark.parametrize("drift", [0.0, 0.01, -0.01])
def test_the_coverage_equals_the_quantile_even_while_scores_drift(drift):
    dice = random.Random(7)
    _, covered = after([dice.gauss(60.0 + drift * n, 1.0) for n in range(5000)])
    assert sum(covered[500:]) / 4500 == pytest.approx(0.95, abs=0.015)


def test_the_reported_coverage_is_that_of_the_last_outcomes():
    calibration, _ = after([1.0] * 300 + [10.0 * n for n in range(1, 10)])
    assert calibration.coverage < 0.9


def test_old_scores_are_dropped():
    calibration, _ = after([100.0] * SCORE_COUNT + [1.0] * SCORE_COUNT)
    assert calibration.margin == 1.0
    assert len(calibration.scores) == len(calibration.ranked) == 4 * SCORE_COUNT


def test_the_ranking_contains_the_same_scores():
    dice = random.Random(3)
    calibration, _ = after([dice.choice([0.1, 0.2, dice.random()]) for _ in range(3 * SCORE_COUNT)])
    scores = memoryview(calibration.scores).cast("f").tolist()
    assert memoryview(calibration.ranked).cast("f").tolist() == sorted(scores)
