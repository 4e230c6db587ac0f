"""Requests to one receiver: sent, counted and logged, whatever it does."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from structlog.typing import FilteringBoundLogger

from autoscaler.adapters.otlp.requests import OtlpRequest, OtlpResult
from autoscaler.core.units import duration_text
from autoscaler.otlp_access import ExportFailed
from autoscaler.text import printable

MAX_PAUSE_S = 600.0
"""Seconds for which nothing is sent after a failure, at most, whatever the receiver asks for. 10
min, so that metrics return soon after a collector does."""

MAX_MESSAGE_CHARACTERS = 500
"""Characters of the receiver's own words in the log."""


class Receiver(Protocol):
    """Where the requests go."""

    async def send(self, path: str, body: bytes) -> bytes:
        """The body of the response to a request that was accepted.

        Args:
            body: compressed by gzip.

        Raises:
            ExportFailed: it was not, or there was no response.
        """


class Delivered(NamedTuple):
    """What became of a request."""

    result: str = "accepted"
    message: str = ""
    pause_s: float = 0.0  # for which nothing more should be sent, besides the interval
    may_repeat: bool = False  # the same request may be accepted later


class Delivery:
    """Sends the requests of one signal: metrics or decisions.

    Args:
        path: of the signal, after the address of the receiver.
        result_of: what a response says; None: it is not of the protocol.

    Attributes:
        results: the number of exports, by result: `accepted`; `rejected`, of which the receiver has
            rejected a part; `failed`, not accepted, or not all of it; `unknown`, where a response
            is not of the protocol.
        lost: the number of data points or decisions that were not accepted, by cause: `rejected` by
            the receiver in an export of which it accepted others; `dropped`, decisions that were
            not sent again.
    """

    def __init__(
        self,
        receiver: Receiver,
        log: FilteringBoundLogger,
        *,
        signal: str,
        path: str,
        result_of: Callable[[bytes], OtlpResult | None],
        interval_s: float,
    ) -> None:
        self._receiver = receiver
        self._log = log
        self._signal = signal
        self._path = path
        self._result_of = result_of
        self._interval_s = interval_s
        self._failures = 0  # in succession
        self._result = "accepted"  # of the last export, as logged
        self.results = dict.fromkeys(("accepted", "rejected", "failed", "unknown"), 0)
        self.lost = dict.fromkeys(("rejected", "dropped"), 0)

    async def send(self, request: OtlpRequest) -> Delivered:
        """Send one request, and count what is rejected of it."""
        try:
            body = await self._receiver.send(self._path, request.body)
        except ExportFailed as error:
            return Delivered("failed", str(error), self._pause_s(error), not error.permanent)
        found = self._result_of(body)
        if found is None:
            return Delivered("unknown", "the response is not one of OTLP; check the address")
        if not found.rejected:
            return Delivered()
        rejected = min(found.rejected, request.items)
        self.lost["rejected"] += rejected
        return Delivered("rejected", f"the receiver has rejected a part: {found.message}")

    def ended(self, export: Delivered) -> None:
        """Count an export; log the beginning of a problem, and its end."""
        self.results[export.result] += 1
        self._failures = self._failures + 1 if export.result == "failed" else 0
        before, self._result = self._result, export.result
        if export.result == before:
            return
        if export.result == "accepted":
            self._log.info(
                "otlp.accepted",
                message=f"{self._signal} sent by OTLP are accepted again",
                signal=self._signal,
            )
            return
        self._log.warning(
            f"otlp.{export.result}",
            message=f"{self._signal} sent by OTLP: "
            f"{printable(export.message[:MAX_MESSAGE_CHARACTERS])}; the next are sent in "
            f"{duration_text(self._interval_s)}, or later if the receiver fails",
            signal=self._signal,
        )

    def defect(self) -> Delivered:
        """An export has raised an error, which is being handled. Scaling does not depend on it."""
        self.results["failed"] += 1
        self._log.exception("otlp.defect", message=f"an export of {self._signal} has failed")
        return Delivered("failed", pause_s=MAX_PAUSE_S)

    def _pause_s(self, error: ExportFailed) -> float:
        """As long as the receiver asks for; otherwise twice as long after each further failure."""
        if error.retry_after_s is not None:
            return min(error.retry_after_s, MAX_PAUSE_S)
        return min(self._interval_s * (2.0 ** min(self._failures, 10) - 1.0), MAX_PAUSE_S)
