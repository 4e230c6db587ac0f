"""The datagrams for systemd, read from real sockets."""

import os
import socket
from pathlib import Path

import pytest

from autoscaler.adapters.systemd import MAX_STATUS, ServiceManager, ServiceRecorder
from autoscaler.core.decision import OutcomeKind
from autoscaler.ports import FailureKind, ObservationFailed
from tests.adapters.recorded import cycle, decision, outcome

LIMIT_S = 120.0


class Systemd:
    """A socket such as systemd has for a service."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.setblocking(False)

    def received(self) -> list[list[str]]:
        """The assignments of each datagram since the last call."""
        found = []
        try:
            while True:
                found.append(self.socket.recv(65_536).decode().split("\n"))
        except BlockingIOError:
            return found


@pytest.fixture
def address(tmp_path) -> str:
    return str(tmp_path / "notify")


@pytest.fixture
def systemd(address):
    listening = Systemd(address)
    yield listening
    listening.socket.close()


@pytest.fixture
def recorder(address, systemd):
    manager = ServiceManager({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "300000000"})
    return ServiceRecorder(manager, lambda: LIMIT_S)


def test_it_is_ready_from_the_first_cycle_on_and_alive_with_each(recorder, systemd):
    recorder.planned(*cycle())
    recorder.planned(*cycle())
    first, second = systemd.received()
    alive = ["WATCHDOG=1", "WATCHDOG_USEC=120000000"]
    assert first[:3] == ["READY=1", *alive]
    assert second[:2] == alive
    assert second[2] == "STATUS=0 deployments observed"


def test_an_unavailable_cluster_is_a_status_and_no_failure_of_the_service(recorder, systemd):
    recorder.skipped(ObservationFailed(FailureKind.UNREACHABLE, "connection refused"), 5.0)
    (datagram,) = systemd.received()
    assert "READY=1" in datagram
    assert datagram[-1] == "STATUS=Nothing is scaled: connection refused"


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ([OutcomeKind.UNCHANGED, OutcomeKind.WITHHELD], ""),
        ([OutcomeKind.ACCEPTED, OutcomeKind.FORBIDDEN], ", 1 updated, 1 update failed"),
        ([OutcomeKind.UNKNOWN, OutcomeKind.GONE], ", 2 updates failed"),
        ([OutcomeKind.DRY_RUN, OutcomeKind.UNCHANGED], ", 1 would be updated (dry run)"),
    ],
)
def test_the_status_has_the_results_of_the_updates(recorder, systemd, kinds, expected):
    observation, plan, _, took = cycle()
    outcomes = tuple(outcome(decision(), kind) for kind in kinds)
    recorder.planned(observation, plan, outcomes, took)
    ((*_, status),) = systemd.received()
    assert status == f"STATUS=0 deployments observed{expected}"


def test_a_text_from_the_cluster_is_no_assignment(recorder, systemd):
    hostile = "refused\nSTOPPING=1\x1b[2J" + 100_000 * "x"
    recorder.skipped(ObservationFailed(FailureKind.UNREACHABLE, hostile), 5.0)
    (datagram,) = systemd.received()
    assert "STOPPING=1" not in datagram
    assert "\x1b" not in datagram[-1]
    assert len(datagram[-1]) == len("STATUS=") + MAX_STATUS


@pytest.mark.parametrize(
    "variables", [{}, {"WATCHDOG_USEC": "1", "WATCHDOG_PID": str(os.getpid() + 1)}]
)
def test_without_a_watchdog_of_this_process_none_is_fed(address, systemd, variables):
    manager = ServiceManager({"NOTIFY_SOCKET": address, **variables})
    manager.cycle_ended("ok", LIMIT_S)
    assert systemd.received() == [["READY=1", "STATUS=ok"]]


def test_a_reload_has_a_beginning_and_an_end_once_it_is_ready(address, systemd):
    manager = ServiceManager({"NOTIFY_SOCKET": address})
    manager.reload_began()
    manager.reload_ended()
    assert systemd.received() == [], "otherwise it would be ready before its first cycle"
    manager.cycle_ended("ok", LIMIT_S)
    manager.reload_began()
    manager.reload_ended()
    _, began, ended = systemd.received()
    assert began[0] == "RELOADING=1"
    assert began[1].removeprefix("MONOTONIC_USEC=").isdecimal()
    assert ended == ["READY=1"]


def test_an_address_may_be_abstract(tmp_path):
    name = f"autoscaler-test-{os.getpid()}-{tmp_path.name}"
    listening = Systemd(f"\0{name}")
    with listening.socket:
        ServiceManager({"NOTIFY_SOCKET": f"@{name}"}).stopping()
        assert listening.received() == [["STOPPING=1"]]


def test_a_manager_that_is_gone_or_reads_nothing_has_no_effect(address, systemd):
    ServiceManager({}).stopping()
    ServiceManager({"NOTIFY_SOCKET": str(Path(address).with_name("none"))}).stopping()


def test_what_a_busy_manager_has_missed_is_sent_again(address, systemd):
    other = ServiceManager({"NOTIFY_SOCKET": address})
    for _ in range(10_000):  # more than the socket holds
        other.stopping()
    manager = ServiceManager({"NOTIFY_SOCKET": address})
    manager.cycle_ended("first", LIMIT_S)
    assert ["STOPPING=1"] in systemd.received()
    manager.cycle_ended("second", LIMIT_S)
    assert systemd.received() == [["READY=1", "STATUS=second"]]
