"""Recurring windows of time: when they open, in which time zone, and for how long.

Source of the syntax: crontab(5), read by cronsim, which adds `L`, `LW`, `5L` and `mon#1`.
"""

from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Annotated
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, Field

from autoscaler.config.durations import Duration, between

_SOME_DAY = datetime(2000, 1, 1, tzinfo=UTC)


def _cron(expression: str) -> str:
    # cronsim reads a sixth field as seconds, which crontab(5) does not have.
    if (fields := len(expression.split())) != 5:
        raise ValueError(
            f'must be a cron expression of five fields, such as "0 8 * * mon-fri", not of {fields}'
        )
    try:
        next(CronSim(expression, _SOME_DAY))
    except CronSimError as error:
        what = str(error).replace("Bad ", "")
        raise ValueError(
            f'must be a cron expression, such as "0 8 * * mon-fri"; its {what} is invalid'
        ) from None
    except StopIteration:
        raise ValueError(
            "must be a cron expression that fires at some time; this one never does"
        ) from None
    return expression


def _timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown; not a name; a directory of the database
        close = get_close_matches(name, available_timezones(), n=1)
        hint = f"; did you mean {close[0]}?" if close else ", such as Europe/Berlin"
        raise ValueError(f"must be the name of a time zone{hint}") from None
    return name


Cron = Annotated[
    str, AfterValidator(_cron), Field(json_schema_extra={"examples": ["0 8 * * mon-fri"]})
]
"""The instants at which a window opens."""

TimeZone = Annotated[
    str,
    AfterValidator(_timezone),
    Field(json_schema_extra={"examples": ["Europe/Berlin", "UTC"]}),
]
"""An IANA name of a time zone."""

WindowLength = Annotated[Duration, AfterValidator(between("1m", "7d"))]
"""The length of a window in seconds. At least a minute, the resolution of cron; at most a week,
the longest period of a weekday field."""
