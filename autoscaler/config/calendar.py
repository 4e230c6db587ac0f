"""Windows of time as people write them: when they open, in the time of which place, for how long.

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
    # With a sixth field it would be seconds, of which the others know nothing.
    if (fields := len(expression.split())) != 5:
        raise ValueError(
            f'must be a cron expression of five fields, such as "0 8 * * mon-fri", not of {fields}'
        )
    try:
        next(CronSim(expression, _SOME_DAY))
    except CronSimError as error:
        what = str(error).replace("Bad ", "")
        raise ValueError(
            f'must be a cron expression, such as "0 8 * * mon-fri"; its {what} makes no sense'
        ) from None
    except StopIteration:
        raise ValueError("must be a cron expression that fires; this one never does") from None
    return expression


def _timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown; no name at all; a folder of names
        close = get_close_matches(name, available_timezones(), n=1)
        meant = f"; did you mean {close[0]}?" if close else ", such as Europe/Berlin"
        raise ValueError(f"must be the name of a time zone{meant}") from None
    return name


Cron = Annotated[
    str, AfterValidator(_cron), Field(json_schema_extra={"examples": ["0 8 * * mon-fri"]})
]
"""When a window opens."""

TimeZone = Annotated[
    str,
    AfterValidator(_timezone),
    Field(json_schema_extra={"examples": ["Europe/Berlin", "UTC"]}),
]
"""An IANA name."""

WindowLength = Annotated[Duration, AfterValidator(between("1m", "7d"))]
"""Seconds, written with their unit. Cron counts in minutes; a week has all there is to say."""
