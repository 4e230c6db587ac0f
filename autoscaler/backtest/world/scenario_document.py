"""A scenario as it is written: every key, its type, its default and its range.

The notation is that of the configuration: the same names for the same things, durations with units.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from autoscaler.config.aliases import Aliases
from autoscaler.config.durations import Duration, PollInterval, between, parse_duration
from autoscaler.simulation.versions import behaviour_of


def _or_word(word: str) -> BeforeValidator:
    """Accept a duration, or the word, which is parsed as None."""

    def parsed(value: object) -> float | None:
        if value == word:
            return None
        try:
            return parse_duration(value)
        except ValueError as error:
            otherwise = str(error).removeprefix("must be ")
            raise ValueError(f'must be "{word}" or {otherwise}') from None

    return BeforeValidator(parsed)


def _above_zero(seconds: float | None) -> float | None:
    if seconds == 0.0:
        raise ValueError("must be longer than 0s")
    return seconds


def _with_offset(instant: datetime) -> datetime:
    if instant.tzinfo is None:
        raise ValueError(f"must be an instant with its offset, such as {instant.isoformat()}Z")
    return instant


def _emulated_version(version: str) -> str:
    behaviour_of(version)
    return version


SUNDAY = datetime(2026, 1, 4, tzinfo=UTC)
"""The default instant at which a trace begins. A Sunday, as in the generated load `weekly`."""

UpToHour = Annotated[Duration, AfterValidator(between("1ms", "1h"))]
FromZeroToHour = Annotated[Duration, AfterValidator(between("0s", "1h"))]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveFraction = Annotated[float, Field(gt=0.0, le=1.0)]
Factor = Annotated[float, Field(gt=0.0, le=1e6)]


class _ScenarioTable(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class ModelTable(_ScenarioTable):
    service_time: UpToHour
    service_cv: Annotated[float, Field(ge=0.0, le=10.0)] = 0.7
    load: FromZeroToHour = 60.0
    control: FromZeroToHour = 0.2
    warm_up: FromZeroToHour = 0.0
    warm_up_factor: Annotated[float, Field(ge=1.0, le=100.0)] = 1.0


class DeploymentTable(_ScenarioTable):
    min_allocations: Annotated[int, Field(ge=1)] = 1
    max_allocations: Annotated[int, Field(ge=1)] | None = None  # None: one for each processor
    queue_capacity: Annotated[int, Field(ge=1, le=1_000_000)] = 1024


class NodesTable(_ScenarioTable):
    count: Annotated[int, Field(ge=1, le=100)] = 1
    processors: Annotated[int, Field(ge=1, le=1024)]
    physical_cores: Annotated[int, Field(ge=1)] | None = None  # None: one for each processor
    zones: Annotated[int, Field(ge=1)] = 1


class CallersTable(_ScenarioTable):
    timeout: UpToHour = 10.0
    retry_share: Fraction = 0.5
    retry_after: UpToHour = 1.0


class ScenarioSloTable(_ScenarioTable):
    wait: FromZeroToHour
    target: PositiveFraction = 0.99


class TraceTable(_ScenarioTable):
    allocations: Factor | None = None
    utilisation: PositiveFraction = 0.7
    factor: Factor | None = None
    sizes: bool = False
    window: Annotated[float | None, _or_word("all"), AfterValidator(_above_zero)] = 86_400.0
    start: Annotated[float | None, _or_word("hardest")] = None
    begins_at: Annotated[datetime, AfterValidator(_with_offset)] = SUNDAY


class ScenarioDocument(_ScenarioTable):
    version: Annotated[str, AfterValidator(_emulated_version)] = "9.3"
    poll_interval: PollInterval = 10.0
    model: ModelTable
    deployment: DeploymentTable = DeploymentTable()
    nodes: NodesTable
    callers: CallersTable = CallersTable()
    slo: ScenarioSloTable
    trace: TraceTable

    def conflicts(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Keys that conflict with others, each with a sentence about the problem."""
        nodes, deployment, trace = self.nodes, self.deployment, self.trace
        processors = nodes.count * nodes.processors
        minimum, maximum = deployment.min_allocations, deployment.max_allocations or processors
        if maximum > processors:
            problem = f"must be at most the {processors} processors of all nodes, not {maximum}"
            yield ("deployment", "max_allocations"), problem
        if minimum > maximum:
            problem = f"must be at most max_allocations, which is {maximum}, not {minimum}"
            yield ("deployment", "min_allocations"), problem
        cores = nodes.processors if nodes.physical_cores is None else nodes.physical_cores
        if cores > nodes.processors:
            problem = f"must be at most the {nodes.processors} processors, not {cores}"
            yield ("nodes", "physical_cores"), problem
        if nodes.zones > nodes.count:
            problem = f"must be at most the {nodes.count} nodes, not {nodes.zones}"
            yield ("nodes", "zones"), problem
        if (trace.allocations is None) == (trace.factor is None):
            yield ("trace",), "set either allocations or factor, which determine the scale"


def replace_former_names(document: dict[str, Any], aliases: Aliases) -> None:
    """Keys that had another name: they are accepted for one release."""
    aliases.key(document, (), "poll", "poll_interval")
    deployment = document.get("deployment")
    aliases.key(deployment, ("deployment",), "minimum", "min_allocations")
    aliases.key(deployment, ("deployment",), "maximum", "max_allocations")
    aliases.key(document.get("slo"), ("slo",), "share", "target")
