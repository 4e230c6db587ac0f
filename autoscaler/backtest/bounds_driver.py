"""Mode `bounds`: the daemon sets the bounds, and adaptive allocations choose between them."""

from autoscaler.backtest.drivers import PlanDriver
from autoscaler.backtest.world.plant import Plant
from autoscaler.core.flow.cycle import OpenAt
from autoscaler.core.flow.planning import Ruleset
from autoscaler.simulation.adaptive_allocations_service import TICK_S

LAG_S = TICK_S / 2.0
"""Seconds from a poll of the daemon to the next run of adaptive allocations. Half of their
interval: the two are not synchronised, and this is how long new bounds take on average to take
effect."""


class BoundsDriver(PlanDriver):
    """The daemon's own cycle, and adaptive allocations within the bounds that it sets.

    They are enabled from the first poll on, with the bounds that they would have alone. They run
    after `lag_s` seconds and every ten seconds from then on; before the poll, where both coincide.
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
        self._adaptive_at: float | None = None  # of the next run; None: disabled

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
