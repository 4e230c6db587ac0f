"""A policy on the emulated plant, recorded as the daemon would record it."""

from msgspec.structs import replace

from autoscaler.backtest.drivers import AdaptiveDriver, Driver
from autoscaler.backtest.world.plant import DEPLOYMENT_ID, Plant
from autoscaler.backtest.world.scenario import BacktestScenario
from autoscaler.core.values import DeploymentStats
from autoscaler.load_intervals import load_interval
from autoscaler.wire.intervals import Hardware, HardwareNode, IntervalsHeader, Line, LoadInterval


class RecordingDriver:
    """Drives the plant with another driver, and keeps an interval for each poll of the daemon.

    The other driver polls as often, or does nothing.
    """

    poll_interval_s = 10.0

    def __init__(self, driver: Driver, *, decides: bool) -> None:
        """`decides`: whether the driver is the daemon, whose decisions are recorded as well."""
        self.initial_allocations = driver.initial_allocations
        self.intervals: list[LoadInterval] = []
        self._driver = driver
        self._decides = decides
        self._before: tuple[float, DeploymentStats] | None = None

    @property
    def refused(self) -> int:
        return self._driver.refused

    @refused.setter
    def refused(self, value: int) -> None:
        self._driver.refused = value

    def advance(self, plant: Plant, to: float) -> None:
        self._driver.advance(plant, to)

    def poll(self, plant: Plant) -> None:
        now, stats = plant.now, plant.statistics()
        if self._before is not None:
            at, before = self._before
            self.intervals.append(load_interval(before, stats, at=now, interval_s=now - at))
        self._before = (now, stats)
        self._driver.poll(plant)
        if self._decides and self.intervals:
            self.intervals[-1] = replace(
                self.intervals[-1], desired=plant.requested, outcome="accepted"
            )


class UnsynchronisedAdaptiveDriver(AdaptiveDriver):
    """Adaptive allocations that run between two polls of the daemon, as in a cluster."""

    def __init__(self, minimum: int, maximum: int, phase: float) -> None:
        """`phase`: when, as a fraction of the time from one poll to the next."""
        super().__init__(minimum, maximum)
        self._phase = phase

    def advance(self, plant: Plant, to: float) -> None:
        plant.advance(plant.now + self._phase * (to - plant.now))
        super().poll(plant)
        plant.advance(to)

    def poll(self, plant: Plant) -> None:
        """The poll of the daemon, which changes nothing."""


def recorded_lines(scenario: BacktestScenario, intervals: list[LoadInterval]) -> list[Line]:
    """The file that the daemon would export."""
    nodes = tuple(
        HardwareNode(id=f"node-{index}", processors=float(scenario.processors))
        for index in range(1, scenario.nodes + 1)
    )
    first = intervals[0]
    return [
        IntervalsHeader(source="recording", program="rehearsal"),
        Hardware(at=first.at - first.interval_s, nodes=nodes, version=scenario.version),
        *(replace(each, deployment=DEPLOYMENT_ID) for each in intervals),
    ]
