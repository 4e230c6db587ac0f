"""`make bench`: the times of a cycle and a plan, the daemon's memory, the speed of back-tests."""

from benchmarks import cycle, memory, planning, plant


def main() -> None:
    cycle.report()
    planning.report()
    memory.report()
    plant.report()


main()
