"""`make bench`: the time of a cycle, the memory of the daemon, the speed of back-tests."""

from benchmarks import cycle, memory, plant


def main() -> None:
    cycle.report()
    memory.report()
    plant.report()


main()
