"""`python -m autoscaler` is the same as `autoscaler`."""

from autoscaler.cli import main

main()
