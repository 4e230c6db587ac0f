"""config.toml -> resolved values.

messages         problems, in sentences that name the key and its line
durations        "1h30m" -> 5400.0
calendar         cron expressions, time zones
policies         the known policies, built-in and installed
fields           the types of keys, with their ranges
document         every key: type, default, range
connection       [elasticsearch] -> a connection
server           [server] -> the address of the daemon's server, and its token
policy_settings  scaling tables -> a policy
mode_settings    control mode, scale to zero, release
recording        [recording] -> where cycles are recorded
report           [report] -> what an allocation-hour costs
state            the directory of the state
leadership       [leadership] -> where the lease is
limits           burst maximum, schedules
rules            a complete table and a policy -> a rule
values           the resolved values
validation       plain data -> document, and all that is wrong with the data
resolver         document -> resolved values; relations between keys
aliases          former names of keys and values
toml_lines       the line of each key of a file
toml_file        a file -> a table and its lines
toml_syntax      the error in a file that is not TOML, and the likely fix
loader           file and environment -> document -> resolved values
"""

from autoscaler.config.document import json_schema
from autoscaler.config.loader import CONFIG_VARIABLE, load, read_server
from autoscaler.config.messages import ConfigError
from autoscaler.config.values import (
    Config,
    LeaseSettings,
    Logging,
    RecordingSettings,
    ReportSettings,
    Server,
    exposures,
    what_needs_restart,
)

__all__ = [
    "CONFIG_VARIABLE",
    "Config",
    "ConfigError",
    "LeaseSettings",
    "Logging",
    "RecordingSettings",
    "ReportSettings",
    "Server",
    "exposures",
    "json_schema",
    "load",
    "read_server",
    "what_needs_restart",
]
