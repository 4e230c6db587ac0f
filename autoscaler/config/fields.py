"""The types of keys: what is accepted, and what a message says of anything else."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from autoscaler.connection import normal_fingerprint, normal_host


def _split(value: object) -> object:
    """A text is split at its commas; anything else is returned unchanged."""
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _no_empty_pattern(patterns: list[str] | str) -> list[str] | str:
    if not all([patterns] if isinstance(patterns, str) else patterns):
        raise ValueError(
            'must not contain an empty pattern, which matches nothing; use "*" for all'
        )
    return patterns


def _printable(text: str) -> str:
    if not text:
        raise ValueError("must not be empty; remove the key if there is no value")
    if not text.isprintable():
        raise ValueError("must be a text without control characters")
    return text


def _lease_name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", text):
        raise ValueError(
            "must be at most 63 lower-case letters, digits and hyphens, and begin and end with a "
            "letter or digit"
        )
    return text


MAX_ALLOCATIONS = 1_000_000
"""Allocations that a rule may name, at most. A million: more than any cluster has processors, and
the most that an override accepts."""


def _number_of_allocations(allocations: int) -> int:
    if allocations < 1:
        raise ValueError(f"must be at least 1, not {allocations}; use scale_to_zero to allow 0")
    if allocations > MAX_ALLOCATIONS:
        raise ValueError(f"must be at most {MAX_ALLOCATIONS}")
    return allocations


def unless_false(value: object) -> object:
    """TOML has no null, so a rule overrides a value of [defaults] with false."""
    return None if value is False else value


def or_false(schema: dict[str, Any]) -> None:
    schema["anyOf"].append({"const": False})


def _above_one(factor: float) -> float:
    if not 1.0 < factor <= 1000.0:
        raise ValueError(f"must be above 1 and at most 1000, not {factor:g}")
    return factor


def _fraction(utilisation: float) -> float:
    if not 0.05 <= utilisation <= 0.95:
        raise ValueError(f"must be a fraction between 0.05 and 0.95, not {utilisation:g}")
    return utilisation


def with_unique_names(schedules: list[Any]) -> list[Any]:
    names = [schedule.name for schedule in schedules]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"more than one is named {name!r}; names must be unique")
    return schedules


def _slo_target(fraction: float) -> float:
    if not 0.5 <= fraction <= 0.9999:
        raise ValueError(f"must be a fraction between 0.5 and 0.9999, not {fraction:g}")
    return fraction


Patterns = Annotated[list[str] | str, BeforeValidator(_split), AfterValidator(_no_empty_pattern)]
Line = Annotated[str, AfterValidator(_printable)]
LeaseName = Annotated[
    str,
    AfterValidator(_lease_name),
    Field(json_schema_extra={"pattern": "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"}),
]
Host = Annotated[
    str,
    AfterValidator(normal_host),
    Field(json_schema_extra={"pattern": r"^\s*[Hh][Tt][Tt][Pp][Ss]?://"}),
]
Hosts = Annotated[list[Host] | Host, BeforeValidator(_split)]
Fingerprint = Annotated[str, AfterValidator(normal_fingerprint)]
Allocations = Annotated[
    int,
    AfterValidator(_number_of_allocations),
    Field(json_schema_extra={"minimum": 1, "maximum": MAX_ALLOCATIONS}),
]
Factor = Annotated[float, AfterValidator(_above_one)]
Fraction = Annotated[
    float, AfterValidator(_fraction), Field(json_schema_extra={"minimum": 0.05, "maximum": 0.95})
]

SloTarget = Annotated[
    float, AfterValidator(_slo_target), Field(json_schema_extra={"minimum": 0.5, "maximum": 0.9999})
]
