"""What the server refuses: counted all, logged a line of each kind at a bounded rate."""

import asyncio
from collections.abc import Callable, Mapping
from enum import StrEnum

import structlog

LOG_INTERVAL_S = 60.0
"""Seconds between two log lines of one kind. A client that is refused tries again, and each of its
attempts would be a line."""

OnRefused = Callable[[str], None]
"""Counts a refusal, by its reason."""


class RefusalReason(StrEnum):
    """Why a request was not answered, or a connection closed: the label of the metric."""

    HOST = "host"
    ORIGIN = "origin"
    TOKEN = "token"  # noqa: S105
    USER = "user"
    CERTIFICATE = "certificate"
    RATE = "rate"
    MALFORMED = "malformed"
    BUSY = "busy"
    SLOW = "slow"
    CONNECTIONS = "connections"
    DESCRIPTORS = "descriptors"
    DEFECT = "defect"


_EVENTS: Mapping[RefusalReason, str] = {RefusalReason.DEFECT: "http.failed"}


class Refusals:
    """Counts refusals and logs them.

    Args:
        on_refused: counts each.
    """

    def __init__(self, on_refused: OnRefused) -> None:
        self._on_refused = on_refused
        self._log = structlog.get_logger("autoscaler.http")
        self._logged_at: dict[RefusalReason, float] = {}
        self._unlogged: dict[RefusalReason, int] = {}

    def note(self, reason: RefusalReason, text: str, defect: BaseException | None = None) -> None:
        """Count a refusal, and log it unless one of its kind has just been logged.

        Args:
            text: what was refused, as the end of a sentence.
            defect: the exception, if the program is at fault.
        """
        self._on_refused(reason)
        now = asyncio.get_running_loop().time()
        last = self._logged_at.get(reason)
        if last is not None and now - last < LOG_INTERVAL_S:
            self._unlogged[reason] = self._unlogged.get(reason, 0) + 1
            return
        self._logged_at[reason] = now
        unlogged = self._unlogged.pop(reason, 0)
        more = f"; {unlogged} more since the last line" if unlogged else ""
        log = self._log.error if defect is not None else self._log.warning
        log(
            _EVENTS.get(reason, "http.refused"),
            message=f"HTTP: {text}{more}",
            reason=str(reason),
            unlogged=unlogged,
            **({} if defect is None else {"exc_info": defect}),
        )
