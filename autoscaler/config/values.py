"""The configuration as resolved values."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, structs

from autoscaler.connection import Bearer, Connection, file_exposures, tampering
from autoscaler.connection import exposures as connection_exposures
from autoscaler.core.installed_policy import InstalledPolicy
from autoscaler.core.next_poll import Polling
from autoscaler.core.selection import Rule
from autoscaler.otlp_access import OtlpSettings
from autoscaler.server_access import ServerAccess, certificate_problem, is_loopback


class Server(Struct, frozen=True, kw_only=True):
    """The address of the daemon's HTTP server, and who may use it."""

    host: str
    port: int  # 0: any free port
    token: Bearer | None = None  # of requests for changes; None: no change is accepted
    tokens: Mapping[str, Bearer] = {}  # further ones, by the names of who has them
    open_reads: bool = True  # whether reads need no token
    allowed_hosts: tuple[str, ...] = ()  # glob patterns of names, such as *.example.com
    access: ServerAccess = ServerAccess()  # certificates, users, and the rate of requests


class LeaseSettings(Struct, frozen=True, kw_only=True):
    """Where the lease is: in Elasticsearch, in Kubernetes or in a file."""

    kind: str  # elasticsearch, kubernetes or file
    ttl_s: float
    name: str
    index: str  # for elasticsearch
    namespace: str | None = None  # for kubernetes; None: the pod's
    file: Path | None = None  # set if and only if `kind` is file


class Logging(Struct, frozen=True, kw_only=True):
    """`style` is auto, console, json or ecs; `level` is debug, info, warning or error."""

    style: str
    level: str


class ReportSettings(Struct, frozen=True, kw_only=True):
    """What one allocation costs in one hour, in a unit that the operator names."""

    cost_per_allocation_hour: float | None = None  # None: costs are not shown
    currency: str = ""  # free text; empty: without a unit


class RecordingSettings(Struct, frozen=True, kw_only=True):
    """Where cycles are recorded, and how much of that is kept."""

    directory: Path
    max_age_s: float
    max_bytes: int


class Config(Struct, frozen=True, kw_only=True):
    """All settings. Two are equal if and only if their settings are, secrets included."""

    connection: Connection
    polling: Polling
    dry_run: bool  # also set in every rule
    server: Server
    logging: Logging
    per_node_metrics: bool | None = None  # None: by the number of deployments
    otlp: OtlpSettings | None = None  # None: metrics are not sent, only scraped
    rules: tuple[Rule, ...]
    report: ReportSettings = ReportSettings()
    lease: LeaseSettings | None = None  # None: there is one instance only
    # The state is saved in a directory, in an index, or not at all: then none is ever stopped.
    state_dir: Path | None = None
    state_index: str | None = None
    history_max_age_s: float = 2_592_000.0
    history_max_bytes: int = 64_000_000
    recording: RecordingSettings | None = None  # None: cycles are not recorded
    state_file: Path | None = None  # of an earlier release, from which the state is taken over
    warnings: tuple[str, ...] = ()  # one sentence for each deprecated name that is used
    file: Path | None = None  # None: everything is set in the environment
    file_has_secrets: bool = False

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that identify a configuration in metrics and logs.

        Secrets are not part of it, so that they cannot be guessed from it. To detect changes,
        compare the values.
        """
        shown = (
            self.connection.hosts,
            self.connection.cloud_id,
            self.connection.username,
            self.connection.request_timeout_s,
            *(self.polling, self.dry_run, _fixed(self.server), self.logging),
            self.per_node_metrics,
            str(self.otlp),
            str(self.state_dir),
            self.state_index,
            str(self.lease),
            [(rule.policy.name, _shown(rule)) for rule in self.rules],
        )
        return hashlib.sha256(msgspec.json.encode(shown)).hexdigest()[:16]


def _fixed(server: Server) -> Server:
    """What cannot be changed while the daemon runs."""
    return structs.replace(server, token=None, tokens={}, access=ServerAccess())


def _shown(rule: Rule) -> Any:
    """A rule as data that can be encoded. An installed policy may contain any objects."""
    if not isinstance(rule.policy, InstalledPolicy):
        return rule
    return {**structs.asdict(rule), "policy": (rule.policy.source, rule.policy.options)}


def exposures(config: Config) -> Iterator[str]:
    """A sentence for each way in which others may read a secret, pose as the cluster, or change
    what the daemon does; and why clients refuse the daemon."""
    yield from connection_exposures(config.connection)
    if config.server.token is not None:
        yield from file_exposures("the token of the server", config.server.token.token)
    for name, token in config.server.tokens.items():
        yield from file_exposures(f"the token of {name}", token.token)
    if config.server.access.tls is not None:
        yield from file_exposures("the key of the server", config.server.access.tls.key_file)
        if problem := certificate_problem(config.server.access.tls):
            yield problem
    yield from _open_server(config.server)
    if config.otlp is not None and config.otlp.headers_file is not None:
        yield from file_exposures("the headers for OTLP", config.otlp.headers_file)
    if config.file_has_secrets and config.file is not None:
        yield from file_exposures("a secret", config.file)
    else:
        yield from tampering("the configuration", config.file)


def _open_server(server: Server) -> Iterator[str]:
    """What others on the network may read, and change."""
    access = server.access
    if is_loopback(server.host):
        return
    if access.tls is None and (access.users or server.tokens or server.token is not None):
        yield (
            f"server.host: {server.host} is reached from other hosts, and passwords and tokens are "
            "sent there unencrypted; set server.tls, or use a proxy on this host"
        )
    closed = access.tls is not None and access.tls.client_ca_file is not None
    if server.open_reads and not access.users and not closed:
        yield (
            f"server.host: {server.host} is reached from other hosts, and reads need neither user "
            "nor token; set server.users or open_reads = false, unless the network permits "
            "no others"
        )


def what_needs_restart(old: Config, new: Config) -> tuple[str, ...]:
    """The settings that differ and take effect at the next start only, by name in the file."""
    pairs = {
        # New credentials, tokens, certificates, users and limits take effect at once.
        "[elasticsearch]": (
            structs.replace(old.connection, auth=None),
            structs.replace(new.connection, auth=None),
        ),
        "[leadership]": (old.lease, new.lease),
        "[server]": (_fixed(old.server), _fixed(new.server)),
        "[logging]": (old.logging, new.logging),
        "[otlp]": (old.otlp, new.otlp),
        "state_dir": (old.state_dir, new.state_dir),
        "state_index": (old.state_index, new.state_index),
        "history_max_age": (old.history_max_age_s, new.history_max_age_s),
        "history_max_mb": (old.history_max_bytes, new.history_max_bytes),
        "[recording]": (old.recording, new.recording),
    }
    return tuple(name for name, (before, after) in pairs.items() if before != after)
