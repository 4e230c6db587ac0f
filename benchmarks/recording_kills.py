"""Kills processes that record, at random points, and reads what they leave.

`python -m benchmarks.recording_kills --count 500` prints a summary, and fails if a file cannot be
read, or lacks more than the cycle that was being written.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
from pathlib import Path

from msgspec import Struct

from autoscaler.adapters.recording import (
    FILE_NAME,
    RecordingFile,
    RecordingLimits,
    recorded_cycles,
    writer,
)
from autoscaler.core.values import DeploymentStats, NodeStats
from autoscaler.wire.recording import RecordedCycle

DEPLOYMENTS, NODES = 20, 3
MAX_CYCLES = 60
"""Cycles after which a process is killed at the latest. 60, of which a dozen close a block."""

BLOCK_BYTES = 4_000
"""The size at which blocks are closed here, so that kills hit that too."""

LIMITS = RecordingLimits(1e9, 400_000)


class Kills(Struct, frozen=True, kw_only=True):
    """What the kills have done."""

    count: int
    lost: int  # of the processes: the cycle that was being written is not in the file
    kept: int  # of the processes: it is in the file, although the process could not say so
    cycles: int  # in the file at the end


class Violation(Exception):
    """A file lacks more than one cycle, or cannot be read."""


def kill_repeatedly(directory: Path, count: int, seed: int) -> Kills:
    """
    Raises:
        Violation: see there.
    """
    dice = random.Random(seed)
    path = directory / FILE_NAME
    lost = kept = 0
    at, last = 1_000.0, 0.0
    for number in range(count):
        acknowledged = _run_and_kill(directory, at, dice)
        # Blocks of earlier processes have been read before; those of this one decide.
        found = [cycle.at for cycle in recorded_cycles(path, last, 1e12, warn=_refuse)]
        found = [each for each in found if each >= at]
        expected = [at + place for place in range(len(found))]
        if found != expected or not acknowledged <= len(found) <= acknowledged + 1:
            raise Violation(
                f"kill {number}: {acknowledged} cycles were written, and {len(found)} are in "
                f"the file: {found[:3]}..."
            )
        kept += len(found) > acknowledged
        lost += len(found) == acknowledged
        if found:
            last = found[-1]
        at += MAX_CYCLES + 10
    cycles = sum(1 for _ in recorded_cycles(path, 0.0, 1e12, warn=_refuse))
    return Kills(count=count, lost=lost, kept=kept, cycles=cycles)


def _refuse(message: str) -> None:
    raise Violation(message)


def _run_and_kill(directory: Path, at: float, dice: random.Random) -> int:
    """Cycles that a process has written when it is killed, at a random point of the next one."""
    reading, writing = os.pipe()
    wanted, pause = dice.randrange(MAX_CYCLES), dice.randrange(20_000)
    child = os.fork()
    if not child:
        os.close(reading)
        try:
            _record(directory, at, writing)
        finally:
            os._exit(1)
    os.close(writing)
    acknowledged = 0
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        while acknowledged < wanted and pipe.read(1):
            acknowledged += 1
        for _ in range(pause):  # so that the kill may hit any instruction of the next cycles
            pass
        os.kill(child, signal.SIGKILL)
        acknowledged += len(pipe.read())
    os.waitpid(child, 0)
    return acknowledged


def _record(directory: Path, at: float, acknowledgements: int) -> None:
    """Write cycles as fast as possible, with one byte for each that is written."""
    writer.MAX_BLOCK_BYTES = BLOCK_BYTES
    file = RecordingFile(directory, LIMITS)
    dice = random.Random(at)
    counts = [[0] * NODES for _ in range(DEPLOYMENTS)]
    for place in range(MAX_CYCLES):
        deployments = {}
        for number, totals in enumerate(counts):
            nodes = []
            for node in range(NODES):
                totals[node] += dice.randrange(1_000)
                nodes.append(
                    NodeStats(f"n{node}", "started", completed=totals[node], allocations=2)
                )
            name = f"model-{number}"
            deployments[name] = DeploymentStats(name, name, "started", nodes=tuple(nodes))
        file.write(RecordedCycle(at=at + place, poll_interval_s=1.0, deployments=deployments))
        os.write(acknowledgements, b".")
    signal.pause()


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as directory:
        try:
            found = kill_repeatedly(Path(directory), given.count, given.seed)
        except Violation as violation:
            sys.exit(f"error: {violation}")
    print(
        f"{found.count} processes were killed; {found.lost} lost the cycle that they were writing, "
        f"{found.kept} did not; no file was unreadable; {found.cycles} cycles are left"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
