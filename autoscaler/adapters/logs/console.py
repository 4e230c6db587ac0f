"""Log lines for a terminal: time, level, sentence, then the fields that matter."""

from structlog.typing import EventDict, WrappedLogger

from autoscaler.text import printable, printable_lines

_LEVELS = {
    "debug": "\x1b[2m",
    "info": "\x1b[32m",
    "warning": "\x1b[33m",
    "error": "\x1b[31m",
    "critical": "\x1b[31;1m",
}
_DIM, _BOLD, _RESET = "\x1b[2m", "\x1b[1m", "\x1b[0m"

_IN_THE_SENTENCE = frozenset(
    {
        *("deployment", "model", "mode", "running", "requested", "current", "recommended"),
        *("desired", "min_allocations", "max_allocations", "steps", "sample", "load", "shortfall"),
        *("reported", "outcome", "detail", "cause", "lost", "before", "after", "times", "problem"),
        *("second_writer", "allocations", "took_s", "lasted_s", "wait_s", "accepted_at", "version"),
        *("port", "logger"),
    }
)
"""Fields that the sentence contains, or that only machines read. JSON has them all."""


class ConsoleLine:
    """A processor that writes a line as text.

    Args:
        colours: whether to use the escape sequences of terminals.
    """

    def __init__(self, *, colours: bool) -> None:
        self._colours = colours

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> str:
        level = str(event.pop("level", "info"))
        time = str(event.pop("timestamp", ""))
        name = event.pop("event", "")
        # The event of a line from a library is its sentence.
        sentence = printable(str(event.pop("message", name)))
        trace = event.pop("exception", None)
        problems = event.pop("problems", ())
        fields = {
            key: value
            for key, value in event.items()
            if key not in _IN_THE_SENTENCE and value not in (None, "")
        }
        if name != sentence:
            fields = {"event": name, **fields}
        else:
            fields = {"logger": event["logger"]} if "logger" in event else {}
        after = " ".join(f"{key}={printable(str(value))}" for key, value in fields.items())
        line = " ".join(
            [
                self._in(_DIM, _seconds(time)),
                self._in(_LEVELS.get(level, ""), f"{level:<7}"),
                self._in("" if level in {"debug", "info"} else _BOLD, sentence),
            ]
        )
        if after:
            line = f"{line}  {self._in(_DIM, after)}"
        if len(problems) > 1:  # the sentence contains a single one
            line = "\n    ".join([line, *map(printable, problems)])
        if trace is not None:
            line = f"{line}\n{printable_lines(str(trace))}"
        return line

    def _in(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_RESET}" if self._colours and colour else text


def _seconds(time: str) -> str:
    """The time without fractions of a second.

    >>> _seconds("2026-01-02T03:04:05.678901Z")
    '2026-01-02T03:04:05Z'
    """
    whole, point, _ = time.partition(".")
    return f"{whole}Z" if point else time
