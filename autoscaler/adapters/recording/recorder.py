"""A Recorder that writes each cycle to the recording, in a thread: the control loop never waits for
the disk. A few cycles wait at most; a slow disk loses the others, and the log says so."""

import asyncio
import contextlib
import re
import sqlite3
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple, Self

import structlog

from autoscaler.adapters.recording.database import RecordingInUse
from autoscaler.adapters.recording.writer import RecordingFile, RecordingLimits
from autoscaler.ages import always
from autoscaler.core.decision import Outcome, Plan
from autoscaler.core.values import Cluster, Observation
from autoscaler.ports import Clock, CycleTimes, ObservationFailed
from autoscaler.sqlite_files import DatabaseUnusable
from autoscaler.threads import AbandonableThreads, without_collector
from autoscaler.wire.recording import (
    RecordedCycle,
    RecordedDecision,
    RecordedNode,
    RecordedNodes,
)

MAX_WAITING = 3
"""Cycles that wait for the disk at most; later ones replace the oldest. 3: each is an observation,
and a disk that is slow for half a minute loses nothing."""

CLOSE_TIMEOUT_S = 5.0
"""Seconds to wait for the disk when the daemon ends. 5 s: a disk that takes longer does not respond
at all."""

_UNUSABLE = (DatabaseUnusable, sqlite3.Error, OSError)


class _WaitingCycle(NamedTuple):
    """A completed cycle that is not written yet."""

    observation: Observation
    outcomes: tuple[Outcome, ...]
    poll_interval_s: float
    missed: bool  # whether the one before is not recorded
    cluster: str  # the UUID of the cluster; empty: unknown


class CycleRecorder:
    """A Recorder that keeps what each cycle observed, decided and brought about. An async context
    manager: the file is its own inside the block.

    Args:
        poll_interval_s: returns the one in effect.
        cluster_uuid: returns that of the cluster that is observed; empty: unknown.
        in_thread: False: the caller writes, and waits. For tests whose time is virtual.
    """

    def __init__(
        self,
        directory: Path,
        limits: RecordingLimits,
        clock: Clock,
        log: structlog.stdlib.BoundLogger,
        *,
        poll_interval_s: Callable[[], float],
        cluster_uuid: Callable[[], str] = lambda: "",
        clock_agrees: Callable[[], bool] = always,
        in_thread: bool = True,
    ) -> None:
        self._poll_interval_s = poll_interval_s
        self._cluster_uuid = cluster_uuid
        self._clock = clock
        self._file = RecordingFile(directory, limits, clock_agrees)
        self._log = log
        self._in_thread = in_thread
        self._thread: AbandonableThreads | None = None  # None: not begun, or ended
        self._waiting: deque[_WaitingCycle] = deque()
        self._busy: asyncio.Future[None] | None = None
        self._missed = True  # the cycles before this process are not known
        self._hardware = _KnownHardware()
        self._problem = ""  # why nothing is recorded at present
        self.size_bytes = 0
        self.written_at: float | None = None  # the last recorded cycle; None: none yet
        self.failed_cycles = 0  # that are not recorded

    async def __aenter__(self) -> Self:
        """Open the file soon, without waiting."""
        if self._in_thread:
            self._thread = AbandonableThreads(1, "recording")
        self._start(partial(self._open, self._clock.now()), self._opened)
        return self

    async def __aexit__(self, *raised: object) -> None:
        """Write what waits, and give the file up."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                while self._busy is not None:
                    await asyncio.wait([self._busy])
                    await asyncio.sleep(0)  # until what was for it has begun the next
        thread, self._thread = self._thread, None
        if thread is None:
            self._file.give_up()
            return
        given_up = asyncio.wrap_future(thread.submit(self._file.give_up))
        thread.shutdown(wait=False)
        await asyncio.wait([given_up], timeout=CLOSE_TIMEOUT_S)

    def planned(
        self, observation: Observation, plan: Plan, outcomes: tuple[Outcome, ...], took: CycleTimes
    ) -> None:
        self._waiting.append(
            _WaitingCycle(
                observation, outcomes, self._poll_interval_s(), self._missed, self._cluster_uuid()
            )
        )
        self._missed = False
        if len(self._waiting) > MAX_WAITING:
            self._waiting.popleft()
            self._waiting[0] = self._waiting[0]._replace(missed=True)
            self.failed_cycles += 1
            self._report(f"{self._file.path} cannot be written fast enough; use a faster disk")
        if self._busy is None:
            self._write_next()

    def skipped(self, failure: ObservationFailed, at: float) -> None:
        """Without an observation, there is nothing to record."""

    def _write_next(self) -> None:
        if self._waiting:
            waiting = self._waiting.popleft()
            self._start(partial(self._write, waiting), partial(self._written, waiting))

    def _start(
        self, work: Callable[[], None], ended: Callable[[BaseException | None], None]
    ) -> None:
        """Do work in the thread, then report its error, and go on with what waits."""
        if not self._in_thread:
            error: BaseException | None = None
            try:
                work()
            except _UNUSABLE as found:
                error = found
            ended(error)
            return
        if self._thread is None:
            return
        future: Future[None] = self._thread.submit(without_collector, work)
        self._busy = asyncio.wrap_future(future)
        self._busy.add_done_callback(partial(self._ended, ended))

    def _ended(
        self,
        ended: Callable[[BaseException | None], None],
        done: "asyncio.Future[None]",
    ) -> None:
        self._busy = None
        ended(None if done.cancelled() else done.exception())
        self._write_next()

    def _open(self, at: float) -> None:
        self._file.open(at)
        self._opened_text = _opened_text(self._file)
        self.size_bytes = self._file.size_bytes

    def _opened(self, error: BaseException | None) -> None:
        self._log_messages()
        if error is None:
            self._log.info("recording.opened", message=self._opened_text)
        else:
            self._report(self._text(error), in_use=isinstance(error, RecordingInUse))

    def _write(self, waiting: _WaitingCycle) -> None:
        observation = waiting.observation
        self._file.write(
            RecordedCycle(
                at=observation.at,
                span_s=observation.span_s,
                poll_interval_s=waiting.poll_interval_s,
                missed=waiting.missed,
                deployments=observation.deployments,
                decisions=_decisions(waiting.outcomes),
                hardware=self._hardware.of(observation.cluster),
            ),
            waiting.cluster,
        )
        self.size_bytes = self._file.size_bytes

    def _written(self, waiting: _WaitingCycle, error: BaseException | None) -> None:
        self._log_messages()
        if error is None:
            self.written_at = waiting.observation.at
            self._report("")
            return
        # Where instances share a directory, one of them records for all.
        self.failed_cycles += not isinstance(error, RecordingInUse)
        if self._waiting:
            self._waiting[0] = self._waiting[0]._replace(missed=True)
        else:
            self._missed = True
        self._report(self._text(error), in_use=isinstance(error, RecordingInUse))

    def _log_messages(self) -> None:
        messages, self._file.messages = self._file.messages, []
        for message in messages:
            self._log.error("recording.damaged", message=message)
        others, self._file.other_clusters = self._file.other_clusters, []
        for message in others:
            self._log.error("recording.other_cluster", message=message)

    def _report(self, problem: str, *, in_use: bool = False) -> None:
        """Log a problem once, and its end."""
        if problem and not self._problem:
            message = f"{problem}; until then, cycles are not recorded"
            if in_use:
                self._log.warning("recording.in_use", message=message)
            else:
                self._log.error("recording.failed", message=message)
        elif self._problem and not problem:
            message = f"cycles are recorded in {self._file.path} again"
            self._log.info("recording.resumed", message=message)
        self._problem = problem

    def _text(self, error: BaseException) -> str:
        if isinstance(error, DatabaseUnusable):
            return str(error)
        if isinstance(error, sqlite3.Error | OSError):
            return (
                f"{self._file.path} cannot be written: {error}; use a disk with free space, to "
                "which the autoscaler may write"
            )
        return f"cycles cannot be recorded, by a defect of the autoscaler: {error!r}; report it"


def _opened_text(file: RecordingFile) -> str:
    first_at = file.first_at()
    size = f"{file.size_bytes / 1e6:.1f} MB"
    if first_at is None:
        return f"cycles are recorded in {file.path}, which begins now"
    began = datetime.fromtimestamp(first_at, UTC).isoformat(sep=" ", timespec="minutes")
    return f"cycles are recorded in {file.path}, {size} since {began[:16]} UTC"


def _decisions(outcomes: tuple[Outcome, ...]) -> Mapping[str, RecordedDecision]:
    found = {}
    for outcome in outcomes:
        decision = outcome.decision
        slo = decision.slo
        found[decision.deployment_id] = RecordedDecision(
            desired=decision.desired,
            recommended=decision.recommended,
            outcome=outcome.kind,
            active=None if decision.rollout is None else decision.rollout.active,
            requests=None if slo is None else slo.requests,
            late_requests=None if slo is None else slo.late_requests,
        )
    return found


class _KnownHardware:
    """The nodes of the last cluster, which is the same for many cycles."""

    def __init__(self) -> None:
        self._cluster: Cluster | None = None
        self._nodes = RecordedNodes()

    def of(self, cluster: Cluster | None) -> RecordedNodes:
        if cluster is not self._cluster:
            self._cluster = cluster
            self._nodes = _nodes_of(cluster)
        return self._nodes


def _nodes_of(cluster: Cluster | None) -> RecordedNodes:
    if cluster is None:
        return RecordedNodes()
    return RecordedNodes(
        tuple(
            [
                RecordedNode(node.node_id, node.processors, node.ml_memory_bytes)
                for node in cluster.nodes
            ]
        ),
        min((node.version for node in cluster.nodes if node.version), key=_numbers, default=""),
    )


def _numbers(version: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"[0-9]{1,9}", version)]
