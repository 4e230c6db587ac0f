"""The configuration as it is written: every key, its type, its default and its range.

Relations between keys are checked in `resolver` and in the modules that it uses.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from autoscaler.config.calendar import Cron, TimeZone, WindowLength
from autoscaler.config.durations import (
    BlindAfter,
    CallerTimeout,
    Drain,
    ExternalChangeHold,
    HistoryAge,
    IdleFor,
    Latency,
    LeaseTtl,
    LoadWindow,
    PollInterval,
    RequestTimeout,
    StabilisationWindow,
    Wait,
    format_duration,
)
from autoscaler.config.fields import (
    Allocations,
    Factor,
    Fingerprint,
    Fraction,
    Hosts,
    LeaseName,
    Line,
    Patterns,
    SloTarget,
    or_false,
    unless_false,
    with_unique_names,
)
from autoscaler.config.messages import DELIMITER, PREFIX
from autoscaler.config.policies import BUILT_IN
from autoscaler.config.recording import RecordingTable
from autoscaler.config.report import ReportTable
from autoscaler.config.rollout import RolloutTable
from autoscaler.config.server_tables import ServerTable
from autoscaler.config.table import Table
from autoscaler.config.telemetry import LoggingTable, MetricsTable, OtlpTable


class ElasticsearchTable(Table):
    """The addresses of the cluster, the credentials and the certificates to trust."""

    hosts: Hosts | None = Field(
        default=None,
        description="Addresses of the cluster, used in turn. Required unless cloud_id is set.",
    )
    cloud_id: Line | None = Field(
        default=None,
        description="The cloud id that Elastic Cloud shows for the cluster, instead of hosts.",
    )
    api_key: SecretStr | None = Field(
        default=None, description="Encoded API key. Prefer api_key_file."
    )
    api_key_file: Line | None = Field(default=None, description="File that contains the API key.")
    username: Line | None = Field(default=None, description="User, with password_file.")
    password: SecretStr | None = Field(
        default=None, description="The user's password. Prefer password_file."
    )
    password_file: Line | None = Field(default=None, description="File that contains the password.")
    bearer_token: SecretStr | None = Field(
        default=None, description="Token of a service account. Prefer bearer_token_file."
    )
    bearer_token_file: Line | None = Field(
        default=None, description="File that contains the token."
    )
    ca_certs: Line | None = Field(
        default=None,
        description="PEM file of the certificate authorities to trust; default: the system's.",
    )
    ca_fingerprint: Fingerprint | None = Field(
        default=None,
        description="SHA-256 fingerprint of the authority to trust, as Elasticsearch prints it.",
    )
    client_certificate: Line | None = Field(
        default=None, description="PEM file of the client certificate."
    )
    client_key: Line | None = Field(
        default=None, description="PEM file of its private key, if that is in a separate file."
    )
    request_timeout: RequestTimeout | None = Field(
        default=None,
        description="Timeout of one request; default: poll_interval, but at most 30s.",
    )


class LeadershipTable(Table):
    """Which of several instances changes the cluster."""

    lease: Literal["none", "elasticsearch", "kubernetes", "file"] = Field(
        default="none",
        description="Where the lease is stored; none: there is one instance only.",
    )
    ttl: LeaseTtl | None = Field(
        default=None,
        description="Time after which a leader that does not respond is replaced.",
    )
    name: LeaseName = Field(
        default="autoscaler", description="Name of the lease; one for each cluster."
    )
    index: LeaseName = Field(
        default="autoscaler-leases", description="Index of the lease; for elasticsearch."
    )
    namespace: LeaseName | None = Field(
        default=None, description="Namespace of the lease; for kubernetes. Default: the pod's."
    )
    file: Line | None = Field(default=None, description="File of the lease; for file.")


class SloTable(Table):
    """A service-level objective: either latency or wait, and the target."""

    latency: Latency | None = Field(
        default=None, description="Maximum queue wait plus service time."
    )
    wait: Wait | None = Field(default=None, description="Maximum queue wait.")
    target: SloTarget = Field(
        default=0.99, description="Fraction of the requests that must meet it."
    )


class ScheduleTable(Table):
    """A recurring window of time with other bounds."""

    name: Line = Field(description="Name of the schedule in logs.")
    cron: Cron = Field(description="When the window opens: minute, hour, day, month, weekday.")
    timezone: TimeZone = Field(description="IANA name of the time zone of cron.")
    length: WindowLength = Field(description="How long it stays open.")
    min_allocations: Allocations | None = Field(
        default=None, description="Minimum of the allocations while the window is open."
    )
    max_allocations: Allocations | None = Field(
        default=None, description="Maximum of the allocations while the window is open."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        minimum, maximum = self.min_allocations, self.max_allocations
        if minimum is None and maximum is None:
            raise ValueError("has no effect; set min_allocations, max_allocations or both")
        if minimum is not None and maximum is not None and maximum < minimum:
            raise ValueError(
                f"max_allocations must be at least min_allocations, which is {minimum}, "
                f"not {maximum}"
            )
        return self


class ScaleToZeroTable(Table):
    """When an idle deployment is scaled to zero, and how."""

    after: IdleFor = Field(description="Time without requests.")
    via: Literal["adaptive", "stop"] = Field(
        description="adaptive: adaptive allocations scale to zero, and start the deployment at the "
        "next request; stop: the daemon stops the deployment, and starts it again."
    )


class ScalingTable(Table):
    """How deployments are scaled."""

    policy: Line = Field(
        default="slo",
        examples=list(BUILT_IN),
        description="The policy that recommends allocations: slo, utilisation, or the name of an "
        "installed policy.",
    )
    mode: Literal["direct", "bounds"] = Field(
        default="direct",
        description="The control mode. direct: the number of allocations is set; bounds: the "
        "minimum of adaptive allocations, which are enabled.",
    )
    take_over: bool = Field(
        default=False,
        description="Whether adaptive allocations are disabled where they are enabled; for direct.",
    )
    min_allocations: Allocations = Field(default=1, description="Minimum of the allocations.")
    max_allocations: Allocations | None = Field(
        default=None, description="Maximum of the allocations. Required for rules that scale."
    )
    burst_max_allocations: Allocations | None = Field(
        default=None, description="More than this only if recommended for longer than a minute."
    )
    schedules: Annotated[list[ScheduleTable], AfterValidator(with_unique_names)] = Field(
        default=[], description="Windows of time with other bounds."
    )
    scale_to_zero: Annotated[ScaleToZeroTable | None, BeforeValidator(unless_false)] = Field(
        default=None,
        description="Scale to zero after a time without requests; false: never.",
        json_schema_extra=or_false,
    )
    rollout: Annotated[RolloutTable | None, BeforeValidator(unless_false)] = Field(
        default=None,
        description="Act in some hours only, and compare them with what ran before; false: act at "
        "all times.",
        json_schema_extra=or_false,
    )
    on_exit: Literal["keep", "adaptive", "floor"] = Field(
        default="keep",
        description="The state in which deployments are left when the daemon is stopped. keep: "
        "unchanged; adaptive: adaptive allocations are enabled; floor: at least safe_allocations.",
    )
    safe_allocations: Allocations | None = Field(
        default=None,
        description="Allocations that are sufficient without an autoscaler; for on_exit floor.",
    )
    target_utilisation: Fraction = Field(
        default=0.7, description="Target of offered load divided by allocations; for utilisation."
    )
    load_window: LoadWindow = Field(
        default=60.0, description="Window over which rates are measured; at least poll_interval."
    )
    slo: SloTable | None = Field(
        default=None,
        description="The objective; for slo. Default: 99% of the requests wait at most two service "
        "times.",
    )
    drain: Drain | None = Field(
        default=None,
        description="Time within which a backlog is drained; for slo. Default: 30s, or "
        "poll_interval if that is longer.",
    )
    caller_timeout: CallerTimeout | None = Field(
        default=None,
        description="Timeout of the callers; for slo. Older requests are not worth serving. "
        "Default: 10s; 30s if an inference endpoint uses the deployment, 120s if it completes "
        "texts; 2h if an ingest pipeline uses it.",
    )
    options: dict[str, Any] = Field(
        default={},
        description="Options of an installed policy, which defines their names and types.",
    )
    stabilisation_window: StabilisationWindow | None = Field(
        default=None,
        description="Scale down only to the highest recommendation within this window; default: "
        "5m for utilisation, 0s for other policies.",
    )
    external_change_hold: ExternalChangeHold = Field(
        default=600.0,
        description="Time for which a change that another client makes is respected; 0s: it is "
        "overridden at once.",
    )
    blind_allocations: Allocations | None = Field(
        default=None,
        description="At least these while the load cannot be measured for blind_after; default: "
        "the allocations are held.",
    )
    blind_after: BlindAfter = Field(
        default=300.0, description="Time without a measurement; for blind_allocations."
    )
    growth_factor: Factor = Field(default=100.0, description="Largest factor of one step up.")
    shrink_factor: Factor = Field(default=2.0, description="Largest divisor of one step down.")
    dry_run: bool = Field(default=False, description="Decide, log and measure, but change nothing.")
    hidden: bool = Field(
        default=False, description="Whether deployments whose id begins with a dot are managed."
    )
    low_priority: bool = Field(
        default=False, description="Whether deployments of priority low are managed."
    )


class RuleTable(ScalingTable):
    """How matching deployments are scaled. Keys that are not set come from [defaults]."""

    name: Line = Field(description="Name of the rule in logs and metrics.")
    deployments: Patterns = Field(
        default=["*"], description="Patterns of deployment ids; one must match."
    )
    models: Patterns = Field(default=["*"], description="Patterns of model ids; one must match.")
    exclude: bool = Field(default=False, description="Do not manage what matches.")


class ConfigDocument(BaseSettings):
    """The whole configuration."""

    model_config = SettingsConfigDict(
        title="autoscaler",
        strict=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        env_prefix=PREFIX,
        env_nested_delimiter=DELIMITER,
        validate_default=False,  # defaults are already seconds, not text with a unit
    )

    elasticsearch: ElasticsearchTable = ElasticsearchTable()
    poll_interval: PollInterval = Field(
        default=10.0,
        description="From the start of one cycle to the start of the next, while no deployment is "
        "at risk.",
    )
    min_poll_interval: PollInterval | None = Field(
        default=None,
        description="The same, at least, while a deployment is at risk; at most poll_interval. "
        "Default: 2s, or poll_interval if that is shorter.",
    )
    dry_run: bool = Field(
        default=False, description="Decide, log and measure for all rules, but change nothing."
    )
    state: Literal["sqlite", "elasticsearch", "none"] = Field(
        default="sqlite", description="Where the state is saved, so that a restart changes nothing."
    )
    state_index: LeaseName = Field(
        default="autoscaler-state", description="Index of the saved state; for elasticsearch."
    )
    state_dir: Line | None = Field(
        default=None,
        description="Directory of the saved state. Default: that of the service manager, or one "
        "for this cluster in $XDG_STATE_HOME/autoscaler or ~/.local/state/autoscaler.",
    )
    history_max_age: HistoryAge = Field(
        default=2_592_000.0, description="Age of decisions and updates in the saved state, at most."
    )
    history_max_mb: int = Field(
        default=64,
        ge=1,
        le=10_000,
        description="Size of the decisions and updates in the saved state, at most, in megabytes.",
    )
    state_file: Line | None = Field(
        default=None,
        description="Deprecated: a file of an earlier release, taken over once.",
        json_schema_extra={"deprecated": True},
    )
    leadership: LeadershipTable = LeadershipTable()
    server: ServerTable = ServerTable()
    logging: LoggingTable = LoggingTable()
    metrics: MetricsTable = MetricsTable()
    otlp: OtlpTable = OtlpTable()
    recording: RecordingTable = RecordingTable()
    report: ReportTable = ReportTable()
    defaults: ScalingTable = ScalingTable()
    rules: list[RuleTable] = Field(
        default=[], description="The first rule that matches a deployment applies."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # The environment is an argument of `load` and is merged before validation. The
        # environment of the process is not read.
        return (init_settings,)


def json_schema() -> dict[str, Any]:
    """The JSON schema for editors, with defaults as they are written in the file."""
    schema: dict[str, Any] = ConfigDocument.model_json_schema()
    properties = [schema["properties"], *(d["properties"] for d in schema["$defs"].values())]
    for table in properties:
        for key, field in table.items():
            if field.get("pattern") and isinstance(field.get("default"), float):
                table[key] = {**field, "default": format_duration(field["default"])}
    return schema
