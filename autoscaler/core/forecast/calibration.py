"""How far above a forecast the load may be: measured, not assumed.

The margin is a quantile of the scores that the last forecasts got when their time had come (split
conformal prediction). Since loads change, the level of that quantile is itself corrected after each
outcome, so that in the long run the share of outcomes within the margin is the one promised
(adaptive conformal inference: I. Gibbs and E. Candès, Adaptive Conformal Inference Under
Distribution Shift, 2021). Theirs holds for any load, at the price of margins that may be infinite.
Here the highest of the last scores is the widest margin, so that a load whose every leap is higher
than all before is not covered; the measured coverage then says so.
"""

import math
from bisect import bisect_left
from struct import Struct as Layout

from autoscaler.core.values import Value

SCORE_COUNT = 200
"""That are kept: for the shortest horizon those of a day."""

MIN_SCORES = 20
"""Scores from which a quantile of 95 % can be told."""

LEVEL_STEP = 0.01
"""By which the level is corrected. Gibbs and Candès: 0.005 to 0.05; larger ones are nervous."""

MIN_LEVEL = 0.5
"""Of a margin, which is never below the median score."""

COVERAGE_GAIN = 0.02
"""Of the measured coverage: a memory of about fifty outcomes."""

_ENTRY = Layout("f")


class Calibration(Value, frozen=True, kw_only=True):
    """The scores of the last forecasts, and what they say about the next."""

    level: float  # of the quantile that is the margin; at most 1
    coverage: float  # share of the last outcomes within their margin
    margin: float = 0.0  # promised to be exceeded by no more outcomes than agreed; not negative
    median: float = 0.0  # score
    outcomes: int = 0
    # As 32-bit floats, which weigh a tenth of a tuple's.
    scores: bytes = b""  # oldest first
    ranked: bytes = b""  # the same, smallest first


def initial_calibration(quantile: float) -> Calibration:
    """Before any outcome."""
    return Calibration(level=quantile, coverage=quantile)


def updated_calibration(before: Calibration, quantile: float, score: float) -> Calibration:
    """After an outcome that should have been within the margin with probability `quantile`."""
    entry = _ENTRY.pack(score)
    within: bool = (
        _score_at(entry, 1.0) <= before.margin
    )  # as it is kept, or a tie might look a miss
    scores, ranked = before.scores, before.ranked
    if len(scores) == SCORE_COUNT * _ENTRY.size:
        place = _place(ranked, scores[: _ENTRY.size])
        scores = scores[_ENTRY.size :]
        ranked = ranked[:place] + ranked[place + _ENTRY.size :]
    place = _place(ranked, entry)
    ranked = ranked[:place] + entry + ranked[place:]
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


def _place(ranked: bytes, entry: bytes) -> int:
    """Where in `ranked` the first score begins that is not smaller than that of `entry`."""
    return bisect_left(memoryview(ranked).cast("f"), _ENTRY.unpack(entry)[0]) * _ENTRY.size


def _score_at(ranked: bytes, level: float) -> float:
    """The score that a further one does not exceed with probability `level`."""
    count = len(ranked) // _ENTRY.size
    place = min(count, math.ceil(level * (count + 1))) - 1
    score: float = _ENTRY.unpack_from(ranked, place * _ENTRY.size)[0]
    return score
