"""The daemon at work on an emulated cluster, shown as it runs.

scenarios   the cluster and its workload
view        the display while the demo runs
comparison  the same requests with other ways of scaling
show        runs the demo and prints the comparison
"""

from autoscaler.demo.show import show

__all__ = ["show"]
