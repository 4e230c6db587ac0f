"""Runs seeds of the laboratory; see the package."""

import argparse
import random
import sys
import time
from typing import Any

from tests.chaos.group import run_group
from tests.chaos.group_schedule import group_settings_of
from tests.chaos.laboratory import run
from tests.chaos.settings import settings_of
from tests.chaos.shrinking import shrunk


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this seed, or begin with it")
    parser.add_argument("--seeds", type=int, default=1, help="run as many seeds")
    parser.add_argument("--cycles", type=int, default=500, help="cycles of each run, about")
    parser.add_argument("--limit", type=float, help="seconds of processor time after which it ends")
    parser.add_argument(
        "--several", action="store_true", help="several processes, of which one acts"
    )
    given = parser.parse_args()
    run_seed = run_group if given.several else run
    first = random.SystemRandom().randrange(10**9) if given.seed is None else given.seed
    print(f"seeds {first} to {first + given.seeds - 1}, {given.cycles} cycles each", flush=True)
    began, cycles = time.process_time(), 0
    for number in range(given.seeds):
        spent_s = time.process_time() - began
        if given.limit is not None and spent_s > given.limit:
            print(f"ends with seed {first + number - 1} after {spent_s:.0f} s")
            break
        result = run_seed(first + number, cycles=given.cycles)
        cycles += result.cycles
        if result.violations:
            return _report(first + number, given.cycles, several=given.several)
    print(f"{cycles} cycles in {time.process_time() - began:.0f} s, no violation")
    return 0


def _report(seed: int, cycles: int, *, several: bool) -> int:
    run_seed: Any = run_group if several else run
    result = run_seed(seed, cycles=cycles)
    print(f"\nseed {seed}: {result.violations[0]}\nshrinking ...", flush=True)
    result = shrunk(result, lambda schedule: run_seed(seed, cycles=cycles, schedule=schedule))
    settings = settings_of(seed)
    nodes = ", ".join(f"{node.processors} processors" for node in settings.scenario.nodes)
    print(f"with {len(result.schedule)} faults: {result.violations[0]}")
    print(
        f"version {settings.scenario.version}, mode {settings.mode!r}, policy {settings.policy}, "
        f"{len(settings.scenario.deployments)} deployments, nodes with {nodes}"
    )
    if several:
        group = group_settings_of(seed)
        lease = "a lease" if group.lease else "the lock of their directory"
        where = "one host" if group.one_host else "a host each"
        where += ", with the state in the cluster" if group.in_index else ""
        print(f"{group.count} processes with {lease} on {where}, on_exit {group.on_exit!r}")
    for scheduled in result.schedule:
        print(scheduled)
    which = " SEVERAL=1" if several else ""
    print(f"\nmake chaos SEED={seed} CYCLES={cycles}{which}   # runs it again")
    return 1


if __name__ == "__main__":
    sys.exit(main())
