"""Runs seeds of the laboratory; see the package."""

import argparse
import random
import sys
import time

from tests.chaos.laboratory import run
from tests.chaos.settings import settings_of
from tests.chaos.shrinking import shrunk


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this seed, or begin with it")
    parser.add_argument("--seeds", type=int, default=1, help="run as many seeds")
    parser.add_argument("--cycles", type=int, default=500, help="cycles of each run, about")
    parser.add_argument("--limit", type=float, help="seconds of processor time after which it ends")
    given = parser.parse_args()
    first = random.SystemRandom().randrange(10**9) if given.seed is None else given.seed
    print(f"seeds {first} to {first + given.seeds - 1}, {given.cycles} cycles each", flush=True)
    began, cycles = time.process_time(), 0
    for number in range(given.seeds):
        spent_s = time.process_time() - began
        if given.limit is not None and spent_s > given.limit:
            print(f"ends with seed {first + number - 1} after {spent_s:.0f} s")
            break
        result = run(first + number, cycles=given.cycles)
        cycles += result.cycles
        if result.violations:
            return _report(first + number, given.cycles)
    print(f"{cycles} cycles in {time.process_time() - began:.0f} s, no violation")
    return 0


def _report(seed: int, cycles: int) -> int:
    result = run(seed, cycles=cycles)
    print(f"\nseed {seed}: {result.violations[0]}\nshrinking ...", flush=True)
    result = shrunk(result, lambda schedule: run(seed, cycles=cycles, schedule=schedule))
    settings = settings_of(seed)
    nodes = ", ".join(f"{node.processors} processors" for node in settings.scenario.nodes)
    print(f"with {len(result.schedule)} faults: {result.violations[0]}")
    print(
        f"version {settings.scenario.version}, mode {settings.mode!r}, policy {settings.policy}, "
        f"{len(settings.scenario.deployments)} deployments, nodes with {nodes}"
    )
    for scheduled in result.schedule:
        print(scheduled)
    print(f"\nmake chaos SEED={seed} CYCLES={cycles}   # runs it again")
    return 1


if __name__ == "__main__":
    sys.exit(main())
