"""The configured store of the state between cycles, and the recording of cycles."""

from collections.abc import Callable
from pathlib import Path

import structlog

from autoscaler.adapters.clock import HostClock
from autoscaler.adapters.elasticsearch.documents import DocumentApi
from autoscaler.adapters.elasticsearch.state_documents import StateDocuments
from autoscaler.adapters.elasticsearch.transport import Transport
from autoscaler.adapters.recording import CycleRecorder, RecordingLimits
from autoscaler.adapters.state import (
    DocumentStateStore,
    FormerFile,
    HistoryLimits,
    SqliteStore,
    outlives_the_process,
)
from autoscaler.ages import always
from autoscaler.config import Config
from autoscaler.core.units import duration_text
from autoscaler.ports import Clock, StateStore

Agreement = Callable[[], bool]


def state_store_of(
    config: Config,
    clock: Clock,
    log: structlog.stdlib.BoundLogger,
    transport: Transport,
    *,
    writer: str,
) -> StateStore | None:
    """The store of the state; None if nothing is saved.

    Args:
        transport: to the cluster.
        writer: the name of this process, with which it writes.
    """
    if config.state_index is not None:
        documents = state_documents_of(config.state_index, clock, transport, writer=writer)
        return DocumentStateStore(documents, clock, log, writer=writer)
    if config.state_dir is None:
        return None
    former = None if config.state_file is None else FormerFile(config.state_file)
    limits = HistoryLimits(config.history_max_age_s, config.history_max_bytes)
    # One of several instances may have a directory of its own, which is empty at its first start.
    outlives = outlives_the_process if config.lease is None else _is_unknown
    return SqliteStore(
        config.state_dir,
        clock,
        log,
        limits=limits,
        clock_agrees=_agreement_of(clock, log, "the history"),
        former=former,
        outlives=outlives,
    )


def _is_unknown(_directory: Path) -> bool:
    return False


def cycle_recorder_of(
    config: Config,
    clock: Clock,
    log: structlog.stdlib.BoundLogger,
    *,
    poll_interval_s: Callable[[], float],
    cluster_uuid: Callable[[], str],
) -> CycleRecorder | None:
    """What records each cycle; None: nothing does.

    Args:
        poll_interval_s: returns the one in effect.
        cluster_uuid: returns that of the cluster that is observed; empty: unknown.
    """
    if (wanted := config.recording) is None:
        return None
    limits = RecordingLimits(wanted.max_age_s, wanted.max_bytes)
    return CycleRecorder(
        wanted.directory,
        limits,
        clock,
        log,
        poll_interval_s=poll_interval_s,
        cluster_uuid=cluster_uuid,
        clock_agrees=_agreement_of(clock, log, "the recording"),
    )


def _agreement_of(clock: Clock, log: structlog.stdlib.BoundLogger, what: str) -> Agreement:
    """What compares the clock with that of the host, and logs once that it was set. Nothing
    contradicts a simulated one."""
    if not isinstance(clock, HostClock):
        return always
    logged = False

    def agrees() -> bool:
        nonlocal logged
        if clock.agrees():
            return True
        if not logged:
            by_s = clock.set_by_s()
            direction = "forward" if by_s > 0.0 else "back"
            log.warning(
                "clock.set",
                message=f"the clock of the host was set {direction} by {duration_text(abs(by_s))} "
                f"since the start, and the autoscaler keeps its own time; nothing of {what} is "
                "removed by age until it is restarted",
            )
            logged = True
        return False

    return agrees


def state_documents_of(
    index: str, clock: Clock, transport: Transport, *, writer: str
) -> StateDocuments:
    """The documents of the state, in an index of the cluster."""
    api = DocumentApi(transport, index, leader_only=True)
    return StateDocuments(api, index, clock, writer=writer)
