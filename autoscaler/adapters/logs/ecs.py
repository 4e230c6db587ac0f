"""Log lines with the field names of the Elastic Common Schema."""

from structlog.typing import EventDict, WrappedLogger

ECS_VERSION = "8.17.0"

_OWN = "autoscaler"
"""The namespace of fields that the schema does not define."""


class Ecs:
    """A processor that renames the fields of the schema and nests the others.

    Source: elastic/ecs, the field sets base, log, event, error and service.
    """

    def __init__(self, version: str) -> None:
        self._version = version

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        action = str(event.pop("event", ""))
        line: EventDict = {
            "@timestamp": event.pop("timestamp", None),
            "log.level": event.pop("level", "info"),
            "message": event.pop("message", action),
            "ecs.version": ECS_VERSION,
            "service.name": "autoscaler",
            "service.version": self._version,
            "event.action": action,
        }
        if (name := event.pop("logger", None)) is not None:
            line["log.logger"] = name
        if (trace := event.pop("exception", None)) is not None:
            line["error.stack_trace"] = trace
            last = str(trace).rstrip().rpartition("\n")[2]
            line["error.type"], _, line["error.message"] = last.partition(": ")
        if event:
            line[_OWN] = dict(event)
        return line
