"""Policies on the draws of a record, by hour."""

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from autoscaler.backtest.drivers import drive
from autoscaler.backtest.policy_specs import PolicySpec, Runtime
from autoscaler.backtest.results.scoring import RequestSlo, allocation_s, cost, violations
from autoscaler.backtest.trial import TrialRunner, TrialSpec
from autoscaler.backtest.world.plant import Plant
from autoscaler.backtest.world.workload import Workload
from autoscaler.replay.load import LoadModel, drawn
from autoscaler.replay.record import HOUR_S, DeploymentRecord, Floats
from autoscaler.replay.recorded_run import IntervalStatistics, QueueGauge, RecordedRun
from autoscaler.replay.setting import ReplaySetting

_STREAM = 1807


class DrawOutcome(Struct, frozen=True, kw_only=True, eq=False):
    """One policy on one draw; each array has an element for each hour. Gaps are left out."""

    hours: Floats  # allocation-hours, requested
    late: Floats  # requests
    requests: Floats
    changes: int
    max_allocations: int


def outcome_of(
    plant: Plant, workload: Workload, record: DeploymentRecord, slo: RequestSlo
) -> DrawOutcome:
    """The outcome, from the plant at the end of its run."""
    edges = np.searchsorted(workload.at, record.edges)
    edges[-1] = len(workload.at)
    late = violations(plant.fleet.waits_s, plant.fleet.outcomes, slo)
    so_far = np.concatenate([[0], np.cumsum(late)])
    used_s = allocation_s(plant.allocation_spans, record.edges, 1)
    return DrawOutcome(
        hours=record.by_hour(used_s) / HOUR_S,
        late=record.by_hour(np.diff(so_far[edges]).astype(np.float64)),
        requests=record.by_hour(np.diff(edges).astype(np.float64)),
        changes=cost(plant.allocation_spans, *plant.span).changes,
        max_allocations=max(span.requested for span in plant.allocation_spans),
    )


class DrawSetting(Struct, frozen=True, kw_only=True):
    """What the draws of a deployment have in common."""

    setting: ReplaySetting
    slo: RequestSlo
    gauge: QueueGauge
    seed: int


class Quantiles(Struct, frozen=True):
    """Where a draw is among the values that each unknown figure may have."""

    load_s: float = 0.5
    retry_share: float = 0.5
    dispersion: float = 0.5


def spread_quantiles(draws: int, seed: int) -> list[Quantiles]:
    """Of each draw: the unknown figures are spread evenly over the draws, each by itself."""
    rng = np.random.default_rng([_STREAM, seed])
    columns = [(rng.permutation(draws) + 0.5) / draws for _ in range(3)]
    return [Quantiles(*map(float, row)) for row in zip(*columns, strict=True)]


class DrawRunner:
    """One draw, on which what really ran and any policy can be simulated."""

    def __init__(
        self, model: LoadModel, common: DrawSetting, draw: int, quantiles: Quantiles
    ) -> None:
        self._record = model.record
        self._scenario = common.setting.of_draw(quantiles.load_s, quantiles.retry_share)
        self._recorded_scenario = replace(
            common.setting.scenario, retry_share=self._scenario.retry_share
        )
        self._slo = common.slo
        self._gauge = common.gauge
        self._workload = drawn(
            model,
            common.seed,
            draw,
            dispersion_quantile=quantiles.dispersion,
            retry_share=self._scenario.retry_share,
        )
        # The same in all intervals: adaptive allocations run every ten seconds, and so do polls.
        self._phase = float(np.random.default_rng([_STREAM, common.seed, draw]).random())
        self._trials = TrialRunner(self._scenario, self._workload, common.seed)

    def recorded(self) -> tuple[DrawOutcome, IntervalStatistics]:
        """What really ran."""
        initial = int(self._record.requested[0])
        plant = Plant(self._recorded_scenario, self._workload, allocations=max(1, initial))
        run = RecordedRun(self._record, self._gauge, self._phase)
        run.run(plant)
        return self._outcome(plant), run.statistics

    def policy(self, name: str, spec: PolicySpec) -> DrawOutcome:
        """A policy, which begins with the recorded allocations."""
        value = spec.default_in(self._scenario)
        if spec.runtime is Runtime.ORACLE:
            return self._outcome(self._trials.oracle_plant(TrialSpec(policy=name)))
        driver = self._trials.driver(spec, value)
        initial = driver.initial_allocations or int(self._record.requested[0])
        scenario = self._scenario
        plant = Plant(
            scenario,
            self._workload,
            allocations=min(max(initial, scenario.min_allocations), scenario.max_allocations),
            version=spec.version,
        )
        drive(plant, driver)
        return self._outcome(plant)

    def _outcome(self, plant: Plant) -> DrawOutcome:
        return outcome_of(plant, self._workload, self._record, self._slo)
