"""The saved state of one process: when it is taken, continued and given up, and of which cluster
it is."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from msgspec.structs import replace

from autoscaler.adapters.clock import wait_for_any
from autoscaler.control_loop import ControlLoop
from autoscaler.core.flow.cold_start import COLD_START_HOLD_S
from autoscaler.core.flow.shadowing import with_totals
from autoscaler.core.gradual_rollout import begun_already, continued, of_first_start, waiting
from autoscaler.core.instructions import Instructions
from autoscaler.core.policies import AnyPolicy
from autoscaler.core.state import State, StoppedDeployment
from autoscaler.core.values import Observation
from autoscaler.ports import (
    Clock,
    Leadership,
    ObservationFailed,
    Observer,
    StateInUse,
    StateNotSaved,
    StateStore,
    StateUnavailable,
)

RETRY_S = 10.0
"""Seconds between attempts to take a state that another process has, or that cannot be read. 10 s:
until then, nothing is saved and no deployment is stopped."""

PATIENCE_S = 10.0
"""Seconds for which a state that cannot be read is waited for, before this instance acts without
it. 10 s, about as long as the election of a master or the failure of one host."""

PATIENT_RETRY_S = 2.0
"""Seconds between attempts meanwhile."""

MAX_READ_S = 60.0
"""Seconds that the state may take to be read, before this instance acts without it. 60 s: several
times what 5,000 deployments take on a busy host. A disk that does not respond takes for ever."""


class StateLoop:
    """Takes the state when this instance may act, and gives it up when it may not any more.

    It is the Observer of the control loop, because a state is taken over between two cycles, and
    the leadership that it knows, because its term begins with the state.

    Args:
        store: None: the state is not saved.
        observer: of the cluster.
        cluster_uuid: finds out which cluster is observed; empty: that is not possible. It raises
            ObservationFailed if that is not known yet, but may be.
        leadership: None: this is the only instance.
        policies: the policies in use.
        log: a structlog logger.
    """

    def __init__(
        self,
        store: StateStore | None,
        observer: Observer,
        clock: Clock,
        log: Any,
        *,
        cluster_uuid: Callable[[], Awaitable[str]],
        leadership: Leadership | None,
        policies: Callable[[], list[AnyPolicy]],
    ) -> None:
        self._store = store
        self._observer = observer
        self._clock = clock
        self._log = log
        self._cluster_uuid = cluster_uuid
        self._leadership = leadership
        self._policies = policies
        self.loop: ControlLoop | None = None  # that continues with the state
        self._began_at = 0.0
        self._term = 0  # how often this instance has begun to lead
        self._led_at = 0.0  # when it has begun last
        self._taken_at: float | None = None  # in this term; None: not yet
        self._has_continued = False  # with a stored state, in this term
        self._bound_to: str | None = None  # the cluster of the store; None: not known yet
        self._found: tuple[State, bool] | None = None  # for the next cycle, and whether all of it
        self._doubtful = False  # whether a stored state is used whose cluster is not confirmed yet
        self._failure = ""  # as last logged
        self._changed = asyncio.Event()
        self._taking = asyncio.Lock()

    @property
    def saved(self) -> bool | None:
        """Whether the state is saved; None: it does not have to be, now or ever."""
        if self._store is None or not self._acts:
            return None
        return self._store.is_open and not self._store.problem

    @property
    def is_reading(self) -> bool:
        """Whether the control loop does not have the saved state yet. If this instance does not
        lead, it has none."""
        return self._store is not None and (self._taken_at is None or self._found is not None)

    @property
    def has_continued(self) -> bool:
        """Whether the control loop has had the saved state in this term, or there is none."""
        return self._store is None or self._has_continued

    async def begin(self) -> None:
        """Begin the process. If it is the only one, take the state.

        Raises:
            StateInUse: another process has it.
        """
        self._began_at = self._clock.now()
        if self._leadership is None and self._store is not None:
            await self._take(self._store, patience_s=0.0)

    def lead(self) -> None:
        """This instance leads from now on."""
        self._term, self._led_at = self._term + 1, self._clock.now()
        self._taken_at, self._has_continued, self._found = None, False, None
        if self.loop is not None:  # another instance may have reverted them since
            state = self.loop.state
            self.loop.state = replace(state, rollouts=waiting(state.rollouts))
        if self._store is None:
            self._go_on()
        self._changed.set()

    def follow(self) -> None:
        """It does not lead any more."""
        self._taken_at = None
        self._changed.set()

    async def run(self) -> None:
        """Take the state when it can be taken, until cancelled.

        Raises:
            FormerFileUnreadable: the file of an earlier release cannot be read.
        """
        store = self._store
        assert store is not None, "without a store, there is no state to take"
        while True:
            await wait_for_any(self._clock, RETRY_S, self._changed)
            self._changed.clear()
            try:
                if not self._acts:
                    await store.close()
                elif not store.is_open or self._taken_at is None:
                    await self._take(store, patience_s=PATIENCE_S)
            except StateInUse as in_use:
                self._note(
                    f"{in_use}; until then, nothing is saved, and no deployment is stopped, and "
                    "this instance continues with what it has observed"
                )
                self._go_on()

    async def close(self) -> None:
        if self._store is not None:
            await self._store.close()

    # The Observer of the control loop

    async def observe(self) -> Observation:
        """See `Observer`."""
        store = self._store
        if self._leadership is None and store is not None and self._is_blank and not store.is_open:
            await self._take(store, patience_s=0.0)
        self._continue()
        self._doubt_first_start()
        observation = await self._observer.observe()
        if store is not None and store.is_open:
            await self._bind(store)
        return observation

    # The leadership that the control loop knows

    @property
    def name(self) -> str:
        """See `Leadership`."""
        return "" if self._leadership is None else self._leadership.name

    @property
    def leading_since(self) -> float | None:
        """See `Leadership`. Not before the state has been taken."""
        since = None if self._leadership is None else self._leadership.leading_since
        if since is None or self._store is None:
            return since
        return math.inf if self._taken_at is None else max(since, self._taken_at)

    @property
    def leader(self) -> str:
        """See `Leadership`."""
        return "" if self._leadership is None else self._leadership.leader

    @property
    def failure(self) -> str:
        """See `Leadership`."""
        return "" if self._leadership is None else self._leadership.failure

    def leads(self, *, for_s: float = 0.0) -> bool:
        """See `Leadership`."""
        return self._leadership is None or self._leadership.leads(for_s=for_s)

    @property
    def _acts(self) -> bool:
        return self._leadership is None or self._leadership.leads()

    @property
    def _is_blank(self) -> bool:
        """Whether this process has observed nothing yet."""
        return self.loop is None or self.loop.state.seen_at is None

    async def _take(self, store: StateStore, *, patience_s: float) -> None:
        """Read the state, for the next cycle. If it cannot be read, go on without it.

        Args:
            patience_s: seconds for which it is tried again before this instance may act.

        Raises:
            StateInUse: another process has it.
        """
        async with self._taking:
            await self._take_once(store, patience_s)

    async def _take_once(self, store: StateStore, patience_s: float) -> None:
        give_up_at = self._clock.now() + patience_s
        term = self._term
        await store.close()  # of an earlier term
        while True:
            failure = ""
            try:
                stored = await self._opened(store)
            except StateUnavailable as error:
                failure = str(error)
            if term != self._term:
                await store.close()  # another instance may have led since; `run` reads it again
                return
            is_late = self._taken_at is not None
            if not failure:
                break
            if is_late or self._clock.now() >= give_up_at:
                self._note(
                    f"{failure}; nothing is saved, and no deployment is stopped, until it can "
                    "be, which is tried again every few seconds"
                )
                self._go_on()
                return
            await self._clock.sleep(PATIENT_RETRY_S)
        self._failure, self._bound_to = "", None
        await self._keep_stopped(store, stored)
        may_have_acted = is_late and not self._is_blank
        self._found = stored, not may_have_acted and self._is_newer(stored)
        self._go_on()

    async def _opened(self, store: StateStore) -> State:
        """The stored state. While a disk does not respond, an instance that leads acts without it.

        Raises:
            StateInUse: another process has it.
            StateUnavailable: it cannot be read now.
        """
        opening = asyncio.ensure_future(store.open(self._policies()))
        try:
            while self._leadership is not None and not opening.done():
                timer = asyncio.ensure_future(self._clock.sleep(PATIENT_RETRY_S))
                await asyncio.wait([opening, timer], return_when=asyncio.FIRST_COMPLETED)
                timer.cancel()
                waited_s = self._clock.now() - self._led_at
                if not opening.done() and self._acts and waited_s >= MAX_READ_S:
                    self._note(
                        "the state has not been read yet, because its disk or the cluster does not "
                        "respond; until it is, nothing is saved, and no deployment is stopped"
                    )
                    self._go_on()
            return await opening
        finally:
            opening.cancel()

    async def _keep_stopped(self, store: StateStore, stored: State) -> None:
        """Save what this instance has stopped in this term, if the store has lost it."""
        own = self._own_stopped
        if own.keys() - stored.stopped.keys():
            try:
                await store.save_stopped({**stored.stopped, **own})
            except StateNotSaved as error:
                self._log.error("state.not_saved", message=str(error))

    @property
    def _own_stopped(self) -> Mapping[str, StoppedDeployment]:
        """What this instance knows to be stopped since it continued with the state in this term."""
        return self.loop.state.stopped if self._has_continued and self.loop is not None else {}

    def _is_newer(self, stored: State) -> bool:
        """Whether a stored state is better than what this process has observed itself: it is of a
        leader until now, or this process has begun only now."""
        at, now = stored.seen_at, self._clock.now()
        if at is None:
            return False
        is_new = now - self._began_at < COLD_START_HOLD_S
        return is_new or at >= max(self._began_at, now - COLD_START_HOLD_S)

    def _go_on(self) -> None:
        """From now on, this instance may act. If that is new, begin a cycle."""
        if self._taken_at is not None:
            return
        self._taken_at = self._clock.now()
        if self.loop is not None:
            self.loop.lead()

    def _continue(self) -> None:
        """Continue with what was found, before a cycle."""
        if self._found is None or self.loop is None:
            return
        (stored, whole), self._found = self._found, None
        loop, self._doubtful = self.loop, whole or bool(stored.stopped)
        # Those of this term may not have been saved.
        given = loop.state.instructions.since(self._taken_at or 0.0)
        instructions = stored.instructions.updated(given)
        if whole:
            loop.state = replace(stored, instructions=instructions)
        else:
            rollouts = loop.state.rollouts
            if stored.is_first_start:  # they have waited only because that was not known
                rollouts = begun_already(rollouts)
            own = loop.state.resume_requested if self._has_continued else frozenset()
            loop.state = replace(
                loop.state,
                instructions=instructions,
                rollouts=continued(rollouts, stored.rollouts),
                deployments=with_totals(loop.state.deployments, stored.deployments),
                is_first_start=stored.is_first_start,
                stopped={**stored.stopped, **self._own_stopped},
                resume_requested=stored.resume_requested | own,
            )
        self._has_continued = True

    def _doubt_first_start(self) -> None:
        """Let rollouts wait while the state of the first start cannot be saved: the next start
        would be the first one again, and what the rule has set by then would be what ran before."""
        if self._store is None or self.loop is None or not self._has_continued:
            return
        state = self.loop.state
        if not state.is_first_start:
            return
        rollouts = of_first_start(state.rollouts, saved=not self._store.problem)
        if rollouts != state.rollouts:
            self.loop.state = replace(state, rollouts=rollouts)

    async def _bind(self, store: StateStore) -> None:
        """Find out whether the state is of the cluster that is observed; if not, begin again.

        Raises:
            ObservationFailed: that is not known, and the state may be that of another one.
        """
        try:
            uuid = await self._cluster_uuid()
        except ObservationFailed:
            if self._doubtful:
                raise
            return
        self._doubtful = False
        if not uuid or uuid == self._bound_to or self.loop is None:
            return
        before, stopped = self._bound_to, self.loop.state.stopped
        instructions = self.loop.state.instructions
        problem = await store.bind(uuid)
        self._bound_to = uuid
        if not problem:
            return
        if stopped:
            problem += f"; deployments that were stopped there: {', '.join(sorted(stopped))}"
        self._log.error("state.other_cluster", message=f"{problem}; everything is learned again")
        self.loop.state = State(cold_start_s=0.0)
        if before is None and stopped:
            with suppress(StateNotSaved):  # they are not in the state any more
                await store.save_stopped({})
        if before is None and list(instructions):
            with suppress(StateNotSaved):
                await store.save_instructions(Instructions())

    def _note(self, failure: str) -> None:
        """Log a failure once."""
        if failure != self._failure:
            self._log.error("state.unusable", message=failure)
        self._failure = failure
