"""How often do the intervals of a replay cover what then happens? `python -m benchmarks.rehearsals`

In a rehearsal, a policy runs on the emulated plant and is recorded as the daemon would record it.
From the record alone, a replay predicts the allocation-hours and late requests of another policy.
Then that policy runs on the same requests. In other worlds, service times depend on the load or a
node is slow, which the simulation of a replay does not have: it must refuse a verdict.

Finished rehearsals are kept in a file and not run again. The loads are those of the directory
`traces-wide`; windows, scales and seeds are drawn.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from autoscaler.backtest.baselines.static import AT_PEAK, Static, for_load, true_loads
from autoscaler.backtest.configured_rule import configured_rule
from autoscaler.backtest.drivers import BaselineDriver, Driver, drive
from autoscaler.backtest.policy_specs import PolicySpec, policy_spec, rule_spec
from autoscaler.backtest.results.scoring import RequestSlo
from autoscaler.backtest.trial import TrialRunner
from autoscaler.backtest.world.plant import Plant
from autoscaler.backtest.world.scenario import BacktestScenario, Scale, standard
from autoscaler.backtest.world.traces import TraceSource, find_traces
from autoscaler.backtest.world.workload import Workload, workload_of
from autoscaler.config.loader import Written
from autoscaler.config.toml_lines import TomlLines
from autoscaler.errors import UserError
from autoscaler.replay.engine import Replayed, ReplayOptions, fixed_at, peak_allocations, tasks_of
from autoscaler.replay.judge import by_draw
from autoscaler.replay.runs import outcome_of
from autoscaler.simulation.traces import TraceError
from autoscaler.wire.intervals import LoadInterval
from benchmarks.frontier import publish
from benchmarks.rehearsal_record import (
    RecordingDriver,
    UnsynchronisedAdaptiveDriver,
    recorded_lines,
)
from benchmarks.rehearsal_tables import RehearsalRow, section_of
from benchmarks.runs import of_all

HONEST, LOADED, SLOW = "honest", "load", "node"
WORLDS = (HONEST, LOADED, SLOW)

FIXED, ADAPTIVE, OURS = "fixed", "adaptive", "slo"
PAIRS = tuple(
    (ran, tried)
    for ran in (FIXED, ADAPTIVE, OURS)
    for tried in (FIXED, ADAPTIVE, OURS)
    if ran != tried
)

HOURS = 2.0
DRAWS = 16
NODES, PROCESSORS = 9, 2
MIN_REQUESTS = 2_000

CONTENTION = 1.0
"""In the world `load`, a busy allocation makes the requests of the other one on its node longer by
half."""

SLOW_FACTOR = 1.5
"""In the world `node`, service times on one node are longer by half."""

AT_ONCE = 10
"""Rehearsals after which the results are written."""


class Rehearsal(Struct, frozen=True, kw_only=True):
    """One rehearsal, by its number: everything else is drawn from it."""

    world: str
    number: int
    source: TraceSource
    ran: str
    tried: str

    @property
    def name(self) -> str:
        return f"{self.world} {self.number}, {self.source.name}"


def rehearsals(world: str, count: int, sources: Sequence[TraceSource]) -> list[Rehearsal]:
    """All traces and pairs of policies in turn."""
    return [
        Rehearsal(
            world=world,
            number=number,
            source=sources[number % len(sources)],
            ran=PAIRS[(number + number // len(sources)) % len(PAIRS)][0],
            tried=PAIRS[(number + number // len(sources)) % len(PAIRS)][1],
        )
        for number in range(count)
    ]


def rehearse(rehearsal: Rehearsal) -> list[RehearsalRow]:
    """Run, record, replay, and run the other policy."""
    rng = np.random.default_rng([WORLDS.index(rehearsal.world), rehearsal.number, 1805])
    scenario, workload = _world(rehearsal, rng)
    slo = RequestSlo(scenario.slo_wait_s, scenario.slo_target)
    driver, initial = _recorded_driver(rehearsal.ran, scenario, workload, rng)
    recording = RecordingDriver(driver, decides=rehearsal.ran == OURS)
    _run(scenario, workload, recording, initial)
    lines = recorded_lines(scenario, recording.intervals)
    config = _configuration(scenario)
    (task,) = tasks_of(config, lines, ReplayOptions(draws=DRAWS)).tasks
    replayed = Replayed(task)
    row = RehearsalRow(
        world=rehearsal.world,
        number=rehearsal.number,
        trace=rehearsal.source.name,
        ran=rehearsal.ran,
        tried=rehearsal.tried,
        refusals=replayed.refusals,
        nodes=len(_served(recording.intervals)),
        failed=_failed_fraction(recording.intervals),
    )
    if rehearsal.world != HONEST:
        return [row]
    record = replayed.record
    spec = _spec(rehearsal.tried, config, peak_allocations(record, replayed.times))
    (tried,) = replayed.outcomes([(rehearsal.tried, spec)])
    hours = replayed.judge.spread(by_draw(tried, "hours"))
    late = replayed.judge.spread(replayed.judge.late(tried))
    runner = TrialRunner(scenario, workload, 1)
    other = runner.driver(spec, spec.default_in(scenario))
    first = other.initial_allocations or int(record.requested[0])
    truth = outcome_of(_run(scenario, workload, other, first), workload, record, slo)
    return [
        replace(
            row,
            hours=hours,
            late=late,
            requests=replayed.judge.requests,
            true_hours=float(truth.hours.sum()),
            true_late=float(truth.late.sum()),
            true_requests=float(truth.requests.sum()),
        )
    ]


def _served(intervals: Sequence[LoadInterval]) -> set[str]:
    return {node.node for each in intervals for node in each.nodes if node.completed}


def _failed_fraction(intervals: Sequence[LoadInterval]) -> float:
    """Of all attempts of the record."""
    arrivals = sum(each.arrivals or 0 for each in intervals)
    return sum(each.failed or 0 for each in intervals) / max(1, arrivals)


def _world(rehearsal: Rehearsal, rng: np.random.Generator) -> tuple[BacktestScenario, Workload]:
    """A window of the trace with enough requests, and the cluster."""
    trace = rehearsal.source.read()
    service_time_s = float(rng.choice([0.1, 0.2, 0.4]))
    scenario = replace(
        standard()[0],
        name="rehearsal",
        version="9.3.0",
        service_time_s=service_time_s,
        slo_wait_s=2.0 * service_time_s,
        nodes=NODES,
        processors=PROCESSORS,
        physical_cores=PROCESSORS,
        max_allocations=NODES * PROCESSORS,
        load_s=float(rng.choice([30.0, 60.0])),
        scale=Scale(allocations=float(rng.choice([3.0, 5.0, 7.0]))),
        hours=HOURS,
        contention=CONTENTION if rehearsal.world == LOADED else 0.0,
        slow_nodes=int(rehearsal.world == SLOW),
        slow_node_factor=SLOW_FACTOR,
        retry_share=float(np.random.default_rng([rehearsal.number, 1806]).random()),
    )
    starts = int(trace.duration_s / 3600.0 - HOURS)
    for _ in range(50):
        chosen = replace(scenario, start_h=float(rng.integers(0, max(1, starts))))
        try:
            workload = workload_of(trace, chosen, rehearsal.number)
        except TraceError:
            continue
        if len(workload.at) >= MIN_REQUESTS:
            return chosen, replace(workload, history=None)
    workload = workload_of(trace, replace(scenario, start_h=None), rehearsal.number)
    return scenario, replace(workload, history=None)


def _recorded_driver(
    ran: str, scenario: BacktestScenario, workload: Workload, rng: np.random.Generator
) -> tuple[Driver, int]:
    """The driver of what really runs, and its allocations at the beginning."""
    peak = _peak(workload)
    usual = math.ceil(float(workload.work_s.sum()) / workload.duration_s / 0.6)
    bounds = scenario.min_allocations, scenario.max_allocations
    initial = min(max(usual, bounds[0]), bounds[1])
    if ran == FIXED:
        allocations = min(max(1, math.ceil(peak * float(rng.choice([0.7, 0.85, 1.0])))), bounds[1])
        policy = Static(allocations=allocations)
        return BaselineDriver(policy, policy.begin(), *bounds), allocations
    if ran == ADAPTIVE:
        return UnsynchronisedAdaptiveDriver(*bounds, float(rng.random())), initial
    spec = policy_spec("slo")
    return TrialRunner(scenario, workload, 1).driver(spec, scenario.slo_target), initial


def _peak(workload: Workload) -> int:
    loads = true_loads(workload.at - workload.start, workload.work_s, workload.duration_s, 60.0)
    return math.ceil(for_load(float(loads.max()), AT_PEAK))


def _spec(tried: str, config: Written, peak: int) -> PolicySpec:
    if tried == FIXED:
        return fixed_at(peak)
    return (
        policy_spec("adaptive-9") if tried == ADAPTIVE else rule_spec(configured_rule(config, None))
    )


def _run(scenario: BacktestScenario, workload: Workload, driver: Driver, initial: int) -> Plant:
    allocations = min(max(initial, scenario.min_allocations), scenario.max_allocations)
    plant = Plant(scenario, workload, allocations=allocations)
    drive(plant, driver)
    return plant


def _configuration(scenario: BacktestScenario) -> Written:
    """The operator's configuration: one rule with the SLO of the scenario."""
    return Written(
        file="rehearsal",
        tables={
            "poll_interval": "10s",
            "defaults": {
                "min_allocations": scenario.min_allocations,
                "max_allocations": scenario.max_allocations,
                "slo": {"target": scenario.slo_target, "wait": f"{scenario.slo_wait_s:g}s"},
            },
            "rules": [{"name": "all", "deployments": ["*"]}],
        },
        lines=TomlLines(""),
        aliases={},
        problems=(),
        unread=frozenset(),
        warnings=(),
        has_secrets=False,
    )


def finished(path: Path) -> list[RehearsalRow]:
    """The rows of a file; none if there is none."""
    if not path.exists():
        return []
    return [msgspec.json.decode(line, type=RehearsalRow) for line in path.read_bytes().splitlines()]


def all_rows(counts: dict[str, int], traces: Path, results: Path) -> list[RehearsalRow]:
    """The rows of all rehearsals; those that are not in the file are run, and added to it."""
    sources = find_traces([str(traces)])
    planned = [each for world in WORLDS for each in rehearsals(world, counts[world], sources)]
    done = {(row.world, row.number) for row in finished(results)}
    todo = [each for each in planned if (each.world, each.number) not in done]
    for begin in range(0, len(todo), AT_ONCE):
        rows = of_all(todo[begin : begin + AT_ONCE], rehearse, f"rehearsals from {begin}")
        with results.open("ab") as file:
            file.writelines(msgspec.json.encode(row) + b"\n" for row in rows)
    wanted = {(each.world, each.number) for each in planned}
    return [row for row in finished(results) if (row.world, row.number) in wanted]


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rehearsals", description=__doc__)
    parser.add_argument("traces", type=Path, help="the directory with the loads")
    parser.add_argument("--results", type=Path, required=True, help="where rehearsals are kept")
    parser.add_argument("--honest", type=int, default=200, help="rehearsals in the honest world")
    parser.add_argument("--other", type=int, default=200, help="in each of the other worlds")
    parser.add_argument(
        "--finished", action="store_true", help="publish those in the file, and run no others"
    )
    parser.add_argument("--document", type=Path, help="replace the section `rehearsals` of it")
    chosen = parser.parse_args(arguments)
    counts = {HONEST: chosen.honest, LOADED: chosen.other, SLOW: chosen.other}
    try:
        publish(
            lambda: section_of(
                finished(chosen.results)
                if chosen.finished
                else all_rows(counts, chosen.traces, chosen.results)
            ),
            "rehearsals",
            chosen.document,
        )
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main(sys.argv[1:])
