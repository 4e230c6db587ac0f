"""What one poll shows about the arrivals: whether they surprise, and whether they recur."""

from autoscaler.core.policies import Situation
from autoscaler.core.slo.count_window import WINDOW_S, CountWindow
from autoscaler.core.slo.load_jump import Surprise, is_unexpected, surprise_of
from autoscaler.core.slo.memory import SloMemory
from autoscaler.core.slo.recurrence import (
    ExpectedRate,
    Recurrence,
    after_count,
    expected_peaks,
    expected_rates,
    mean_rate,
)
from autoscaler.core.slo.violations import new_requests
from autoscaler.core.values import Sample, Value

RESPONSE_S = 4.0
"""Seconds from a poll until an update that it leads to is in effect on the nodes in use."""

FAILED_RATIO, FAILED_SIGMA = 0.5, 5.0
"""A load has not recurred if less than half of the expected requests arrive, and these are five
standard deviations fewer: hardly ever by chance."""


class Arrivals(Value, frozen=True, kw_only=True):
    """The arrivals up to a poll, and what is expected of the next ones."""

    requests: int  # since the poll before
    window: CountWindow
    surprise: Surprise | None  # None: as many as predicted
    recurrence: Recurrence
    recurring: tuple[ExpectedRate, ...]  # the highest rates until the next decision has an effect
    recurs: bool  # whether another rate is about to recur than at the last recomputation
    failed_to_recur: bool  # whether far fewer requests arrived than recurred before at this time

    @property
    def peak_per_s(self) -> float:
        """The mean of the rates that recur; 0 if none does."""
        return mean_rate(self.recurring)

    def exceeds(self, predicted_per_s: float) -> bool:
        """Whether there are surprisingly many."""
        surprise = self.surprise
        return surprise is not None and surprise.requests > predicted_per_s * surprise.time_s


def arrivals_at(situation: Situation, memory: SloMemory) -> Arrivals:
    """What a poll shows about the arrivals.

    Args:
        memory: before this poll.
    """
    sample, estimate = situation.sample, memory.estimate
    interval_s = sample.interval_s
    requests = new_requests(sample)
    exact = not _timing_hides_chance(sample, requests)
    window = memory.window.after(requests, interval_s, exact=exact)
    if window.is_complete and exact:
        window = window.with_dispersion()
    surprise = surprise_of(estimate.rate_per_s, requests, interval_s, window)
    recurrence = after_count(memory.recurrence, requests, situation.at, interval_s)
    recurring: tuple[ExpectedRate, ...] = ()
    peak_per_s, failed = 0.0, False
    if recurrence.period is not None:
        recurring = recurring_at(situation, recurrence)
        peak_per_s = mean_rate(recurring)
        expected = mean_rate(expected_rates(recurrence, situation.at - interval_s, situation.at))
        expected *= interval_s
        failed = requests < FAILED_RATIO * expected and is_unexpected(
            expected, requests, window.dispersion, FAILED_SIGMA
        )
    recurs = peak_per_s != estimate.peak_per_s and is_unexpected(
        estimate.peak_per_s * WINDOW_S, peak_per_s * WINDOW_S, window.dispersion
    )
    return Arrivals(
        requests=requests,
        window=window.with_jump() if recurs or failed or surprise is not None else window,
        surprise=surprise,
        recurrence=recurrence,
        recurring=recurring,
        recurs=recurs,
        failed_to_recur=failed,
    )


def recurring_at(situation: Situation, recurrence: Recurrence) -> tuple[ExpectedRate, ...]:
    """The highest rates to expect until the decision at the next poll has an effect."""
    until = situation.at + situation.min_poll_interval_s + RESPONSE_S
    return expected_peaks(recurrence, situation.at, until)


def _timing_hides_chance(sample: Sample, requests: int) -> bool:
    """Whether the uncertainty of the interval changes the rate by more than chance does."""
    uncertainty = sample.uncertainty_s / sample.interval_s
    return uncertainty * uncertainty * requests > 1.0
