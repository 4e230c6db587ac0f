"""A scenario as it is written: every key, its type, its default and its range."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from autoscaler.config.durations import Duration, PollInterval, between, parse_duration
from autoscaler.simulation.versions import behaviour_of


def _unless(word: str) -> BeforeValidator:
    """A duration, or the word, which stands for None."""

    def parsed(value: object) -> float | None:
        if value == word:
            return None
        try:
            return parse_duration(value)
        except ValueError as error:
            raise ValueError(f'{error}, or "{word}"') from None

    return BeforeValidator(parsed)


def _not_nothing(seconds: float | None) -> float | None:
    if seconds == 0.0:
        raise ValueError("must be longer than nothing")
    return seconds


def _can_be_emulated(version: str) -> str:
    behaviour_of(version)
    return version


UpToHour = Annotated[Duration, AfterValidator(between("1ms", "1h"))]
FromZeroToHour = Annotated[Duration, AfterValidator(between("0s", "1h"))]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
SomeFraction = Annotated[float, Field(gt=0.0, le=1.0)]
Factor = Annotated[float, Field(gt=0.0, le=1e6)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class ModelTable(_Table):
    service_time: UpToHour
    service_cv: Annotated[float, Field(ge=0.0, le=10.0)] = 0.7
    load: FromZeroToHour = 60.0
    control: FromZeroToHour = 0.2
    warm_up: FromZeroToHour = 0.0
    warm_up_factor: Annotated[float, Field(ge=1.0, le=100.0)] = 1.0


class DeploymentTable(_Table):
    min_allocations: Annotated[int, Field(ge=1)] = 1
    max_allocations: Annotated[int, Field(ge=1)] | None = None  # None: one for each processor
    queue_capacity: Annotated[int, Field(ge=1, le=1_000_000)] = 1024


class NodesTable(_Table):
    count: Annotated[int, Field(ge=1, le=100)] = 1
    processors: Annotated[int, Field(ge=1, le=1024)]
    physical_cores: Annotated[int, Field(ge=1)] | None = None  # None: as many as processors


class CallersTable(_Table):
    timeout: UpToHour = 10.0
    retry_share: Fraction = 0.5
    retry_after: UpToHour = 1.0


class ScenarioSloTable(_Table):
    wait: FromZeroToHour
    target: SomeFraction = 0.99


class TraceTable(_Table):
    allocations: Factor | None = None
    utilisation: SomeFraction = 0.7
    factor: Factor | None = None
    sizes: bool = False
    window: Annotated[float | None, _unless("all"), AfterValidator(_not_nothing)] = 86_400.0
    start: Annotated[float | None, _unless("hardest")] = None


class ScenarioDocument(_Table):
    version: Annotated[str, AfterValidator(_can_be_emulated)] = "9.3"
    poll_interval: PollInterval = 10.0
    model: ModelTable
    deployment: DeploymentTable = DeploymentTable()
    nodes: NodesTable
    callers: CallersTable = CallersTable()
    slo: ScenarioSloTable
    trace: TraceTable

    def contradictions(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Keys that cannot be what they are since others are what they are, and why."""
        nodes, deployment, trace = self.nodes, self.deployment, self.trace
        room = nodes.count * nodes.processors
        most = room if deployment.max_allocations is None else deployment.max_allocations
        if most > room:
            complaint = f"must be at most the {room} processors of all nodes, not {most}"
            yield ("deployment", "max_allocations"), complaint
        if deployment.min_allocations > most:
            minimum = deployment.min_allocations
            complaint = f"must be at most max_allocations, which is {most}, not {minimum}"
            yield ("deployment", "min_allocations"), complaint
        cores = nodes.processors if nodes.physical_cores is None else nodes.physical_cores
        if cores > nodes.processors:
            complaint = f"must be at most the {nodes.processors} processors, not {cores}"
            yield ("nodes", "physical_cores"), complaint
        if (trace.allocations is None) == (trace.factor is None):
            yield ("trace",), "must have either allocations or factor, which say how it is scaled"
