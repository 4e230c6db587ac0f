"""`make bench`: what a cycle costs, as ratios within one run, and what the daemon weighs."""

from benchmarks import cycle, memory


def main() -> None:
    cycle.report()
    memory.report()


main()
