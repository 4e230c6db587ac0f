"""The instructions of operators while the daemon runs: given, withdrawn, saved and logged."""

import difflib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec.structs import replace

from autoscaler.ages import LIVED_S
from autoscaler.control_loop import ControlLoop
from autoscaler.core.decision import Decision, Outcome, Plan
from autoscaler.core.explanation import unmanaged_text
from autoscaler.core.gradual_rollout import restarted
from autoscaler.core.instructions import (
    MAX_INSTRUCTION_S,
    MAX_REASON_CHARACTERS,
    MIN_INSTRUCTION_S,
    Instructions,
    Override,
    Pause,
    PausedChanges,
    done_text,
    resume_text,
)
from autoscaler.core.rollout_status import RolloutVerdict
from autoscaler.core.step_text import step_text
from autoscaler.core.units import duration_text
from autoscaler.core.values import Observation, Reason
from autoscaler.ports import (
    Clock,
    CycleTimes,
    InstructionResult,
    ObservationFailed,
    RefusalKind,
    RequestRefused,
    StateNotSaved,
    StateStore,
)

Note = Callable[[str, str, str, str], None]
"""Adds to the history: a message, a deployment id (empty: all), by whom, and the stated reason."""


class OperatorInstructions:
    """Implements OperatorRequests. As a Recorder, it removes what has ended, and knows the plan.

    Args:
        store: None: the state is not saved.
        log: a structlog logger.
        why_not: why this instance may not accept a request now; empty: it may.
    """

    def __init__(
        self,
        store: StateStore | None,
        clock: Clock,
        log: Any,
        *,
        note: Note,
        why_not: Callable[[], str],
    ) -> None:
        self._store = store
        self._clock = clock
        self._log = log
        self._note = note
        self._why_not = why_not
        self.loop: ControlLoop | None = None  # whose state has the instructions
        self._last: tuple[Observation, Plan] | None = None
        self._began_at = clock.now()

    @property
    def _instructions(self) -> Instructions:
        return Instructions() if self.loop is None else self.loop.state.instructions

    # OperatorRequests

    def in_force(self) -> list[tuple[str | None, Pause | Override]]:
        """See `OperatorRequests`."""
        now = self._clock.now()
        return [(name, each) for name, each in self._instructions if each.is_in_force(now)]

    def resume_text(self, deployment_id: str) -> str:
        """What follows from a request to resume a stopped deployment."""
        return resume_text(deployment_id, self._instructions, self._clock.now())

    async def pause(
        self, deployment_id: str | None, changes: PausedChanges, for_s: float, by: str, reason: str
    ) -> InstructionResult:
        """See `OperatorRequests`."""
        self._check(for_s, reason)
        if deployment_id is not None:
            self._check_managed(deployment_id)
        now = self._clock.now()
        given = Pause(changes=changes, since=now, until=now + for_s, by=by, reason=reason)
        return await self._give(deployment_id, given)

    async def unpause(self, deployment_id: str | None, by: str, reason: str) -> InstructionResult:
        """See `OperatorRequests`."""
        self._check(MIN_INSTRUCTION_S, reason)
        pauses = [(name, each) for name, each in self.in_force() if isinstance(each, Pause)]
        if deployment_id is None:
            if not pauses:
                raise RequestRefused(RefusalKind.NOT_FOUND, "nothing is paused")
            return await self._withdraw(pauses, by, reason, "")
        own = [(name, each) for name, each in pauses if name == deployment_id]
        of_all = next((each for name, each in pauses if name is None), None)
        if not own and of_all is not None:
            text = f"{deployment_id}: paused with all deployments by {of_all.by}; unpause all"
            raise RequestRefused(RefusalKind.CONFLICT, text)
        if not own:
            raise RequestRefused(RefusalKind.NOT_FOUND, f"{deployment_id}: not paused")
        still = f"; all deployments are still paused, by {of_all.by}" if of_all else ""
        return await self._withdraw(own, by, reason, still)

    async def override(
        self, deployment_id: str, allocations: int, for_s: float, by: str, reason: str
    ) -> InstructionResult:
        """See `OperatorRequests`."""
        self._check(for_s, reason)
        decision = self._check_managed(deployment_id)
        if decision is not None:
            _check_number(decision, allocations)
        now = self._clock.now()
        given = Override(
            allocations=allocations, since=now, until=now + for_s, by=by, reason=reason
        )
        return await self._give(deployment_id, given)

    async def end_override(self, deployment_id: str, by: str, reason: str) -> InstructionResult:
        """See `OperatorRequests`."""
        self._check(MIN_INSTRUCTION_S, reason)
        found = self._instructions.override_of(deployment_id, self._clock.now())
        if found is None:
            raise RequestRefused(RefusalKind.NOT_FOUND, f"{deployment_id}: not overridden")
        return await self._withdraw([(deployment_id, found)], by, reason, "")

    async def resume_rollout(self, deployment_id: str, by: str, reason: str) -> InstructionResult:
        """See `OperatorRequests`."""
        self._check(MIN_INSTRUCTION_S, reason)
        loop = self.loop
        assert loop is not None, "it has been set"
        rollout = loop.state.rollouts.get(deployment_id)
        if rollout is None:
            self._check_managed(deployment_id)
            text = f"{deployment_id}: its rule has no rollout"
            raise RequestRefused(RefusalKind.CONFLICT, text)
        if rollout.verdict is RolloutVerdict.RUNNING:
            text = f"{deployment_id}: its rollout has not been reverted, and does not wait"
            raise RequestRefused(RefusalKind.CONFLICT, text)
        resumed = restarted(rollout, self._clock.now())
        rollouts = {**loop.state.rollouts, deployment_id: resumed}
        loop.state = replace(loop.state, rollouts=rollouts)
        message = f"{deployment_id}: the gradual rollout begins again, not before the next hour"
        self._log.info(
            "rollout.resumed",
            message=f"{message}, by {by}" + (f": {reason}" if reason else ""),
            deployment=deployment_id,
            by=by,
            stated_reason=reason,
        )
        self._note(message, deployment_id, by, reason)
        saved = await loop.save_resume_requests()
        if not saved:
            message += "; it is not saved, so a restart undoes it"
        return InstructionResult(message=message, saved=saved)

    # Recorder

    def planned(
        self, observation: Observation, plan: Plan, outcomes: tuple[Outcome, ...], took: CycleTimes
    ) -> None:
        """See `Recorder`."""
        self._last = observation, plan
        self._remove_ended()

    def skipped(self, failure: ObservationFailed, at: float) -> None:
        """See `Recorder`."""
        self._remove_ended()

    def _remove_ended(self) -> None:
        """One that had ended before this process began stays for a day: by a clock that is wrong,
        and corrected later, all have."""
        now = self._clock.now()
        for name, each in list(self._instructions):
            seen_ending = each.until >= self._began_at or now - self._began_at >= LIVED_S
            if not each.is_in_force(now) and seen_ending:
                self._set(self._instructions.without(name, each))
                self._log_event("ended", name, f"{_name(name)}: {_noun(each)} has ended", "", "")

    def _set(self, instructions: Instructions) -> None:
        assert self.loop is not None, "it has been set"
        self.loop.state = replace(self.loop.state, instructions=instructions)

    def _check(self, for_s: float, reason: str) -> None:
        """
        Raises:
            RequestRefused: this instance may accept nothing, or the request is out of range.
        """
        if why_not := self._why_not():
            raise RequestRefused(RefusalKind.CONFLICT, f"not accepted, because {why_not}")
        if not MIN_INSTRUCTION_S <= for_s <= MAX_INSTRUCTION_S:
            limits = f"{duration_text(MIN_INSTRUCTION_S)} and {duration_text(MAX_INSTRUCTION_S)}"
            raise RequestRefused(RefusalKind.CONFLICT, f"the time must be between {limits}")
        if len(reason) > MAX_REASON_CHARACTERS:
            text = f"the reason must have at most {MAX_REASON_CHARACTERS} characters"
            raise RequestRefused(RefusalKind.CONFLICT, text)

    def _check_managed(self, deployment_id: str) -> Decision | None:
        """The last decision for a deployment; None: its statistics cannot be read now.

        Raises:
            RequestRefused: it is not managed.
        """
        if self._last is None:
            text = "the cluster has not been observed yet; until then, only all can be paused"
            raise RequestRefused(RefusalKind.NOT_YET, text)
        observation, plan = self._last
        for decision in plan.decisions:
            if decision.deployment_id == deployment_id:
                return decision
        if deployment_id in observation.unreadable:
            return None
        if (reason := plan.unmanaged.get(deployment_id)) is not None:
            text = f"{deployment_id}: {unmanaged_text(reason)}"
            raise RequestRefused(RefusalKind.CONFLICT, text)
        similar = difflib.get_close_matches(
            deployment_id, [each.deployment_id for each in plan.decisions], n=1
        )
        suggestion = f"; did you mean {similar[0]}?" if similar else ""
        text = f"{deployment_id}: not found in the cluster{suggestion}"
        raise RequestRefused(RefusalKind.NOT_FOUND, text)

    async def _give(self, deployment_id: str | None, given: Pause | Override) -> InstructionResult:
        replaced = any(
            name == deployment_id and type(each) is type(given) for name, each in self.in_force()
        )
        self._set(self._instructions.with_one(deployment_id, given))
        until = f"{datetime.fromtimestamp(given.until, UTC):%Y-%m-%d %H:%M} UTC"
        message = f"{_name(deployment_id)}: {done_text(given)} until {until}"
        if replaced:
            message += ", in place of the one before"
        self._log_event("given", deployment_id, message, given.by, given.reason)
        message += self._without_effect(deployment_id)
        return await self._saved(message, "a restart ends it")

    async def _withdraw(
        self,
        found: Sequence[tuple[str | None, Pause | Override]],
        by: str,
        reason: str,
        still: str,
    ) -> InstructionResult:
        messages = []
        for name, each in found:
            self._set(self._instructions.without(name, each))
            messages.append(f"{_name(name)}: {_noun(each)} is ended")
            self._log_event("withdrawn", name, messages[-1], by, reason)
        more = f", and {len(messages) - 1} more" if len(messages) > 1 else ""
        return await self._saved(f"{messages[0]}{more}{still}", "a restart undoes it")

    def _without_effect(self, deployment_id: str | None) -> str:
        """Why an instruction changes nothing at present; empty: it may."""
        decisions = () if self._last is None else self._last[1].decisions
        for decision in decisions:
            if decision.deployment_id != deployment_id:
                continue
            if not decision.sends:
                mode = "dry run" if decision.dry_run else "observe only"
                return f"; nothing is sent for it in any case ({mode})"
            for step in decision.steps:
                if step.externally_controlled:
                    because = step_text(step).removeprefix("held: ")
                    return f"; it has no effect at present, because {because}"
        return ""

    def _log_event(
        self, event: str, deployment_id: str | None, message: str, by: str, reason: str
    ) -> None:
        said = f"{message}, by {by}" if by else message
        self._log.info(
            f"instruction.{event}",
            message=f"{said}: {reason}" if reason else said,
            **({} if deployment_id is None else {"deployment": deployment_id}),
            by=by,
            stated_reason=reason,
        )
        self._note(message, deployment_id or "", by, reason)

    async def _saved(self, message: str, otherwise: str) -> InstructionResult:
        """
        Args:
            otherwise: what follows if it cannot be saved.
        """
        if self._store is None:  # then nothing is, and a restart ends all of them
            return InstructionResult(message=f"{message}; {_NOT_SAVED}", saved=False)
        try:
            await self._store.save_instructions(self._instructions)
        except StateNotSaved as failure:
            self._log.error("state.not_saved", message=str(failure))
            text = f"{message}; it is not saved, so {otherwise}: {failure}"
            return InstructionResult(message=text, saved=False)
        return InstructionResult(message=message, saved=True)


_NOT_SAVED = 'the state is not saved (state = "none"), so a restart ends all pauses and overrides'


def _check_number(decision: Decision, allocations: int) -> None:
    """
    Raises:
        RequestRefused: the rule does not allow the number, or the deployment does not run.
    """
    name, minimum, maximum = (
        decision.deployment_id,
        decision.min_allocations,
        decision.max_allocations,
    )
    if decision.steps[0].reason is Reason.STOPPED:
        text = f"{name}: stopped; resume it first"
        raise RequestRefused(RefusalKind.CONFLICT, text)
    if not minimum <= allocations <= maximum:
        text = (
            f"{name}: {allocations} is outside the bounds {minimum}..{maximum} of rule "
            f"{decision.rule}; choose a number within them, or change the rule"
        )
        raise RequestRefused(RefusalKind.CONFLICT, text)


def _name(deployment_id: str | None) -> str:
    return "all deployments" if deployment_id is None else deployment_id


def _noun(instruction: Pause | Override) -> str:
    return "the pause" if isinstance(instruction, Pause) else "the override"
