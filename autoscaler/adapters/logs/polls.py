"""When the next poll is due, as log lines."""

from structlog.typing import FilteringBoundLogger

from autoscaler.core.decision import Plan
from autoscaler.core.explanation import next_poll_text, poll_reason
from autoscaler.core.next_poll import NextPoll, PollCause
from autoscaler.core.units import duration_text

WARN_AGAIN_AFTER_S = 600.0
"""Seconds after which stretched polls are warned about again, if they were on time meanwhile. 10
min, because single cycles are slow on a busy machine."""


class PollLog:
    """Logs when the next poll is due if the cause differs from before, or if it is late."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log
        self._due = (PollCause.ROUTINE, "")  # cause and deployment, as last logged
        self._stretched = False  # whether polls are, as last logged
        self._warned_at = float("-inf")

    def planned(self, plan: Plan) -> None:
        """Log the next poll of a plan as far as that is news."""
        if plan.next_poll is not None:
            self._log_cause(plan.next_poll)
            self._log_stretched(plan.next_poll, plan.at)

    def _log_cause(self, due: NextPoll) -> None:
        if self._due == (due.cause, due.deployment_id or ""):
            return
        self._due = due.cause, due.deployment_id or ""
        self._log.debug(
            "poll.due",
            message=next_poll_text(due),
            within_s=due.within_s,
            cause=str(due.cause),
            **({} if due.deployment_id is None else {"deployment": due.deployment_id}),
        )

    def _log_stretched(self, due: NextPoll, at: float) -> None:
        stretched = due.stretched_s > 0.0
        if stretched == self._stretched:
            return
        if not stretched:
            self._log.info("poll.restored", message="polls are not stretched any more")
        elif at < self._warned_at + WARN_AGAIN_AFTER_S:
            return
        else:
            self._warned_at = at
            within = duration_text(due.within_s)
            routine = duration_text(due.within_s - due.stretched_s)
            self._log.warning(
                "poll.stretched",
                message=f"the next poll is due in {within}, not in {routine}: {poll_reason(due)}",
                within_s=due.within_s,
                cause=str(due.cause),
            )
        self._stretched = stretched
