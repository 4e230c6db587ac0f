"""The record of the deployments that the daemon stopped, for a command."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from autoscaler.adapters.state import recorded_stopped
from autoscaler.cluster_controller import state_store_of
from autoscaler.config import Config
from autoscaler.core.state import StoppedDeployment
from autoscaler.ports import Clock, StateInUse, StateNotSaved, StateStore


class StoppedRecord:
    """
    Args:
        stopped: by deployment id.
        store: None: the record is not changed.
        problem: why it cannot be changed.
    """

    def __init__(
        self, stopped: dict[str, StoppedDeployment], store: StateStore | None, problem: str = ""
    ) -> None:
        self.stopped = stopped
        self._store = store
        self._problem = problem

    async def remove(self, deployment_id: str) -> None:
        """
        Raises:
            StateNotSaved: the deployment remains in the record.
        """
        left = {name: each for name, each in self.stopped.items() if name != deployment_id}
        if self._store is None:
            raise StateNotSaved(self._problem)
        await self._store.save_stopped(left)
        self.stopped = left


@asynccontextmanager
async def stopped_record(
    config: Config, clock: Clock, *, changes: bool
) -> AsyncIterator[StoppedRecord]:
    """
    Args:
        changes: whether the record may be changed. Otherwise it is read while a daemon has it, too.

    Raises:
        FormerFileUnreadable: the file of an earlier release cannot be read.
    """
    store = state_store_of(config, clock, structlog.wrap_logger(structlog.ReturnLogger()))
    if store is None or config.state_dir is None:
        yield StoppedRecord({}, None)
        return
    problem = ""
    if changes:
        try:
            state = await store.open(())
        except StateInUse as in_use:
            problem = str(in_use)
        else:
            try:
                yield StoppedRecord(dict(state.stopped), store)
            finally:
                await store.close()
            return
    yield StoppedRecord(recorded_stopped(config.state_dir, config.state_file), None, problem)
