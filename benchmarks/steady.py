"""How often do the allocations of a steady load change? `python -m benchmarks.steady`

The load is a Poisson stream of constant rate, so that every change is caused by chance. The table
has the changes of the default policy per hour, from ten minutes after the start, on one node.
"""

import argparse
import itertools
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from autoscaler.backtest.drivers import PlanDriver, as_configured, drive
from autoscaler.backtest.world.plant import Plant
from autoscaler.backtest.world.scenario import BacktestScenario, Scale, standard
from autoscaler.backtest.world.workload import workload_of
from autoscaler.core.slo.objective import SloObjective
from autoscaler.core.slo.policy import SloPolicy
from autoscaler.errors import UserError
from autoscaler.simulation.traces import Trace
from benchmarks.frontier import publish
from benchmarks.markdown import table, wrapped

RATES_PER_S = (0.1, 1.0, 10.0, 100.0, 1000.0)
SERVICE_TIMES_S = (0.02, 0.1, 1.0)
MAX_LOAD = 300.0
"""Erlangs above which a pair is left out, because its requests take minutes to simulate."""

HOURS, SEEDS = 6.0, (1, 2, 3)
SETTLED_S = 600.0
BIN_S = 10.0
INITIAL_UTILISATION = 0.7


def scene(
    rate_per_s: float, service_time_s: float, *, nodes: int = 1, zones: int = 1
) -> BacktestScenario:
    """Nodes with twice as many processors as the load keeps busy, and the default SLO."""
    load = rate_per_s * service_time_s
    processors = math.ceil((2.0 * load + 4.0) / nodes) + 2
    return replace(
        standard()[0],
        name="steady",
        service_time_s=service_time_s,
        slo_wait_s=2.0 * service_time_s,
        timeout_s=max(10.0, 20.0 * service_time_s),
        nodes=nodes,
        zones=zones,
        processors=processors,
        physical_cores=processors,
        max_allocations=processors * nodes,
        scale=Scale(factor=1.0),
        hours=None,
    )


def changes_per_hour(
    scenario: BacktestScenario, rate_per_s: float, seed: int, hours: float = HOURS
) -> float:
    """Changes of the requested allocations after the first `SETTLED_S`."""
    rng = np.random.default_rng([seed, 15])
    counts = rng.poisson(rate_per_s * BIN_S, round(hours * 3600.0 / BIN_S))
    trace = Trace(name="steady", bin_s=BIN_S, counts=counts, metadata={})
    load = workload_of(trace, scenario, seed)
    policy = SloPolicy(objective=SloObjective(wait_s=scenario.slo_wait_s))
    initial = math.ceil(rate_per_s * scenario.service_time_s / INITIAL_UTILISATION)
    plant = Plant(scenario, load, allocations=initial)
    drive(plant, PlanDriver(as_configured(policy, scenario), scenario.poll_interval_s))
    changes = [
        after
        for before, after in itertools.pairwise(plant.allocation_spans)
        if after.requested != before.requested and after.at > load.start + SETTLED_S
    ]
    return len(changes) / (hours - SETTLED_S / 3600.0)


def mean_changes_per_hour(rate_per_s: float, service_time_s: float) -> float | None:
    """The mean over `SEEDS`; None: the load is too large to simulate."""
    if rate_per_s * service_time_s > MAX_LOAD:
        return None
    scenario = scene(rate_per_s, service_time_s)
    hours = HOURS if rate_per_s <= 100.0 else HOURS / 3.0
    found = [changes_per_hour(scenario, rate_per_s, seed, hours) for seed in SEEDS]
    return sum(found) / len(found)


def rows() -> Sequence[Sequence[str]]:
    """A row for each rate: the changes an hour at each service time."""
    found = []
    for rate_per_s in RATES_PER_S:
        means = [mean_changes_per_hour(rate_per_s, service_s) for service_s in SERVICE_TIMES_S]
        found.append([f"{rate_per_s:g}", *("" if m is None else f"{m:.1f}" for m in means)])
    return found


def section() -> str:
    """The table, and what it shows."""
    head = ["requests per second", *(f"{1000 * service_s:g} ms" for service_s in SERVICE_TIMES_S)]
    opening = wrapped(
        "Changes of the allocations per hour of Poisson streams of constant rate with policy "
        "`slo`, from ten minutes after the start, on one node, by mean service time; means over "
        f"{len(SEEDS)} seeds."
    )
    return f"{opening}\n\n{table(head, rows())}"


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.steady", description=__doc__)
    parser.add_argument("--document", type=Path, help="replace the section `steady` of this file")
    document = parser.parse_args(arguments).document
    try:
        publish(section, "steady", document)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main(sys.argv[1:])
