"""Durations as people write them: 30s, 5m, 1h30m."""

import re
from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, WithJsonSchema

_SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1, "ms": 0.001}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|[dhms])")
_PATTERN = r"^([0-9]{1,9}(\.[0-9]{1,9})?(ms|d|h|m|s)){1,5}$"


def parse_duration(text: object) -> float:
    """Seconds of a duration such as 30s, 5m, 1h30m, 250ms.

    A bare number is refused: nobody can tell whether it means seconds or milliseconds.

    Raises:
        ValueError: for anything else.

    >>> parse_duration("1h30m")
    5400.0
    """
    if not isinstance(text, str) or not re.fullmatch(_PATTERN, text):
        raise ValueError('must be a duration with its unit, such as "30s", "5m" or "1h30m"')
    return float(sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text)))


def format_duration(seconds: float) -> str:
    """The shortest way to write a duration.

    >>> format_duration(5400.0), format_duration(0.25), format_duration(0.0)
    ('1h30m', '250ms', '0s')
    """
    parts, left = [], round(seconds * 1000)
    for unit, size_s in _SECONDS.items():
        count, left = divmod(left, round(size_s * 1000))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def between(least: str, most: str) -> Callable[[float], float]:
    """A validator: the duration is no shorter than `least` and no longer than `most`."""
    least_s, most_s = parse_duration(least), parse_duration(most)

    def check(seconds: float) -> float:
        if not least_s <= seconds <= most_s:
            raise ValueError(f"must be between {least} and {most}, not {format_duration(seconds)}")
        return seconds

    return check


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": _PATTERN, "examples": ["30s", "5m", "1h30m"]}),
]
"""Seconds, written with their unit."""

PollInterval = Annotated[Duration, AfterValidator(between("1s", "10m"))]
RequestTimeout = Annotated[Duration, AfterValidator(between("100ms", "5m"))]
LoadWindow = Annotated[Duration, AfterValidator(between("1s", "1h"))]
StabilisationWindow = Annotated[Duration, AfterValidator(between("0s", "1d"))]
Latency = Annotated[Duration, AfterValidator(between("1ms", "1h"))]
Wait = Annotated[Duration, AfterValidator(between("0s", "1h"))]
Drain = Annotated[Duration, AfterValidator(between("1s", "1h"))]
IdleFor = Annotated[Duration, AfterValidator(between("1m", "7d"))]
CallerTimeout = Annotated[Duration, AfterValidator(between("100ms", "2h"))]
