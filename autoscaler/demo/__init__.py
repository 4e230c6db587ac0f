"""The daemon at work on an emulated cluster, to be watched.

scenes      the cluster and its load
view        what is seen while it runs
comparison  what other ways of scaling would have given on the same load
show        puts them together
"""

from autoscaler.demo.show import show

__all__ = ["show"]
