"""The metrics of the daemon, for Prometheus.

families          the metrics of this program: names, meaning, source of the values
cluster_families  the same for metrics that pass through what the cluster reported
slo_families      the same for the SLO, which the policy computes
cycle_metrics     the last cycle, made into metrics when it is scraped
node_labels       the label of each node
counters          counts that are kept from cycle to cycle
recorder          the Recorder that owns both, one for each cluster
daemon_metrics    the build, the configuration, the process: once for each daemon
"""

from autoscaler.adapters.prometheus.daemon_metrics import DaemonMetrics
from autoscaler.adapters.prometheus.recorder import PrometheusRecorder

__all__ = ["DaemonMetrics", "PrometheusRecorder"]
