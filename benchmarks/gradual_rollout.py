"""`python -m benchmarks.gradual_rollout`: how soon a bad rule is reverted, and a good one.

In each run, the daemon's own cycle acts in a gradual rollout, on the load of another trace. Before
it, a fixed number of allocations ran that suffices for its peaks. The good rule is the
default; the bad one may have one allocation only.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from autoscaler.backtest.drivers import ROUNDING_S, PlanDriver, as_configured, drive
from autoscaler.backtest.world.plant import Plant
from autoscaler.backtest.world.scenario import BacktestScenario, Scale, standard
from autoscaler.backtest.world.traces import TraceSource, find_traces
from autoscaler.backtest.world.workload import HOUR_S, Workload, workload_of
from autoscaler.core.gradual_rollout import GradualRollout
from autoscaler.core.rollout_hours import DAY_HOURS, RolloutHours
from autoscaler.core.slo.policy import SloPolicy
from autoscaler.errors import UserError
from benchmarks.frontier import publish
from benchmarks.markdown import table, wrapped
from benchmarks.runs import of_all

RUNS = 50
SEEDS = 3, 4
"""Of the requests. The thresholds of the comparison were chosen on draws with the seeds 1 and 2."""

HOURS = 4.0
GOAL_MINUTES = 10.0
BEFORE, NEEDED = 20, 10
"""Allocations that run before: twice those that the 99th percentile of the load needs, since a
window may have more of it."""

BAD_ALLOCATIONS = 1
MIN_LOAD, MINUTES = 2.0, 10.0
"""Erlangs in the first minutes of an hour from which on one allocation is bad in it."""

SERVED = 0.1
"""Late fraction before, from which on the load is not served without the rule either."""


class RolloutCase(Struct, frozen=True, kw_only=True):
    """One gradual rollout to simulate."""

    source: TraceSource
    seed: int

    @property
    def name(self) -> str:
        return f"{self.source.name}, seed {self.seed}"


class LostHour(Struct, frozen=True, kw_only=True):
    """The true late fractions of a whole hour in which the rule was reverted."""

    rule: float  # if the rule acts at all times
    before: float  # if what ran before the rollout runs at all times


class RolloutRun(Struct, frozen=True, kw_only=True):
    """What came of it."""

    bad_hour: bool  # whether the rule acted in an hour whose load needs more than one allocation
    reverted_min: float | None  # since it began to act in the hour; None: not reverted
    lost: LostHour | None  # None: it was not reverted, or is bad on purpose
    active_late: float | None  # fraction, estimated by the daemon
    before_late: float | None
    active_allocations: float | None  # mean
    before_allocations: float | None


def section(traces: list[str]) -> str:
    """The results, with their goals.

    Raises:
        UserError: there is no such trace, or a run has failed.
    """
    sources = find_traces(traces)
    cases = [RolloutCase(source=source, seed=seed) for seed in SEEDS for source in sources]
    tried = of_all(cases, partial(simulated, bad=True), "bad rules")
    bad = [run for run in tried if run.bad_hour and (run.before_late or 0.0) < SERVED][:RUNS]
    good = of_all(cases[:RUNS], partial(simulated, bad=False), "the default rule")
    minutes = [run.reverted_min for run in bad if run.reverted_min is not None]
    soon = sum(each <= GOAL_MINUTES for each in minutes)
    kept = sum(run.reverted_min is None for run in good)
    lost = [run.lost for run in good if run.lost is not None]
    allowed = 1.0 - _scenario().slo_target
    real = sum(each.rule > max(allowed, each.before + allowed) for each in lost)
    spent = [run for run in good if run.active_allocations and run.before_allocations]
    active, before = (
        float(np.mean([getattr(run, f"{kind}_allocations") for run in spent]))
        for kind in ("active", "before")
    )
    rows = [
        ["a rule with one allocation, reverted within ten minutes", f"{soon} of {len(bad)}", "all"],
        ["minutes until then: median", f"{np.median(minutes):.1f}", ""],
        ["minutes until then: most", f"{max(minutes):.2f}", f"at most {GOAL_MINUTES:g}"],
        [f"the default rule, kept for {HOURS:g} hours", f"{kept} of {len(good)}", ""],
        ["reverted: those with a real loss in the whole hour", f"{real} of {len(lost)}", "all"],
        ["late in these hours with the rule: least", _percent(min, [e.rule for e in lost]), ""],
        ["late with what ran before: most", _percent(max, [e.before for e in lost]), ""],
        ["its allocations in active hours, and before", f"{active:.1f}, {before:.1f}", ""],
    ]
    opening = wrapped(
        "Loads of the cross-section of traces, on the back-test's plant with three nodes: "
        f"{BEFORE} allocations ran before, all hours of the day are in the rollout, and the share "
        "is a half. "
        "The minutes begin with the first active hour whose load is at least "
        f"{MIN_LOAD:g} erlangs in its first {MINUTES:g} minutes. Runs without one are left out, "
        f"and those in which at least {SERVED:.0%} of the requests were late before. A loss is "
        f"real if more than {allowed:.0%} of the requests of the whole hour are late where the "
        f"rule acts at all times, and {allowed:.0%} more than with what ran before. Both are "
        "simulated, on the same requests."
    )
    return "\n\n".join([opening, table(["", "", "goal"], rows)])


def _percent(choose: Callable[[list[float]], float], fractions: list[float]) -> str:
    return f"{choose(fractions):.1%}" if fractions else "none"


def simulated(case: RolloutCase, *, bad: bool) -> list[RolloutRun]:
    """The gradual rollout of a bad rule, until it is reverted, or of the default rule."""
    scenario = _scenario()
    workload = workload_of(case.source.read(), scenario, case.seed)
    ruleset = as_configured(SloPolicy(), scenario)
    (rule,) = ruleset.rules
    hours = tuple(range(DAY_HOURS))
    rollout = RolloutHours(hours=hours, timezone="UTC", share=0.5, settings="benchmark")
    rule = replace(rule, rollout=rollout)
    if bad:
        rule = replace(rule, max_allocations=BAD_ALLOCATIONS)
    driver = PlanDriver(replace(ruleset, rules=(rule,)), scenario.poll_interval_s)
    plant = _plant(workload)
    found, began_at = _driven(plant, driver, workload, bad=bad)
    minutes = None
    if found.reverted_at is not None:
        minutes = (found.reverted_at - (began_at or found.switched_at or 0.0)) / 60.0
    active, before = found.active_totals, found.before_totals
    run = RolloutRun(
        bad_hour=began_at is not None,
        reverted_min=minutes,
        lost=None if bad or found.reverted_at is None else _lost(workload, found.reverted_at),
        active_late=active.late_fraction,
        before_late=before.late_fraction,
        active_allocations=active.allocation_s / active.seconds if active.seconds else None,
        before_allocations=before.allocation_s / before.seconds if before.seconds else None,
    )
    return [run]


def _scenario() -> BacktestScenario:
    (scenario,) = [each for each in standard() if each.name == "short-three-nodes"]
    return replace(scenario, hours=HOURS, scale=Scale(allocations=float(NEEDED)))


def _driven(
    plant: Plant, driver: PlanDriver, workload: Workload, *, bad: bool
) -> tuple[GradualRollout, float | None]:
    """The rollout at the end, and when the first active hour with enough load began; None: there
    was none."""
    _, end = plant.span
    driver.poll(plant)
    (rollout,) = driver.rollouts.values()
    block, began_at = rollout.block, None
    while (at := plant.now + driver.poll_interval_s) < end - ROUNDING_S:
        driver.advance(plant, at)
        driver.poll(plant)
        (rollout,) = driver.rollouts.values()
        if rollout.block != block and rollout.active and began_at is None:
            began_at = plant.now if _load(workload, plant.now) >= MIN_LOAD else None
        block = rollout.block
        if bad and rollout.reverted_at is not None:
            break
    return rollout, began_at


def _lost(workload: Workload, at: float) -> LostHour:
    """The hour that contains an instant, with the default rule at all times, and with what ran
    before."""
    scenario = _scenario()
    ruled, fixed = _plant(workload), _plant(workload)
    drive(ruled, PlanDriver(as_configured(SloPolicy(), scenario), scenario.poll_interval_s))
    fixed.finish()
    begin = at // HOUR_S * HOUR_S
    first, last = np.searchsorted(workload.at, [begin, begin + HOUR_S])
    rule, before = (
        1.0 - float((plant.fleet.waits_s[first:last] <= scenario.slo_wait_s).mean())
        for plant in (ruled, fixed)
    )
    return LostHour(rule=rule, before=before)


def _plant(workload: Workload) -> Plant:
    return Plant(_scenario(), workload, allocations=BEFORE)


def _load(workload: Workload, since: float) -> float:
    """Erlangs in the next minutes."""
    seconds = min(60.0 * MINUTES, HOUR_S)
    first, last = np.searchsorted(workload.at, [since, since + seconds])
    return float(workload.work_s[first:last].sum()) / seconds


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gradual_rollout", description=__doc__
    )
    parser.add_argument("traces", nargs="+", help="files or directories of traces")
    parser.add_argument("--document", type=Path, help="replace the section of this file as well")
    chosen = parser.parse_args(arguments)
    try:
        publish(partial(section, chosen.traces), "rollout", chosen.document)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main(sys.argv[1:])
