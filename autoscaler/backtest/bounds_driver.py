"""Two loops at once: ours moves the bounds between which the cluster's own scaler chooses."""

from autoscaler.backtest.drivers import PlanDriver
from autoscaler.backtest.world.plant import Plant
from autoscaler.core.flow.cycle import OpenAt
from autoscaler.core.flow.planning import Ruleset
from autoscaler.simulation.adaptive_allocations_service import TICK_S

LAG_S = TICK_S / 2.0
"""The cluster's own scaler acts half-way between two of our looks. Nobody keeps them in step, and
this is how long it takes on average until it heeds new bounds."""


class BoundsDriver(PlanDriver):
    """The daemon's own cycle, and the cluster's own scaler within the bounds that it is given.

    That one is on from the first look on, with the bounds it would have alone. It acts after
    `lag_s` seconds and every ten seconds from then on; at an instant of both, before the daemon
    looks.
    """

    def __init__(
        self,
        ruleset: Ruleset,
        poll_interval_s: float,
        open_at: OpenAt | None = None,
        *,
        minimum: int,
        maximum: int,
        lag_s: float = LAG_S,
    ) -> None:
        super().__init__(ruleset, poll_interval_s, open_at)
        self._bounds = (minimum, maximum)
        self._lag_s = lag_s
        self._adaptive_at: float | None = None  # when it acts next; None: it is off

    def advance(self, plant: Plant, to: float) -> None:
        self._run_adaptive_scaler(plant, to)
        plant.advance(to)

    def poll(self, plant: Plant) -> None:
        if self._adaptive_at is None:
            plant.enable_adaptive_allocations(*self._bounds)
            self._adaptive_at = plant.now + self._lag_s
            self._run_adaptive_scaler(plant, plant.now)
        super().poll(plant)

    def _run_adaptive_scaler(self, plant: Plant, until: float) -> None:
        while self._adaptive_at is not None and self._adaptive_at <= until:
            plant.advance(self._adaptive_at)
            plant.run_adaptive_scaler()
            self._adaptive_at += TICK_S
