"""What the control loop needs from the world. Adapters fulfil these; tests fake them."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from autoscaler.core.state import StoppedDeployment
from autoscaler.core.values import (
    Change,
    FastStrEnum,
    Observation,
    Outcome,
    OutcomeKind,
    Plan,
    Schedule,
    Value,
)


class FailureKind(FastStrEnum):
    """Kinds of failed observations, as an operator would tell them apart."""

    UNREACHABLE = "unreachable"  # no connection, or it broke
    TIMEOUT = "timeout"
    UNAVAILABLE = "unavailable"  # 502, 503, 504: no master, a proxy without a server behind it
    UNAUTHENTICATED = "unauthenticated"  # 401
    FORBIDDEN = "forbidden"  # 403
    MALFORMED = "malformed"  # an answer that makes no sense
    REFUSED = "refused"  # any other error of the server
    DEFECT = "defect"  # an error of this program; its cause has the traceback


class ObservationFailed(Exception):
    """The statistics could not be read: nothing is known about this instant."""

    def __init__(self, kind: FailureKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class UpdateFailed(Exception):
    """A change was refused, or its answer was lost; `fate` says which."""

    def __init__(self, kind: OutcomeKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class StateNotSaved(Exception):
    """The deployments that were stopped cannot be written down. The message says why."""


class CycleTimes(Value, frozen=True, kw_only=True):
    """How long the parts of one cycle took, in seconds."""

    observe_s: float
    plan_s: float
    act_s: float


class Clock(Protocol):
    def now(self) -> float:
        """Unix seconds that never jump: the time at start plus what has passed since."""

    async def sleep(self, seconds: float) -> None:
        """Wait; at once if `seconds` is not positive."""


class Calendar(Protocol):
    def open_at(self, at: float, schedules: Iterable[Schedule]) -> frozenset[Schedule]:
        """Those whose window is open at `at`, in Unix seconds. Asked in every cycle.

        A window is open from the instant it opens to just before `length_s` seconds later.
        """


class Observer(Protocol):
    async def observe(self) -> Observation:
        """Read every deployment.

        Raises:
            ObservationFailed: the cluster is unreachable, or its answer makes no sense.
        """


class Actuator(Protocol):
    async def carry_out(self, deployment_id: str, change: Change) -> None:
        """Ask for a change. Returns when accepted, one lead time before it takes effect.

        Raises:
            UpdateFailed: refused, or the answer was lost. Asking again is harmless.
        """


class StateStore(Protocol):
    """Where the deployments that were stopped are written down, so that they are not forgotten."""

    def save(self, stopped: Mapping[str, StoppedDeployment]) -> None:
        """Replace what is written down, by deployment id, as a whole or not at all.

        Raises:
            StateNotSaved: it cannot be written.
        """


class Recorder(Protocol):
    def planned(
        self, observation: Observation, plan: Plan, outcomes: tuple[Outcome, ...], took: CycleTimes
    ) -> None:
        """A cycle has been completed. `outcomes` holds one for each decision of the plan."""

    def skipped(self, failure: ObservationFailed, at: float) -> None:
        """A cycle had no observation to plan from."""
