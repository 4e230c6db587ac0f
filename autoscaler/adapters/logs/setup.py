"""The stream and the format of log lines."""

import json
import logging
import sys
from collections.abc import Mapping
from typing import Any, TextIO

import msgspec
import structlog
from structlog.typing import Processor

from autoscaler.adapters.logs.console import ConsoleLine
from autoscaler.adapters.logs.ecs import Ecs
from autoscaler.text import printable_json

FIRST = ("timestamp", "level", "event", "message")
"""Fields at the beginning of a line, in this order, so that lines can be read from the left."""


def configure(
    style: str,
    level: str,
    *,
    version: str,
    environ: Mapping[str, str],
    stream: TextIO | None = None,
) -> None:
    """Write all log lines, including those of libraries, to one stream.

    Args:
        style: console, json, ecs; or auto, which is console on a terminal and JSON elsewhere.
        level: debug, info, warning or error; lines below this level are dropped.
        version: of this program, for `ecs`.
        environ: NO_COLOR, if set and not empty, disables colours on the console.
        stream: default: standard error.
    """
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
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.PositionalArgumentsFormatter(), *shared],
            processors=[
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
