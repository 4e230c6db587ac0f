"""Two loops at once: ours moves the bounds between which the cluster's own scaler chooses."""

from autoscaler.core.planning import Policy
from autoscaler.laboratory.drivers import Planned
from autoscaler.laboratory.plant import Plant
from autoscaler.simulation.native_scaling import TICK_S

LAG_S = TICK_S / 2.0
"""The cluster's own scaler acts half-way between two of our looks. Nobody keeps them in step, and
this is how long it takes on average until it heeds new bounds."""


class Steered(Planned):
    """The daemon's own cycle, and the cluster's own scaler within the bounds that it is given.

    That one is on from the first look on, with the bounds it would have alone. It acts after
    `lag_s` seconds and every ten seconds from then on; at an instant of both, before the daemon
    looks.
    """

    def __init__(
        self, policy: Policy, period_s: float, *, minimum: int, maximum: int, lag_s: float = LAG_S
    ) -> None:
        super().__init__(policy, period_s)
        self._bounds = (minimum, maximum)
        self._lag_s = lag_s
        self._native_at: float | None = None  # when it acts next; None: it is off

    def advance(self, plant: Plant, to: float) -> None:
        self._run_native_scaler(plant, to)
        plant.advance(to)

    def look(self, plant: Plant) -> None:
        if self._native_at is None:
            plant.enable_native_scaling(*self._bounds)
            self._native_at = plant.now + self._lag_s
            self._run_native_scaler(plant, plant.now)
        super().look(plant)

    def _run_native_scaler(self, plant: Plant, until: float) -> None:
        while self._native_at is not None and self._native_at <= until:
            plant.advance(self._native_at)
            plant.run_native_scaler()
            self._native_at += TICK_S
