"""The hours of a gradual rollout, as they are written."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from autoscaler.config.calendar import TimeZone
from autoscaler.config.table import Table
from autoscaler.core.rollout_hours import DAY_HOURS

_SPAN = r"([01]\d|2[0-3]):00-([01]\d|2[0-4]):00"


def hours_of(span: str) -> tuple[int, ...]:
    """The hours of the day in a span; one that ends before it begins goes past midnight.

    >>> hours_of("09:00-12:00"), hours_of("22:00-02:00")
    ((9, 10, 11), (22, 23, 0, 1))

    Raises:
        ValueError: it is no span of whole hours.
    """
    found = re.fullmatch(_SPAN, span, re.ASCII)
    if found is None or found[1] == found[2] or found[2] > "24":
        raise ValueError(f'must be a span of whole hours, such as "09:00-17:00", not {span!r:.40}')
    first, end = int(found[1]), int(found[2])
    length = end - first if end > first else end - first + DAY_HOURS
    return tuple([(first + hour) % DAY_HOURS for hour in range(length)])


def _span(text: str) -> str:
    hours_of(text)
    return text


def _not_empty(spans: list[str]) -> list[str]:
    if not spans:
        raise ValueError('must not be empty, because the rule would never act; use "00:00-24:00"')
    return spans


def _share(fraction: float) -> float:
    if not 0.1 <= fraction <= 0.9:
        raise ValueError(f"must be a fraction between 0.1 and 0.9, not {fraction:g}")
    return fraction


HourSpan = Annotated[
    str,
    AfterValidator(_span),
    Field(json_schema_extra={"pattern": f"^{_SPAN}$", "examples": ["09:00-17:00"]}),
]

Share = Annotated[
    float, AfterValidator(_share), Field(json_schema_extra={"minimum": 0.1, "maximum": 0.9})
]


class RolloutTable(Table):
    """A gradual rollout: the rule acts in some hours, drawn at random, and is compared with what
    ran before, which returns in all others."""

    hours: Annotated[list[HourSpan], AfterValidator(_not_empty)] = Field(
        description="Spans of whole hours of the day, in which the rule may act."
    )
    timezone: TimeZone = Field(description="IANA name of the time zone of the hours.")
    share: Share = Field(default=0.5, description="Fraction of these hours in which it acts.")
