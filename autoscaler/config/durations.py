"""Durations with their unit: 30s, 5m, 1h30m."""

import re
from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, WithJsonSchema

_SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1, "ms": 0.001}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|[dhms])")
_UNIT_NAMES = {
    "milliseconds?|millis|msecs?": "ms",
    "seconds?|secs?": "s",
    "minutes?|mins?": "m",
    "hours?|hrs?": "h",
    "days?": "d",
}
"""Patterns of other names of the units."""

_PATTERN = r"^([0-9]{1,9}(\.[0-9]{1,9})?(ms|d|h|m|s)){1,5}$"


def parse_duration(text: object) -> float:
    """Seconds of a duration such as 30s, 5m, 1h30m, 250ms.

    A number without a unit is rejected, because it could mean seconds or milliseconds.

    Raises:
        ValueError: the text is not a duration.

    >>> parse_duration("1h30m")
    5400.0
    """
    if not isinstance(text, str) or not re.fullmatch(_PATTERN, text):
        raise ValueError(
            f'must be a duration with its unit, such as "30s", "5m" or "1h30m"{_given(text)}'
        )
    return float(sum(float(count) * _SECONDS[unit] for count, unit in _PART.findall(text)))


def _given(value: object) -> str:
    """The end of a sentence: the value that is no duration, and the likely meaning."""
    if not isinstance(value, str | int | float) or len(str(value)) > 60:
        return ""
    if not isinstance(value, str):
        return f", not {str(value).lower() if isinstance(value, bool) else value}"
    near = re.sub(r"\s", "", value.lower())
    for names, unit in _UNIT_NAMES.items():
        near = re.sub(rf"(?<=[0-9])({names})(?![a-z])", unit, near)
    suggestion = f'; did you mean "{near}"?' if re.fullmatch(_PATTERN, near) else ""
    return f", not {value!r}{suggestion}"


def format_duration(seconds: float) -> str:
    """The shortest text for a duration.

    >>> format_duration(5400.0), format_duration(0.25), format_duration(0.0)
    ('1h30m', '250ms', '0s')
    """
    parts, left = [], round(seconds * 1000)
    for unit, size_s in _SECONDS.items():
        count, left = divmod(left, round(size_s * 1000))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def between(minimum: str, maximum: str) -> Callable[[float], float]:
    """A validator: the duration is at least `minimum` and at most `maximum`."""
    min_s, max_s = parse_duration(minimum), parse_duration(maximum)

    def check(seconds: float) -> float:
        if not min_s <= seconds <= max_s:
            text = format_duration(seconds)
            raise ValueError(f"must be between {minimum} and {maximum}, not {text}")
        return seconds

    return check


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": _PATTERN, "examples": ["30s", "5m", "1h30m"]}),
]
"""Seconds; in the file, a text with a unit."""

PollInterval = Annotated[Duration, AfterValidator(between("1s", "10m"))]
RequestTimeout = Annotated[Duration, AfterValidator(between("100ms", "5m"))]
LeaseTtl = Annotated[Duration, AfterValidator(between("3s", "1h"))]
LoadWindow = Annotated[Duration, AfterValidator(between("1s", "1h"))]
StabilisationWindow = Annotated[Duration, AfterValidator(between("0s", "1d"))]
ExternalChangeHold = Annotated[Duration, AfterValidator(between("0s", "1d"))]
BlindAfter = Annotated[Duration, AfterValidator(between("30s", "1d"))]
Latency = Annotated[Duration, AfterValidator(between("1ms", "1h"))]
Wait = Annotated[Duration, AfterValidator(between("0s", "1h"))]
Drain = Annotated[Duration, AfterValidator(between("1s", "1h"))]
ExportInterval = Annotated[Duration, AfterValidator(between("5s", "1h"))]
HistoryAge = Annotated[Duration, AfterValidator(between("1h", "366d"))]
IdleFor = Annotated[Duration, AfterValidator(between("1m", "7d"))]
CallerTimeout = Annotated[Duration, AfterValidator(between("100ms", "2h"))]
