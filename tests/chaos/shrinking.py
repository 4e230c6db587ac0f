"""The smallest schedule that still fails in the same way."""

from collections.abc import Callable, Sequence

from tests.chaos.laboratory import Result
from tests.chaos.schedule import Scheduled

Attempt = Callable[[Sequence[Scheduled]], Result]


def kind_of(violation: str) -> str:
    """The invariant that a violation names."""
    return violation.partition(":")[0]


def shrunk(result: Result, attempt: Attempt) -> Result:
    """Leave out faults, halves of them first and single ones at last, as long as the same
    invariant is violated.

    Args:
        result: of the whole schedule, with a violation.
        attempt: runs the seed with another schedule.
    """
    wanted = kind_of(result.violations[0])
    best = result
    size = max(1, len(best.schedule) // 2)
    while True:
        start = 0
        while start < len(best.schedule):
            fewer = best.schedule[:start] + best.schedule[start + size :]
            tried = attempt(fewer)
            if tried.violations and kind_of(tried.violations[0]) == wanted:
                best = tried
            else:
                start += size
        if size == 1:
            return best
        size //= 2
