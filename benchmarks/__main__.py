"""`make bench`: what a cycle costs, what the daemon weighs, how fast the laboratory simulates."""

from benchmarks import cycle, memory, plant


def main() -> None:
    cycle.report()
    memory.report()
    plant.report()


main()
