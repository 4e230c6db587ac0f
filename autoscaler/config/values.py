"""The configuration as the rest of the program gets it: plain values, nothing left to look up."""

import hashlib
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, structs

from autoscaler.core.policies import InstalledPolicy
from autoscaler.core.selection import Rule


class ConnectionSettings(Struct, frozen=True, kw_only=True):
    """How to reach the cluster. Of the three kinds of credentials, at most one is set.

    A secret is itself or the file that holds it, which whoever uses it reads again when it has
    been replaced.
    """

    hosts: tuple[str, ...] = ()  # without a trailing slash; empty if `cloud_id` is set
    cloud_id: str | None = None
    api_key: str | Path | None = None
    username: str | None = None
    password: str | Path | None = None
    bearer_token: str | Path | None = None
    ca_certs: Path | None = None  # None: the system's authorities
    ca_fingerprint: str | None = None  # 64 hexadecimal digits, lower case
    client_certificate: Path | None = None
    client_key: Path | None = None
    request_timeout_s: float

    def __repr__(self) -> str:
        """Without the credentials: what is printed gets copied into bug reports."""
        return f"Connection({', '.join(self.hosts) or self.cloud_id})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("hosts", self.hosts), ("cloud_id", self.cloud_id)]


class Server(Struct, frozen=True, kw_only=True):
    """Where the daemon's own HTTP server listens."""

    host: str
    port: int  # 0: any that is free


class Logging(Struct, frozen=True, kw_only=True):
    """`style` is auto, console, json or ecs; `level` is debug, info, warning or error."""

    style: str
    level: str


class Config(Struct, frozen=True, kw_only=True):
    """Everything settled. Two are equal if, and only if, they say the same, secrets included."""

    connection: ConnectionSettings
    poll_interval_s: float
    dry_run: bool  # already part of every rule
    server: Server
    logging: Logging
    rules: tuple[Rule, ...]
    state_file: Path | None = None  # None: nothing is ever stopped

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits to tell configurations apart by, in metrics and logs.

        Secrets have no part in it, so that nothing can be guessed from it. To find out whether
        a configuration has changed, compare the values.
        """
        shown = (
            self.connection.hosts,
            self.connection.cloud_id,
            self.connection.username,
            self.connection.request_timeout_s,
            *(self.poll_interval_s, self.dry_run, self.server, self.logging),
            str(self.state_file),
            [(rule.policy.name, _shown(rule)) for rule in self.rules],
        )
        return hashlib.sha256(msgspec.json.encode(shown)).hexdigest()[:16]


def _shown(rule: Rule) -> Any:
    """A rule as plain data. What an installed policy is made of is for itself to know."""
    if not isinstance(rule.policy, InstalledPolicy):
        return rule
    return {**structs.asdict(rule), "policy": (rule.policy.source, rule.policy.options)}


def what_needs_restart(old: Config, new: Config) -> tuple[str, ...]:
    """What differs and is read only at the start, by its name in the file."""
    pairs = {
        "[elasticsearch]": (old.connection, new.connection),
        "[server]": (old.server, new.server),
        "[logging]": (old.logging, new.logging),
        "state_file": (old.state_file, new.state_file),
    }
    return tuple(name for name, (before, after) in pairs.items() if before != after)
