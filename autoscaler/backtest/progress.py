"""The progress of a batch, with the remaining time."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

MAX_SILENCE_S = 300.0
"""Seconds after which a line is printed though less than a tenth was finished meanwhile."""

MIN_REMAINING_S = 60.0
"""A shorter remaining time is not printed."""

Clock = Callable[[], float]


@contextmanager
def progress_on(
    console: Console, label: str, clock: Clock = time.monotonic, *, total: int | None = None
) -> Iterator[Callable[[int, int], None]]:
    """Show the progress of a batch: a bar on a terminal, otherwise a line for each tenth.

    Args:
        total: how many there are, for the time until the first is finished; None: unknown.
    """
    if not console.is_terminal:
        yield _Lines(console, label, clock)
        return
    columns = (
        TextColumn(label),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[remaining]}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        shown, began = bar.add_task(label, total=total, remaining=""), clock()

        def progress(done: int, total: int) -> None:
            remaining = _remaining_text(done, total, clock() - began)
            bar.update(shown, completed=done, total=total, remaining=remaining)

        yield progress


class _Lines:
    def __init__(self, console: Console, label: str, clock: Clock) -> None:
        self._console = console
        self._label = label
        self._clock = clock
        self._began = self._printed = clock()
        self._tenths = 0

    def __call__(self, done: int, total: int) -> None:
        tenths, now = 10 * done // total, self._clock()
        if tenths > self._tenths or now - self._printed >= MAX_SILENCE_S:
            self._tenths, self._printed = tenths, now
            text = f"{self._label}: {done} of {total}"
            remaining = _remaining_text(done, total, now - self._began)
            text += remaining and f", {remaining}"
            self._console.print(text, highlight=False, markup=False)


def _remaining_text(done: int, total: int, elapsed_s: float) -> str:
    """By the time that all finished ones took together: several workers finish at about the same
    time, so that the time between the last two says nothing.

    >>> _remaining_text(1, 2, 59.0), _remaining_text(1, 2, 170.0), _remaining_text(2, 52, 3600.0)
    ('', 'about 3 min remain', 'about 25.0 h remain')
    """
    remaining_s = elapsed_s / max(done, 1) * (total - done)
    if remaining_s < MIN_REMAINING_S:
        return ""
    minutes = remaining_s / 60.0
    return (
        f"about {minutes:.0f} min remain" if minutes < 90 else f"about {minutes / 60:.1f} h remain"
    )
