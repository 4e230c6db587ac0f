"""The interfaces that the control loop needs. Adapters implement them; tests fake them."""

import math
from collections.abc import Collection, Generator, Iterable, Mapping
from typing import NamedTuple, Protocol, runtime_checkable

from autoscaler.core.decision import Change, Outcome, OutcomeKind, Plan
from autoscaler.core.election import Lease, StoredLease
from autoscaler.core.instructions import Instructions, Override, Pause, PausedChanges
from autoscaler.core.policies import AnyPolicy
from autoscaler.core.state import State, StoppedDeployment
from autoscaler.core.values import FastStrEnum, Observation, Schedule, Value
from autoscaler.errors import UserError


class ClusterChangeKind(FastStrEnum):
    """What is different about a cluster that responds at the same address."""

    CLUSTER = "cluster"  # it is another one
    VERSION = "version"
    NODES = "nodes"  # machine-learning nodes have joined or left
    LICENCE = "licence"
    SECURITY = "security"  # enabled or disabled
    USER = "user"
    PRIVILEGE = "privilege"
    UPGRADE_MODE = "upgrade_mode"


class FailureKind(FastStrEnum):
    """Kinds of failed observations, as an operator would distinguish them."""

    UNREACHABLE = "unreachable"  # no connection, or it broke
    TIMEOUT = "timeout"  # of this program, of Elasticsearch (408) or of a proxy (504)
    OVERLOADED = "overloaded"  # 429
    UNAVAILABLE = "unavailable"  # 502, 503: no master, a proxy without a server behind it
    UNAUTHENTICATED = "unauthenticated"  # 401
    FORBIDDEN = "forbidden"  # 403
    MALFORMED = "malformed"  # a response that cannot be parsed
    REFUSED = "refused"  # any other error response
    DEFECT = "defect"  # an error in this program; its cause has the traceback


class ObservationFailed(Exception):
    """The statistics could not be read.

    Args:
        requests: that the cluster received, repetitions included.
        retry_after_s: the seconds after which the cluster accepts another request, if it is stated.
    """

    def __init__(
        self, kind: FailureKind, message: str, *, requests: int = 1, retry_after_s: float = 0.0
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.requests = requests
        self.retry_after_s = retry_after_s
        # Of the changes that are sent without an observation; see `blind_allocations`.
        self.outcomes: tuple[Outcome, ...] = ()
        self.next_after_s = 0.0  # from this cycle to the next; 0: the poll interval


class UpdateFailed(Exception):
    """A change was refused, or the response to it was lost; `kind` says which."""

    def __init__(self, kind: OutcomeKind, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.kind = kind
        self.retry_after_s = retry_after_s  # until another may be sent; 0: that is not stated


class NotResumed(Exception):
    """This instance may not resume a deployment now. The message says why, and what to do."""


class RefusalKind(FastStrEnum):
    """Why a request of an operator is not accepted."""

    NOT_FOUND = "not_found"  # there is no such deployment or instruction
    CONFLICT = "conflict"  # this instance may not, or the configuration does not allow it
    NOT_YET = "not_yet"  # the cluster has not been observed yet


class RequestRefused(Exception):
    """A request of an operator is not accepted. The message says why."""

    def __init__(self, kind: RefusalKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class LeaseConflict(Exception):
    """The lease is not the one that should have been replaced. It has not been written."""


class LeaseUnavailable(Exception):
    """The lease cannot be read or written; a write may have been applied. The message says why."""


class LeaseDenied(LeaseUnavailable):
    """The credentials were refused, or do not permit it, until an operator changes that."""


class StateNotSaved(Exception):
    """The stopped deployments, or the instructions, cannot be saved. The message says why."""


class StateInUse(UserError):
    """Another process has the store. The message says which."""


class StateUnavailable(Exception):
    """The store cannot be read now, or must be left alone. The message says why."""


class DocumentsUnavailable(Exception):
    """Documents cannot be read or written now; a write may have been applied. The message says
    why."""


class DocumentsNotSent(DocumentsUnavailable):
    """Documents were not written, because another instance may lead by now."""


class CycleTimes(Value, frozen=True, kw_only=True):
    """Duration of each part of one cycle, in seconds."""

    observe_s: float
    plan_s: float
    act_s: float


class Clock(Protocol):
    def now(self) -> float:
        """Unix seconds that never jump: the time at the start plus the time elapsed since."""

    async def sleep(self, seconds: float) -> None:
        """Wait; at once if `seconds` is not positive."""


class Calendar(Protocol):
    def open_at(self, at: float, schedules: Iterable[Schedule]) -> frozenset[Schedule]:
        """The schedules whose window is open at `at`, in Unix seconds. Called in every cycle.

        A window is open from its start until just before `length_s` seconds later.
        """

    def utc_offset_s(self, at: float, timezone: str) -> float:
        """Seconds by which local time is ahead of UTC at `at`, in Unix seconds.

        Args:
            timezone: an IANA name.
        """


class Observer(Protocol):
    async def observe(self) -> Observation:
        """Read every deployment.

        Raises:
            ObservationFailed: the cluster is unreachable, or its response cannot be parsed.
        """


class Actuator(Protocol):
    async def carry_out(
        self, deployment_id: str, change: Change, *, until: float = math.inf
    ) -> None:
        """Request a change. Returns when it is accepted, one lead time before it takes effect.

        Args:
            until: Unix seconds after which nothing is sent any more.

        Raises:
            UpdateFailed: refused, or the response was lost. A repeated request is harmless.
        """


class StateStore(Protocol):
    """Stores the state between cycles, so that the next process continues it.

    One process has the store at a time, from `open` to `close`. Only the stopped deployments and
    the instructions must not be lost, and the gradual rollouts not because the state is too old;
    whatever else cannot be read or saved is reported by the store and left out.
    """

    @property
    def is_open(self) -> bool:
        """Whether this process has the store. It may lose it, and open it again then."""

    @property
    def problem(self) -> str:
        """Why nothing is saved at present; empty: the last attempt has succeeded."""

    async def open(self, policies: Iterable[AnyPolicy]) -> State:
        """Take the store, and read the state.

        Args:
            policies: the policies in use, which read their memories.

        Returns:
            The whole state if it can be read and is recent; otherwise the stopped deployments, the
            gradual rollouts and the instructions alone; with `is_first_start` if none was saved.

        Raises:
            StateInUse: another process has the store.
            StateUnavailable: it cannot be read now.
        """

    async def bind(self, cluster_uuid: str) -> str:
        """State which cluster the state is of, from now on.

        Returns:
            What has happened to the stored state if it is of another cluster, which then begins
            again; empty: it is of this one, or of none yet.
        """

    async def save_stopped(self, stopped: Mapping[str, StoppedDeployment]) -> None:
        """Replace all stopped deployments, by deployment id, completely or not at all.

        Returns when a power failure would not lose them.

        Raises:
            StateNotSaved: the store cannot be written.
        """

    async def save_instructions(self, instructions: Instructions) -> None:
        """Replace all instructions of operators, completely or not at all.

        Returns when a power failure would not lose them.

        Raises:
            StateNotSaved: the store cannot be written.
        """

    async def save_before_updates(self, state: State, deployment_ids: Collection[str]) -> None:
        """Save the state of some deployments, and what all of them share.

        Returns when the end of the process would not lose it, or when it cannot be saved.

        Args:
            state: with the updates that are about to be sent, as if their responses were lost.
        """

    def checkpoint(self, state: State) -> None:
        """Save the state soon, without waiting. A later one replaces it if it comes earlier."""

    async def close(self) -> None:
        """Save the last checkpoint, and give the store up. It can be opened again."""


class Recorder(Protocol):
    def planned(
        self, observation: Observation, plan: Plan, outcomes: tuple[Outcome, ...], took: CycleTimes
    ) -> None:
        """A cycle has been completed. `outcomes` has one for each decision of the plan."""

    def skipped(self, failure: ObservationFailed, at: float) -> None:
        """A cycle was skipped, because its observation failed."""


class InstructionResult(Value, frozen=True, kw_only=True):
    """What has become of a request of an operator."""

    message: str
    saved: bool  # whether it outlives the process


class OperatorRequests(Protocol):
    """Gives and withdraws instructions of operators. Each method returns when its effect is saved,
    or cannot be, and raises RequestRefused if it has none.

    Args of the methods:
        deployment_id: None: all deployments.
        by: the name of the token.
    """

    def in_force(self) -> list[tuple[str | None, Pause | Override]]:
        """The instructions, each with its deployment id."""

    async def pause(
        self, deployment_id: str | None, changes: PausedChanges, for_s: float, by: str, reason: str
    ) -> InstructionResult:
        """Hold the allocations for so many seconds."""

    async def unpause(self, deployment_id: str | None, by: str, reason: str) -> InstructionResult:
        """End the pause of one deployment, or all pauses."""

    async def override(
        self, deployment_id: str, allocations: int, for_s: float, by: str, reason: str
    ) -> InstructionResult:
        """Set a number of allocations for so many seconds."""

    async def end_override(self, deployment_id: str, by: str, reason: str) -> InstructionResult:
        """End the override of a deployment."""

    async def resume_rollout(self, deployment_id: str, by: str, reason: str) -> InstructionResult:
        """Let the gradual rollout of a deployment begin again, after it was reverted, or while it
        waits."""


@runtime_checkable
class RecorderInParts(Recorder, Protocol):
    """A Recorder that takes long where there are thousands of deployments."""

    def planned_in_parts(
        self, observation: Observation, plan: Plan, outcomes: tuple[Outcome, ...], took: CycleTimes
    ) -> Generator[None, None, None]:
        """As `planned`, in parts between which other tasks run."""


class LeaseStore(Protocol):
    """Stores the lease of one cluster, where all instances that scale it can reach it."""

    async def read(self) -> StoredLease | None:
        """The lease; None: there is none, for certain.

        Raises:
            LeaseUnavailable: it cannot be read now.
        """

    async def write(self, lease: Lease, replaces: StoredLease | None) -> StoredLease:
        """Write the lease, if the stored one is still `replaces`; None: if there is none.

        Raises:
            LeaseConflict: there is another one.
            LeaseUnavailable: it was refused, or the response was lost.
        """


class SavedDocument(Value, frozen=True, kw_only=True):
    """A document of a DocumentStore."""

    version: str
    content: bytes
    writer: str  # the instance that wrote it; empty: unknown
    problem: str = ""  # why it must be left alone, for example the work of a later release


class DocumentWrite(NamedTuple):
    """A document to be created, replaced or deleted."""

    name: str
    content: bytes | None  # None: it is deleted
    replaces: str | None  # the version that it must have; None: there must be none


class DocumentsWritten(NamedTuple):
    """What has become of several DocumentWrites."""

    versions: Mapping[str, str]  # of those that were applied, by name
    changed: tuple[str, ...]  # names of documents that have another version
    problem: str = ""  # why others were refused; empty: none was


class DocumentStore(Protocol):
    """Stores documents with names where all instances can reach them. Each is replaced by itself,
    and only if it is unchanged."""

    @property
    def place(self) -> str:
        """Where that is, in a few words."""

    async def read(self, names: Collection[str]) -> Mapping[str, SavedDocument]:
        """The present versions of those that exist, by name.

        Raises:
            DocumentsUnavailable: they cannot be read now.
        """

    async def write(self, writes: Collection[DocumentWrite]) -> DocumentsWritten:
        """Apply the writes. Each that is applied outlives a power failure.

        Raises:
            DocumentsUnavailable: it is unknown which were applied.
        """


class Leadership(Protocol):
    """Which of several instances may change the cluster."""

    @property
    def name(self) -> str:
        """The name of this instance."""

    @property
    def leading_since(self) -> float | None:
        """When this instance began to lead; None: it does not lead now; inf: it leads, and may not
        act yet, because it is still reading the saved state."""

    @property
    def leader(self) -> str:
        """The instance that leads, as far as is known; empty: unknown, or there is none."""

    @property
    def failure(self) -> str:
        """Why the lease could not be read or renewed at the last attempt; empty: it could."""

    def leads(self, *, for_s: float = 0.0) -> bool:
        """Whether this instance leads now, and in all of the next `for_s` seconds."""
