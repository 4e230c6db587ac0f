"""One document of an `_infer` call, whose caller waits for the result."""

from autoscaler.simulation.errors import SimulatedApiError, deployment_timeout


class InferenceRequest:
    """Completed or failed as the simulated time advances."""

    __slots__ = ("arrived", "deadline", "done", "error", "finished_at", "size", "waits_for")

    def __init__(self, *, arrived: float, deadline: float, size: float = 1.0) -> None:
        self.arrived = arrived
        self.deadline = deadline
        self.size = size
        self.done = False
        self.finished_at: float | None = None
        self.error: SimulatedApiError | None = None
        self.waits_for: str | None = None  # a deployment without allocations; None: not waiting

    def time_out(self) -> None:
        """Fail at the deadline, wherever the request is."""
        if self.waits_for is None:
            reason = "timeout while waiting for inference result"
            self.fail(self.deadline, SimulatedApiError(408, "status_exception", reason))
        else:
            self.fail(
                self.deadline, deployment_timeout(self.waits_for, self.deadline - self.arrived)
            )

    @property
    def state(self) -> str:
        """waiting, completed or failed."""
        if not self.done:
            return "waiting"
        return "completed" if self.error is None else "failed"

    def complete(self, at: float) -> None:
        if not self.done:
            self.done, self.finished_at = True, at

    def fail(self, at: float, error: SimulatedApiError) -> None:
        if not self.done:
            self.done, self.finished_at, self.error = True, at, error
