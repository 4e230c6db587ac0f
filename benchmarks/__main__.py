"""`make bench`: the times of a cycle and a plan, the daemon's memory, the speed of back-tests."""

import argparse
import sys
from pathlib import Path

from autoscaler.errors import UserError
from benchmarks import cycle, memory, planning, plant
from benchmarks.frontier import publish

SECTIONS = {"cycle": cycle.section, "memory": memory.section, "plant": plant.section}
"""Texts by the name in the marker lines."""


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--document", type=Path, help="replace sections of this file as well")
    document = parser.parse_args(arguments).document
    planning.report()
    try:
        for name, section in SECTIONS.items():
            print()
            publish(section, name, document)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


main(sys.argv[1:])
