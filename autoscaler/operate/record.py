"""The record of the deployments that the daemon stopped, for a command."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from autoscaler.adapters.elasticsearch.transport import Transport
from autoscaler.adapters.state import recorded_stopped
from autoscaler.config import Config
from autoscaler.core.flow.release import without_expectations
from autoscaler.core.state import State
from autoscaler.leadership_loop import instance_name
from autoscaler.ports import Clock, StateInUse, StateNotSaved, StateStore, StateUnavailable
from autoscaler.state_stores import state_store_of


class StoppedRecord:
    """The stopped deployments, by id, and what the daemon expects of the others.

    Args:
        state: with the stopped deployments.
        store: None: the record is not changed.
        problem: why it cannot be changed.
        unreadable: why it is not known which deployments are stopped; empty: it is.
    """

    def __init__(
        self, state: State, store: StateStore | None, problem: str = "", unreadable: str = ""
    ) -> None:
        self.stopped = dict(state.stopped)
        self.unreadable = unreadable
        self._state = state
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

    async def expect_nothing(self, deployment_id: str) -> None:
        """The next daemon takes no change of this deployment for that of another client."""
        if self._store is not None:
            self._state = without_expectations(self._state, {deployment_id})
            await self._store.save_before_updates(self._state, {deployment_id})


@asynccontextmanager
async def stopped_record(
    config: Config, clock: Clock, transport: Transport, *, changes: bool
) -> AsyncIterator[StoppedRecord]:
    """
    Args:
        transport: to the cluster.
        changes: whether the record may be changed. Otherwise it is read while a daemon has it, too.

    Raises:
        FormerFileUnreadable: the file of an earlier release cannot be read.
    """
    log = structlog.wrap_logger(structlog.ReturnLogger())
    store = state_store_of(config, clock, log, transport, writer=instance_name())
    if store is None:
        yield StoppedRecord(State(), None)
        return
    problem = ""
    if changes or config.state_dir is None:
        try:
            state = await store.open([rule.policy for rule in config.rules])
        except StateInUse as in_use:
            problem = str(in_use)
        except StateUnavailable as unavailable:
            yield StoppedRecord(State(), None, unreadable=str(unavailable))
            return
        else:
            try:
                yield StoppedRecord(state, store)
            finally:
                await store.close()
            return
    assert config.state_dir is not None, "the state is in a directory, or was opened"
    stopped = recorded_stopped(config.state_dir, config.state_file)
    yield StoppedRecord(State(stopped=stopped), None, problem)
