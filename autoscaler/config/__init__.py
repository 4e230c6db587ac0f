"""config.toml -> settled values. After this, nothing asks again what was meant.

durations   "1h30m" -> 5400.0
calendar    cron expressions, time zones
document    every key: type, default, range
problems    what is wrong, in sentences
policies    the policies there are, ours and installed ones
choosing    scaling tables -> a policy
brakes      burst ceiling, schedules
levers      number or bounds, zero, what is left behind
settled     the values the rest of the program gets
settling    document -> settled values; relations between keys
loading     file and environment -> document -> settled values
"""

from autoscaler.config.document import json_schema
from autoscaler.config.loader import CONFIG_VARIABLE, load
from autoscaler.config.messages import ConfigError
from autoscaler.config.values import (
    Config,
    ConnectionSettings,
    Logging,
    Server,
    what_needs_restart,
)

__all__ = [
    "CONFIG_VARIABLE",
    "Config",
    "ConfigError",
    "ConnectionSettings",
    "Logging",
    "Server",
    "json_schema",
    "load",
    "what_needs_restart",
]
