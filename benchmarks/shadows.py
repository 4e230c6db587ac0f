"""How well does a dry run judge itself? `python -m benchmarks.shadows DIRECTORY`

Each recorded load runs live, and then in dry run with a fixed number of allocations, too many or
too few. What the dry run says that it would have used, and served late, is compared with the live
run; and what it says of the fixed allocations with the requests of that run.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from autoscaler.backtest.drivers import PlanDriver
from autoscaler.backtest.policy_specs import RunInputs, policy_spec, ruleset_of
from autoscaler.backtest.trial import TrialRunner
from autoscaler.backtest.world.scenario import standard
from autoscaler.backtest.world.traces import find_traces
from autoscaler.backtest.world.workload import workload_of
from autoscaler.core.shadow import HOUR_S, HourlyEstimate, together
from autoscaler.errors import UserError
from autoscaler.simulation.traces import Trace
from benchmarks.frontier import publish
from benchmarks.markdown import table, wrapped

MULTIPLES = (1.5, 1.0)
"""Fixed allocations, as multiples of the mean of the live run."""

TRACES = 8
HOURS = 12.0
TOLERANCE = 0.05
"""Fraction by which the hours may differ."""


class Comparison(NamedTuple):
    """One dry run beside the live run of the same load."""

    trace: str
    fixed: int
    live_hours: float
    shadow_hours: float
    live_late: float
    shadow_late: HourlyEstimate
    fixed_late: float
    recorded_late: HourlyEstimate
    unknown_h: float

    @property
    def difference(self) -> float:
        return self.shadow_hours / self.live_hours - 1.0


def comparisons(trace: Trace, seed: int = 0) -> Iterator[Comparison]:
    """The dry runs of one load."""
    scenario = replace(standard()[1], hours=HOURS)
    load = workload_of(trace, scenario, seed)
    runner, spec = TrialRunner(scenario, load, seed), policy_spec("slo")
    inputs = RunInputs(scenario=scenario, workload=load)
    poll_interval_s, rules = ruleset_of(spec, spec.default_in(scenario), inputs)
    live = runner.row(runner.run_driver(PlanDriver(rules, poll_interval_s)), "slo")
    mean = live.running_allocation_hours / (load.duration_s / HOUR_S)
    for multiple in MULTIPLES:
        dry_rules = replace(rules, rules=(replace(rules.rules[0], dry_run=True),))
        driver = PlanDriver(dry_rules, poll_interval_s)
        driver.initial_allocations = min(scenario.max_allocations, max(1, round(multiple * mean)))
        driver.plans = []
        fixed = runner.row(runner.run_driver(driver), "fixed")
        shadow = driver.plans[-1].decisions[0].shadow
        period = None if shadow is None else together(shadow.account.days)
        assert period is not None, "a dry run has a shadow"
        shadow_late, recorded_late = period.shadow_late_fraction, period.recorded_late_fraction
        assert shadow_late is not None, "requests came"
        assert recorded_late is not None, "requests came"
        yield Comparison(
            trace=trace.name,
            fixed=driver.initial_allocations,
            live_hours=live.running_allocation_hours,
            shadow_hours=period.totals.shadow_s / HOUR_S,
            live_late=live.violation_fraction,
            shadow_late=shadow_late,
            fixed_late=fixed.violation_fraction,
            recorded_late=recorded_late,
            unknown_h=period.totals.unknown_s / HOUR_S,
        )


def section(directory: Path) -> str:
    """The table, and how often the figures agree."""
    sources = find_traces([str(directory)])
    step = max(1, len(sources) // TRACES)
    found = [each for source in sources[::step][:TRACES] for each in comparisons(source.read())]
    rows = [
        [
            each.trace,
            str(each.fixed),
            f"{each.live_hours:.1f}",
            f"{each.shadow_hours:.1f}",
            f"{each.difference:+.1%}",
            f"{each.live_late:.2%}",
            _interval(each.shadow_late),
            f"{each.fixed_late:.2%}",
            _interval(each.recorded_late),
            f"{each.unknown_h:.1f}",
        ]
        for each in found
    ]
    head = ["load", "fixed", "live h", "shadow h", "difference", "late live", "late shadow"]
    head += ["late fixed", "computed", "unknown h"]
    near = sum(abs(each.difference) <= TOLERANCE for each in found)
    within = sum(_contains(each.shadow_late, each.live_late) for each in found)
    opening = wrapped(
        f"{HOURS:g} h of {len(found) // len(MULTIPLES)} recorded loads, in scenario "
        f"`{standard()[1].name}`: live with policy `slo`, and in dry run with a fixed number of "
        "allocations. The shadow of the dry run is compared with the live run, and what is "
        "computed of the fixed allocations with their requests. Of "
        f"{len(found)} dry runs, {near} have allocation-hours within {TOLERANCE:.0%} of those of "
        f"the live run, and {within} have its late requests within their 95% interval."
    )
    return f"{opening}\n\n{table(head, rows)}"


def _interval(estimate: HourlyEstimate) -> str:
    assert estimate.low is not None, "there are many hours"
    assert estimate.high is not None, "there are many hours"
    return f"{estimate.value:.2%} ({max(0.0, estimate.low):.2%} to {estimate.high:.2%})"


def _contains(estimate: HourlyEstimate, value: float) -> bool:
    low, high = estimate.low, estimate.high
    return low is not None and high is not None and low <= value <= high


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shadows", description=__doc__)
    parser.add_argument("directory", type=Path, help="with traces")
    parser.add_argument("--document", type=Path, help="replace the section `shadows` of this file")
    given = parser.parse_args(arguments)
    try:
        publish(lambda: section(given.directory), "shadows", given.document)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main(sys.argv[1:])
