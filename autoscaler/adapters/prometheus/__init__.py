"""The metrics of the daemon, for Prometheus.

families        every metric: its name, its meaning, the source of its value
cycle_metrics   the last cycle, made into metrics when it is scraped
counters        counts that are kept from cycle to cycle
recorder        the Recorder that owns both, one for each cluster
daemon_metrics  the build, the configuration, the process: once for each daemon
"""

from autoscaler.adapters.prometheus.daemon_metrics import DaemonMetrics
from autoscaler.adapters.prometheus.recorder import PrometheusRecorder

__all__ = ["DaemonMetrics", "PrometheusRecorder"]
