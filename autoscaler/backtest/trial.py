"""One run: a policy at a setting on a workload, scored."""

import math
import time

import numpy as np
from msgspec import Struct

from autoscaler.adapters.calendar import CronCalendar
from autoscaler.backtest.baselines.baseline import AcceptsHistory, Baseline
from autoscaler.backtest.bounds_driver import BoundsDriver
from autoscaler.backtest.configured_rule import ConfiguredRule
from autoscaler.backtest.drivers import (
    AdaptiveDriver,
    BaselineDriver,
    Driver,
    PlanDriver,
    drive,
)
from autoscaler.backtest.oracle.rate_oracle import RateOracle
from autoscaler.backtest.oracle.search import Oracle
from autoscaler.backtest.policy_specs import (
    PolicySpec,
    RunInputs,
    Runtime,
    policy_spec,
    rule_spec,
    ruleset_of,
)
from autoscaler.backtest.results import scoring
from autoscaler.backtest.results.rows import ResultRow, Trial
from autoscaler.backtest.world.plant import Plant
from autoscaler.backtest.world.scenario import BacktestScenario
from autoscaler.backtest.world.workload import Workload
from autoscaler.core.decision import Mode
from autoscaler.core.flow.cycle import OpenAt
from autoscaler.simulation.adaptive_allocations_scaler import SHIPPED, Thresholds

TIMELINE_STEP_S = 300.0
"""Seconds that one point of a timeline covers: 288 points for a day."""

INITIAL_LOAD_WINDOW_S = 600.0
"""Seconds at the beginning of the load whose mean sets the initial allocations."""

INITIAL_UTILISATION = 0.7
"""Utilisation of the initial allocations under that mean load."""


class TrialSpec(Struct, frozen=True, kw_only=True):
    """A policy at a setting."""

    policy: str  # a name that `policy_spec` knows
    value: float | None = None  # of its parameter; None: the default
    with_timeline: bool = False
    rule: ConfiguredRule | None = None  # the rule that `policy` names, if it names one

    @property
    def spec(self) -> PolicySpec:
        """The policy, or the one of the rule."""
        return policy_spec(self.policy) if self.rule is None else rule_spec(self.rule)


class TrialRunner:
    """One workload, on which any number of policies can be tried."""

    def __init__(self, scenario: BacktestScenario, workload: Workload, seed: int) -> None:
        self._scenario = scenario
        self._workload = workload
        self._seed = seed
        self._request_slo = scoring.RequestSlo(scenario.slo_wait_s, scenario.slo_target)
        self._oracles: dict[str, Oracle | RateOracle] = {}  # by policy

    def run(self, trial: TrialSpec) -> Trial:
        """Run one policy."""
        began = time.perf_counter()
        policy = trial.spec
        value = self._value(trial)
        if policy.runtime is Runtime.ORACLE:
            plant, refused = self.oracle_plant(trial), 0
        else:
            driver = self.driver(policy, value)
            plant = self.run_driver(driver, version=policy.version)
            refused = driver.refused
        return self._scored(trial, plant, refused, time.perf_counter() - began)

    def oracle_plant(self, trial: TrialSpec) -> Plant:
        """The plant at the end of the best schedule of an oracle."""
        plant, _ = self._oracle(trial.policy).best(self._value(trial))
        return plant

    def _stated_slo(self, trial: TrialSpec) -> scoring.RequestSlo | None:
        """The SLO of the trial's rule; None: that of the scenario.

        A latency becomes a queue wait by the service time of the scenario, as in the daemon. If it
        is unreachable, no request may wait.
        """
        scenario = self._scenario
        objective = None if trial.rule is None else trial.rule.stated_slo(scenario)
        if objective is None:
            return None
        wait_s = objective.max_queue_wait_s(scenario.service_time_s, scenario.service_cv) or 0.0
        stated = scoring.RequestSlo(wait_s, objective.target)
        return None if stated == self._request_slo else stated

    def run_driver(
        self, driver: Driver, *, version: str | None = None, thresholds: Thresholds = SHIPPED
    ) -> Plant:
        """The plant at the end of a run; `version` and `thresholds` are arguments of `Plant`."""
        plant = Plant(
            self._scenario,
            self._workload,
            allocations=self._bounded(driver.initial_allocations or self._initial_allocations()),
            version=version,
            thresholds=thresholds,
        )
        drive(plant, driver)
        return plant

    def driver(self, spec: PolicySpec, value: float) -> Driver:
        """The driver of any policy but the oracle, with its parameter at `value`."""
        scenario, history = self._scenario, self._workload.history
        minimum, maximum = scenario.min_allocations, scenario.max_allocations
        if spec.runtime is Runtime.CLUSTER:
            return AdaptiveDriver(minimum, maximum)
        inputs = RunInputs(scenario=scenario, workload=self._workload)
        if spec.runtime is Runtime.DAEMON:
            poll_interval_s, ruleset = ruleset_of(spec, value, inputs)
            (rule,) = ruleset.rules
            if rule.mode is Mode.BOUNDS:
                return BoundsDriver(
                    ruleset,
                    poll_interval_s,
                    self._open_at(),
                    minimum=rule.min_allocations,
                    maximum=rule.max_allocations,
                )
            return PlanDriver(ruleset, poll_interval_s, self._open_at())
        assert spec.build is not None, "a baseline has a builder"
        policy = spec.build(value, inputs)
        assert isinstance(policy, Baseline), "an external autoscaler has its own poll interval"
        memory = policy.begin()
        if history is not None and isinstance(policy, AcceptsHistory):
            memory = policy.from_history(history, minimum, maximum)
        return BaselineDriver(policy, memory, minimum, maximum)

    def _open_at(self) -> OpenAt:
        """A calendar by the time of the trace: every run begins at the same virtual instant."""
        offset_s = self._scenario.begins_at + self._workload.trace_offset_s - self._workload.start
        calendar = CronCalendar()
        return lambda at, schedules: calendar.open_at(at + offset_s, schedules)

    def row(
        self,
        plant: Plant,
        policy: str,
        *,
        setting: str = "",
        default: bool = True,
        refused: int = 0,
        elapsed_s: float = 0.0,
        slo: scoring.RequestSlo | None = None,
    ) -> ResultRow:
        """The score of a policy, from the plant at the end of its run.

        Args:
            slo: the SLO of a rule that states one; None: that of the scenario.
        """
        workload, fleet = self._workload, plant.fleet
        score = scoring.request_score(
            workload,
            fleet.waits_s,
            fleet.outcomes,
            slo or self._request_slo,
            plant.allocation_spans,
        )
        cost = scoring.cost(plant.allocation_spans, *plant.span)
        return ResultRow(
            trace=workload.trace,
            scenario=self._scenario.name,
            policy=policy,
            setting=setting,
            default=default,
            seed=self._seed,
            requests=score.requests,
            violations=score.violations,
            violation_fraction=score.violations / max(score.requests, 1),
            rejected=score.rejected,
            timed_out=score.timed_out,
            retries=fleet.retries,
            violation_minutes=score.violation_minutes,
            wait_p50_s=score.wait_p50_s,
            wait_p95_s=score.wait_p95_s,
            wait_p99_s=score.wait_p99_s,
            allocation_hours=cost.allocation_hours,
            running_allocation_hours=cost.running_allocation_hours,
            changes=cost.changes,
            reversals=cost.reversals,
            refused_updates=refused,
            max_backlog_s=score.max_backlog_s,
            simulated_s=workload.duration_s,
            elapsed_s=elapsed_s,
            slo_target=None if slo is None else slo.target,
            slo_wait_s=None if slo is None else slo.max_queue_wait_s,
        )

    def _value(self, trial: TrialSpec) -> float:
        """The value of the parameter."""
        return trial.spec.default_in(self._scenario) if trial.value is None else trial.value

    def _oracle(self, name: str) -> Oracle | RateOracle:
        """The oracle of that name. Its tables and outlooks are made once, for all SLO targets."""
        if name not in self._oracles:
            scenario, workload = self._scenario, self._workload
            foresee = policy_spec(name).foresee
            self._oracles[name] = (
                Oracle(scenario, workload)
                if foresee is None
                else RateOracle(
                    scenario,
                    workload,
                    foresee(RunInputs(scenario=scenario, workload=workload)),
                    self._bounded(self._initial_allocations()),
                )
            )
        return self._oracles[name]

    def _initial_allocations(self) -> int:
        """The allocations at the start: enough for the load of the first ten minutes."""
        workload = self._workload
        initial_s = min(INITIAL_LOAD_WINDOW_S, workload.duration_s)
        first = int(np.searchsorted(workload.at, workload.start + initial_s))
        load = float(workload.work_s[:first].sum()) / initial_s
        return math.ceil(load / INITIAL_UTILISATION)

    def _bounded(self, allocations: int) -> int:
        return min(max(allocations, self._scenario.min_allocations), self._scenario.max_allocations)

    def _scored(self, trial: TrialSpec, plant: Plant, refused: int, elapsed_s: float) -> Trial:
        workload, fleet, policy = self._workload, plant.fleet, trial.spec
        value, slo = self._value(trial), self._stated_slo(trial)
        row = self.row(
            plant,
            trial.policy,
            setting=policy.setting(value),
            default=trial.value is None or value == policy.default,
            refused=refused,
            elapsed_s=elapsed_s,
            slo=slo,
        )
        if not trial.with_timeline:
            return Trial(row=row)
        timeline = scoring.timeline(
            workload,
            fleet.waits_s,
            fleet.outcomes,
            slo or self._request_slo,
            plant.allocation_spans,
            TIMELINE_STEP_S,
        )
        return Trial(row=row, timeline=timeline)
