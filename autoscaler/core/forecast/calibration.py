"""The margin of a forecast: how far the load may rise above its centre. Measured, not assumed.

The margin is a quantile of the scores of the last forecasts (split conformal prediction). Because
loads change, the level of that quantile is corrected after each outcome, so that in the long run
the fraction of outcomes within the margin equals the quantile (adaptive conformal inference: I.
Gibbs and E. Candès, Adaptive Conformal Inference Under Distribution Shift, 2021). Their guarantee
holds for any load, but needs margins that may be infinite. Here the margin is at most the highest
of the last scores. So a load whose jumps grow each time is not covered, which the measured coverage
then shows.
"""

import math
from bisect import bisect_left
from struct import Struct as Layout

from autoscaler.core.values import Value

SCORE_COUNT = 200
"""Scores that are kept: one day of them for the shortest horizon."""

MIN_SCORES = 20
"""Scores that are needed to estimate a quantile of 0.95."""

LEVEL_STEP = 0.01
"""Correction of the level per outcome. Gibbs and Candès use 0.005 to 0.05; larger steps make the
margin unsteady."""

MIN_LEVEL = 0.5
"""Lower bound of the level: the margin is at least the median score."""

COVERAGE_GAIN = 0.02
"""Weight of one outcome in the measured coverage. 0.02: an average over about fifty outcomes."""

_ENTRY = Layout("f")


class Calibration(Value, frozen=True, kw_only=True):
    """The scores of the last forecasts, and the margin that follows from them."""

    level: float  # probability whose quantile of the scores is the margin; at most 1
    coverage: float  # fraction of the last outcomes within their margin
    margin: float = 0.0  # in square roots of erlangs; at least 0
    median: float = 0.0  # of the scores
    outcomes: int = 0
    # As 32-bit floats, which take a tenth of the memory of a tuple.
    scores: bytes = b""  # oldest first
    ranked: bytes = b""  # the same, smallest first


def initial_calibration(quantile: float) -> Calibration:
    """The calibration before any outcome."""
    return Calibration(level=quantile, coverage=quantile)


def updated_calibration(before: Calibration, quantile: float, score: float) -> Calibration:
    """The calibration after an outcome that was within the margin with probability `quantile`."""
    entry = _ENTRY.pack(score)
    # Rounded as the stored scores are, so that a score equal to the margin is within it.
    within: bool = _score_at(entry, 1.0) <= before.margin
    scores, ranked = before.scores, before.ranked
    if len(scores) == SCORE_COUNT * _ENTRY.size:
        offset = _offset(ranked, scores[: _ENTRY.size])
        scores = scores[_ENTRY.size :]
        ranked = ranked[:offset] + ranked[offset + _ENTRY.size :]
    offset = _offset(ranked, entry)
    ranked = ranked[:offset] + entry + ranked[offset:]
    level = before.level + LEVEL_STEP * (quantile if not within else quantile - 1.0)
    level = min(1.0, max(MIN_LEVEL, level))
    return Calibration(
        level=level,
        coverage=before.coverage + COVERAGE_GAIN * (within - before.coverage),
        margin=max(0.0, _score_at(ranked, level)),
        median=_score_at(ranked, 0.5),
        outcomes=before.outcomes + 1,
        scores=scores + entry,
        ranked=ranked,
    )


def _offset(ranked: bytes, entry: bytes) -> int:
    """The offset in `ranked` of the first score that is not smaller than that of `entry`."""
    return bisect_left(memoryview(ranked).cast("f"), _ENTRY.unpack(entry)[0]) * _ENTRY.size


def _score_at(ranked: bytes, level: float) -> float:
    """The score that the next one does not exceed with probability `level`."""
    count = len(ranked) // _ENTRY.size
    rank = min(count, math.ceil(level * (count + 1))) - 1
    score: float = _ENTRY.unpack_from(ranked, rank * _ENTRY.size)[0]
    return score
