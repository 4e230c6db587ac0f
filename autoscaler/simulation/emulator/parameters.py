"""Parsing of request parameters, as strict as that of Elasticsearch."""

import re
from collections.abc import Mapping

from autoscaler.simulation.errors import SimulatedApiError

COMMON = frozenset({"pretty", "human", "error_trace", "filter_path", "format"})
"""Parameters that every endpoint accepts."""

_TIMEOUTS = ("master_timeout", "timeout")
"""Parameters that are durations wherever they exist, also where there is nothing to wait for."""

_DURATION_UNITS = {
    "nanos": 1e-9,
    "micros": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86_400.0,
}
_SIZE_UNITS = {"b": 1, "k": 2**10, "kb": 2**10, "m": 2**20, "mb": 2**20} | {
    "g": 2**30,
    "gb": 2**30,
    "t": 2**40,
    "tb": 2**40,
}


class Query:
    """The parameters of a request."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def require_known(self, path: str, known: frozenset[str]) -> None:
        """Refuse unknown parameters, and values of the common ones that are not emulated.

        Raises:
            SimulatedApiError: 400, naming them.
        """
        unknown = sorted(set(self._values) - known - COMMON)
        if unknown:
            plural = "s" if len(unknown) > 1 else ""
            names = ", ".join(f"[{name}]" for name in unknown)
            raise illegal_argument(
                f"request [{path}] contains unrecognized parameter{plural}: {names}"
            )
        if (text := self._values.get("format", "json")) != "json":
            raise illegal_argument(f"[format] [{text}] is not emulated: use [json], or no [format]")
        for name in _TIMEOUTS:
            self.duration_s(name)

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def get(self, name: str) -> str | None:
        return self._values.get(name)

    def text(self, name: str, default: str) -> str:
        return self._values.get(name, default)

    def integer(self, name: str) -> int | None:
        found = self._values.get(name)
        return None if found is None else parse_integer(name, found)

    def boolean(self, name: str, default: bool) -> bool:
        found = self._values.get(name)
        return default if found is None else parse_boolean(found)

    def duration_s(self, name: str) -> float | None:
        found = self._values.get(name)
        return None if found is None else parse_duration_s(name, found)


def illegal_argument(reason: str) -> SimulatedApiError:
    return SimulatedApiError(400, "illegal_argument_exception", reason)


def parse_boolean(text: str) -> bool:
    if text in ("", "true"):
        return True
    if text == "false":
        return False
    raise illegal_argument(f"Failed to parse value [{text}] as only [true] or [false] are allowed.")


def parse_integer(name: str, text: str) -> int:
    if re.fullmatch(r"[+-]?\d{1,10}", text) is None or not -(2**31) <= int(text) < 2**31:
        raise illegal_argument(f"Failed to parse int parameter [{name}] with value [{text}]")
    return int(text)


def parse_duration_s(name: str, text: str) -> float:
    """Seconds of a time value such as `30s`, `500ms` or `1m`."""
    if text in ("0", "-1"):
        return float(text)
    found = re.fullmatch(r"(-?\d{1,18})(nanos|micros|ms|s|m|h|d)", text.strip().lower())
    if found is None:
        raise illegal_argument(
            f"failed to parse setting [{name}] with value [{text}] as a time value: "
            "unit is missing or unrecognized"
        )
    return int(found[1]) * _DURATION_UNITS[found[2]]


def parse_bytes(name: str, text: str) -> int:
    """Bytes of a size such as `100mb` or `0`; only zero needs no unit."""
    if text.strip() == "0":
        return 0
    found = re.fullmatch(r"(\d{1,18}(?:\.\d{1,9})?)\s*([kmgt]b?|b)", text.strip().lower())
    if found is None:
        raise SimulatedApiError(
            400,
            "parse_exception",
            f"failed to parse setting [{name}] with value [{text}] as a size in bytes: "
            "unit is missing or unrecognized",
        )
    return int(float(found[1]) * _SIZE_UNITS[found[2]])
