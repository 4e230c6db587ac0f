"""The configuration as it is written: every key, its type, its default and its range.

What holds between keys is checked where they are settled, in `settling`.
"""

from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from autoscaler.config.calendar import Cron, TimeZone, WindowLength
from autoscaler.config.durations import (
    CallerTimeout,
    Drain,
    IdleFor,
    Latency,
    LoadWindow,
    PollInterval,
    RequestTimeout,
    StabilisationWindow,
    Wait,
    format_duration,
)
from autoscaler.config.policies import BUILT_IN

PREFIX = "AUTOSCALER_"
DELIMITER = "__"


def _host(address: str) -> str:
    if not address.isprintable() or " " in address:
        raise ValueError("must be an address such as https://localhost:9200")
    try:
        parts = urlsplit(address)
        parts.port  # noqa: B018 - reading it checks it
    except ValueError as error:
        raise ValueError(f"must be an address such as https://localhost:9200: {error}") from None
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not contain credentials; use api_key_file, or username and password")
    beyond = parts.query or parts.fragment
    if parts.scheme not in {"http", "https"} or not parts.hostname or beyond:
        raise ValueError("must be an address such as https://localhost:9200")
    return address.rstrip("/")


def _several(value: object) -> object:
    """One text, which may name several things separated by commas, is a list of them."""
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _fingerprint(digest: str) -> str:
    plain = digest.replace(":", "").lower()
    if len(plain) != 64 or not set(plain) <= set("0123456789abcdef"):
        raise ValueError("must be a SHA-256 fingerprint: 64 hexadecimal digits")
    return plain


def _printable(text: str) -> str:
    if not text or not text.isprintable():
        raise ValueError("must be a text without line breaks, tabs and the like")
    return text


def _at_least_one(allocations: int) -> int:
    if allocations < 1:
        raise ValueError(
            f"must be at least 1, not {allocations}: "
            "Elasticsearch accepts 0 only from its own scaler; scale_to_zero is the way there"
        )
    return allocations


def _unless_false(value: object) -> object:
    """TOML has no word for nothing, with which a rule could take back what [defaults] say."""
    return None if value is False else value


def _or_false(schema: dict[str, Any]) -> None:
    schema["anyOf"].append({"const": False})


def _from_one_up(factor: float) -> float:
    if not 1.0 < factor <= 1000.0:
        raise ValueError(f"must be above 1 and at most 1000, not {factor:g}")
    return factor


def _fraction(utilisation: float) -> float:
    if not 0.05 <= utilisation <= 0.95:
        raise ValueError(f"must be a fraction between 0.05 and 0.95, not {utilisation:g}")
    return utilisation


def _each_with_its_name(schedules: list[Any]) -> list[Any]:
    names = [schedule.name for schedule in schedules]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{name!r} is the name of several; give each its own")
    return schedules


def _share(percentile: float) -> float:
    if not 0.5 <= percentile <= 0.9999:
        raise ValueError(f"must be a share between 0.5 and 0.9999, not {percentile:g}")
    return percentile


Texts = Annotated[list[str] | str, BeforeValidator(_several)]
Line = Annotated[str, AfterValidator(_printable)]
Host = Annotated[str, AfterValidator(_host)]
Hosts = Annotated[list[Host] | Host, BeforeValidator(_several)]
Fingerprint = Annotated[str, AfterValidator(_fingerprint)]
Allocations = Annotated[int, AfterValidator(_at_least_one), Field(json_schema_extra={"minimum": 1})]
Factor = Annotated[float, AfterValidator(_from_one_up)]
Fraction = Annotated[
    float, AfterValidator(_fraction), Field(json_schema_extra={"minimum": 0.05, "maximum": 0.95})
]

Percentile = Annotated[
    float, AfterValidator(_share), Field(json_schema_extra={"minimum": 0.5, "maximum": 0.9999})
]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class ElasticsearchTable(_Table):
    """Where the cluster is, and how to prove who is asking."""

    hosts: Hosts | None = Field(
        default=None,
        description="Addresses of the cluster, asked in turn. Required unless cloud_id is set.",
    )
    cloud_id: Line | None = Field(
        default=None, description="Elastic Cloud's name for the cluster, in place of hosts."
    )
    api_key: SecretStr | None = Field(
        default=None, description="Encoded API key. Prefer api_key_file."
    )
    api_key_file: Line | None = Field(default=None, description="File that holds the API key.")
    username: Line | None = Field(default=None, description="User, with password_file.")
    password: SecretStr | None = Field(
        default=None, description="The user's password. Prefer password_file."
    )
    password_file: Line | None = Field(default=None, description="File that holds the password.")
    bearer_token: SecretStr | None = Field(
        default=None, description="Token of a service account. Prefer bearer_token_file."
    )
    bearer_token_file: Line | None = Field(default=None, description="File that holds the token.")
    ca_certs: Line | None = Field(
        default=None, description="PEM file of the authorities to trust; default: the system's."
    )
    ca_fingerprint: Fingerprint | None = Field(
        default=None,
        description="SHA-256 fingerprint of the authority to trust, as Elasticsearch prints it.",
    )
    client_certificate: Line | None = Field(
        default=None, description="PEM file of the certificate to show to the cluster."
    )
    client_key: Line | None = Field(
        default=None, description="PEM file of its private key, if kept apart."
    )
    request_timeout: RequestTimeout | None = Field(
        default=None,
        description="How long one request may take; default: poll_interval, but at most 30s.",
    )


class ServerTable(_Table):
    """Where /metrics, /healthz, /readyz, /decisions and /wake are served."""

    host: Line = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=9464, ge=0, le=65535, description="Port to listen on; 0: any free.")


class LoggingTable(_Table):
    """What is written to standard error, and how."""

    format: Literal["auto", "console", "json", "ecs"] = Field(
        default="auto", description="auto: console on a terminal, JSON elsewhere."
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least important events to write."
    )


class SloTable(_Table):
    """A service-level objective. It sets either latency or wait."""

    latency: Latency | None = Field(
        default=None, description="Longest time from request to answer, service included."
    )
    wait: Wait | None = Field(default=None, description="Longest wait for an allocation.")
    percentile: Percentile = Field(
        default=0.99, description="Share of the requests for which it should hold."
    )


class ScheduleTable(_Table):
    """A window of time that opens again and again, with bounds of its own."""

    name: Line = Field(description="What logs call the schedule.")
    cron: Cron = Field(description="When the window opens: minute, hour, day, month, weekday.")
    timezone: TimeZone = Field(description="Whose time that is.")
    length: WindowLength = Field(description="How long it stays open.")
    min_allocations: Allocations | None = Field(
        default=None, description="Never fewer allocations while it is open."
    )
    max_allocations: Allocations | None = Field(
        default=None, description="Never more allocations while it is open."
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


class ScaleToZeroTable(_Table):
    """When a deployment that nobody uses comes down to nothing, and how."""

    after: IdleFor = Field(description="How long nobody must have asked for anything.")
    via: Literal["adaptive", "stop"] = Field(
        description="native: Elasticsearch's own scaler does it, and wakes the deployment; "
        "stop: it is stopped, and started again."
    )


class ScalingTable(_Table):
    """How deployments are scaled."""

    policy: Line = Field(
        default="slo",
        examples=list(BUILT_IN),
        description="What decides the number of allocations: "
        "slo, utilisation, or an installed policy.",
    )
    mode: Literal["direct", "bounds", "observe"] = Field(
        default="direct",
        description="direct: the number of allocations is set; bounds: the minimum of "
        "Elasticsearch's own scaler, which is on; observe: nothing.",
    )
    take_over: bool = Field(
        default=False,
        description="Whether Elasticsearch's own scaler is switched off where it is on.",
    )
    min_allocations: Allocations = Field(default=1, description="Never fewer allocations.")
    max_allocations: Allocations | None = Field(
        default=None, description="Never more allocations. Required of rules that scale."
    )
    burst_max_allocations: Allocations | None = Field(
        default=None, description="More than this only if wanted for longer than a minute."
    )
    schedules: Annotated[list[ScheduleTable], AfterValidator(_each_with_its_name)] = Field(
        default=[], description="Windows of time in which other bounds apply."
    )
    scale_to_zero: Annotated[ScaleToZeroTable | None, BeforeValidator(_unless_false)] = Field(
        default=None,
        description="Have none at all while nobody asks; false: never.",
        json_schema_extra=_or_false,
    )
    on_exit: Literal["keep", "adaptive", "floor"] = Field(
        default="keep",
        description="What becomes of a deployment when the daemon ends. keep: it stays as it is; "
        "native: Elasticsearch's own scaler takes over; floor: it has safe_allocations at least.",
    )
    safe_allocations: Allocations | None = Field(
        default=None,
        description="Allocations that are enough without anybody; for on_exit floor.",
    )
    target_utilisation: Fraction = Field(
        default=0.7, description="Fraction of its allocations a deployment should keep busy."
    )
    load_window: LoadWindow = Field(
        default=60.0, description="What the load is measured over; at least poll_interval."
    )
    slo: SloTable | None = Field(
        default=None,
        description="What is promised to callers; default: of 99 % of the requests, none waits "
        "longer than two service times.",
    )
    drain: Drain | None = Field(
        default=None,
        description="Time within which a backlog should be gone; default: 30s, or poll_interval if "
        "that is longer.",
    )
    caller_timeout: CallerTimeout = Field(
        default=10.0,
        description="How long callers wait for an answer; what is older is not worth serving.",
    )
    options: dict[str, Any] = Field(
        default={}, description="What an installed policy is told; it says what it understands."
    )
    stabilisation_window: StabilisationWindow | None = Field(
        default=None,
        description="Scale down only to the highest recommendation of this stretch of time; "
        "default: 5m for utilisation, none for other policies.",
    )
    growth_factor: Factor = Field(
        default=100.0, description="The most a number is multiplied by in one step."
    )
    shrink_factor: Factor = Field(
        default=2.0, description="The most a number is divided by in one step."
    )
    dry_run: bool = Field(default=False, description="Decide, log and measure, but change nothing.")
    hidden: bool = Field(
        default=False, description="Whether deployments whose id begins with a dot are taken."
    )
    low_priority: bool = Field(
        default=False, description="Whether deployments of priority low are taken."
    )


class RuleTable(ScalingTable):
    """How the deployments that match are scaled. What it leaves out comes from [defaults]."""

    name: Line = Field(description="What logs and metrics call the rule.")
    deployments: Texts = Field(
        default=["*"], description="Patterns of deployment ids; one must match."
    )
    models: Texts = Field(default=["*"], description="Patterns of model ids; one must match.")
    exclude: bool = Field(default=False, description="Leave alone what matches.")


class ConfigDocument(BaseSettings):
    """The whole configuration."""

    model_config = SettingsConfigDict(
        title="autoscaler",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        env_prefix=PREFIX,
        env_nested_delimiter=DELIMITER,
        validate_default=False,  # defaults are already seconds, not text with a unit
    )

    elasticsearch: ElasticsearchTable = ElasticsearchTable()
    poll_interval: PollInterval = Field(
        default=10.0, description="From the start of one cycle to the start of the next."
    )
    dry_run: bool = Field(
        default=False, description="Observe and decide for all rules, but change nothing."
    )
    state_file: Line | None = Field(
        default=None,
        description="Where the deployments that are stopped while idle are written down.",
    )
    server: ServerTable = ServerTable()
    logging: LoggingTable = LoggingTable()
    defaults: ScalingTable = ScalingTable()
    rules: list[RuleTable] = Field(default=[], description="The first that matches applies.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # The environment is an argument of `load`, merged before validation; the process's own
        # is not looked at.
        return (init_settings,)


def json_schema() -> dict[str, Any]:
    """The schema editors check a configuration file against, its defaults as one writes them."""
    schema: dict[str, Any] = ConfigDocument.model_json_schema()
    properties = [schema["properties"], *(d["properties"] for d in schema["$defs"].values())]
    for table in properties:
        for key, field in table.items():
            if field.get("pattern") and isinstance(field.get("default"), float):
                table[key] = {**field, "default": format_duration(field["default"])}
    return schema
