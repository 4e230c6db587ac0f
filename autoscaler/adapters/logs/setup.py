"""The stream and the format of log lines."""

import json
import logging
import sys
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Protocol

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from autoscaler.adapters.logs.console import ConsoleLine
from autoscaler.adapters.logs.ecs import Ecs
from autoscaler.adapters.logs.rates import RateLimit
from autoscaler.text import printable_json

FIRST = ("timestamp", "level", "event", "message")
"""Fields at the beginning of a line, in this order, so that lines can be read from the left."""


class LogStream(Protocol):
    """Where lines go."""

    def write(self, text: str, /) -> object: ...
    def flush(self) -> object: ...
    def isatty(self) -> bool: ...


def configure(
    style: str,
    level: str,
    *,
    version: str,
    environ: Mapping[str, str],
    stream: LogStream | None = None,
    now: Callable[[], float] = time.monotonic,
) -> RateLimit:
    """Write all log lines, including those of libraries, to one stream. Returns what limits the
    rate of lines of one kind.

    Args:
        style: console, json, ecs; or auto, which is console on a terminal and JSON elsewhere.
        level: debug, info, warning or error; lines below this level are dropped.
        version: of this program, for `ecs`.
        environ: NO_COLOR, if set and not empty, disables colours on the console.
        stream: default: standard error, with writes that may block.
        now: monotonic seconds, for the rate of lines.
    """
    rates = RateLimit(now)
    stream = stream or sys.stderr
    if style == "auto":
        style = "console" if stream.isatty() else "json"
    colours = stream.isatty() and not environ.get("NO_COLOR")
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    handler = logging.StreamHandler(stream)
    handler.addFilter(_RateFilter(rates))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.PositionalArgumentsFormatter(), *shared],
            processors=[
                _add_suppressed,
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_rendering(style, version, colours),
            ],
        )
    )
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    return rates


class _RateFilter(logging.Filter):
    """Rejects lines of a kind that are too many. Lines of this program are of one kind if they have
    the same event, deployment and level, and those of libraries if they have the same logger and
    level: what a library writes contains addresses and times. Kinds of lines of one event and level
    that have not been written yet are limited together."""

    def __init__(self, rates: RateLimit) -> None:
        super().__init__()
        self._rates = rates

    def filter(self, record: logging.LogRecord) -> bool:
        kind: Hashable = (record.name, record.levelno)
        event = kind
        if isinstance(record.msg, dict):
            event = (record.levelno, str(record.msg.get("event")), str(record.msg.get("cluster")))
            kind = (event, str(record.msg.get("deployment")))
        suppressed = self._rates.admit(kind, event)
        record.suppressed = suppressed
        return suppressed is not None


def _add_suppressed(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Add the number of lines of the same kind that were not written since the last one."""
    if suppressed := event["_record"].suppressed:
        event["suppressed"] = suppressed
    return event


def _rendering(style: str, version: str, colours: bool) -> list[Processor]:
    match style:
        case "console":
            return [structlog.processors.format_exc_info, ConsoleLine(colours=colours)]
        case "ecs":
            return [
                structlog.processors.format_exc_info,
                Ecs(version),
                structlog.processors.JSONRenderer(serializer=to_json),
            ]
    return [
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(serializer=to_json),
    ]


def to_json(event: dict[str, Any], **_options: object) -> str:
    """One line of JSON that begins with the fields `FIRST`.

    Values that JSON cannot represent are written as text.
    """
    ordered = {key: event[key] for key in FIRST if key in event} | event
    try:
        return printable_json(msgspec.json.encode(ordered, enc_hook=str).decode())
    except UnicodeEncodeError:  # the name of a file that is not UTF-8
        return json.dumps(ordered, default=str)
