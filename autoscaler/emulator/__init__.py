"""An emulated Elasticsearch for the tests of other programs.

    with serve(version="8.19") as cluster:
        client = Elasticsearch(cluster.url)
        ...
        cluster.advance(60)

The cluster runs in a separate thread, so that clients of any kind can be used. Its time is
virtual, and the same calls give the same history: it passes in `advance`, and while a request waits
for something, such as `_start` for its allocations. Neither takes real time.
"""

from autoscaler.emulator.serving import EmulatedCluster, serve
from autoscaler.simulation.scenario import ClusterScenarioError

__all__ = ["ClusterScenarioError", "EmulatedCluster", "serve"]
