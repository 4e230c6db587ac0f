"""What systemd knows of the daemon: whether it is ready, alive, reloading or stopping, and its
state in a sentence.

For each, a datagram of assignments to the socket that the variable NOTIFY_SOCKET names; see
sd_notify(3), and Type=notify in systemd.service(5). Other service managers, such as podman, use the
same protocol.
"""

import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping

from autoscaler.core.decision import Outcome, OutcomeKind, Plan
from autoscaler.core.values import Observation
from autoscaler.ports import CycleTimes, ObservationFailed
from autoscaler.text import printable

MAX_STATUS = 500
"""Characters of the sentence, which is for one line of `systemctl status`."""


_NOT_SENT = {
    OutcomeKind.UNCHANGED,
    OutcomeKind.DRY_RUN,
    OutcomeKind.OBSERVE_ONLY,
    OutcomeKind.WITHHELD,
    OutcomeKind.OUTDATED,
}


class ServiceManager:
    """The service manager that has started this process; without one, nothing happens.

    Whatever the manager does, a datagram neither waits nor fails: the daemon scales without it.

    Args:
        environ: of the process; NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID have a meaning.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # An address that begins with @ is abstract: a name without a file.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._watched = "WATCHDOG_USEC" in environ and environ.get("WATCHDOG_PID", "") in {
            "",
            str(os.getpid()),
        }
        self._ready = False

    def cycle_ended(self, status: str, limit_s: float) -> None:
        """Ready from the first cycle on, whatever its result, and alive for `limit_s` from now."""
        lines = [] if self._ready else ["READY=1"]
        if self._watched:
            lines += ["WATCHDOG=1", f"WATCHDOG_USEC={round(1e6 * limit_s)}"]
        sent = self._send(*lines, f"STATUS={printable(status)[:MAX_STATUS]}")
        self._ready = self._ready or sent

    def reload_began(self) -> None:
        """The configuration is read again."""
        if self._ready:
            self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def reload_ended(self) -> None:
        """A configuration is in effect again, the new one or the previous."""
        if self._ready:
            self._send("READY=1")

    def stopping(self) -> None:
        """The daemon ends."""
        self._send("STOPPING=1")

    def _send(self, *assignments: str) -> bool:
        """Whether the manager has got them. It has not if it is busy or gone."""
        if not self._address:
            return False
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sending,
        ):
            sending.setblocking(False)
            sending.sendto("\n".join(assignments).encode(), self._address)
            return True
        return False


class ServiceRecorder:
    """A Recorder: each cycle shows that the control loop runs.

    Args:
        limit_s: within how many seconds the next cycle ends, as for `/healthz`.
    """

    def __init__(self, manager: ServiceManager, limit_s: Callable[[], float]) -> None:
        self._manager = manager
        self._limit_s = limit_s

    def planned(
        self, observation: Observation, plan: Plan, outcomes: tuple[Outcome, ...], took: CycleTimes
    ) -> None:
        """Say how many deployments there are, and what became of the updates."""
        count = len(observation.deployments)
        sent = [outcome.kind for outcome in outcomes if outcome.kind not in _NOT_SENT]
        parts = [f"{count} deployment{'' if count == 1 else 's'} observed"]
        if updated := sent.count(OutcomeKind.ACCEPTED):
            parts.append(f"{updated} updated")
        if failed := len(sent) - updated:
            parts.append(f"{failed} updates failed" if failed > 1 else "1 update failed")
        if would := sum(outcome.kind is OutcomeKind.DRY_RUN for outcome in outcomes):
            parts.append(f"{would} would be updated (dry run)")
        self._manager.cycle_ended(", ".join(parts), self._limit_s())

    def skipped(self, failure: ObservationFailed, at: float) -> None:
        """Say why nothing is scaled."""
        self._manager.cycle_ended(f"Nothing is scaled: {failure}", self._limit_s())
