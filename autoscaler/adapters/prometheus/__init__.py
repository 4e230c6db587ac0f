"""What operators watch, for Prometheus.

families        every metric: name, meaning, where its value comes from
cycle_metrics   the last cycle, made into metrics when it is asked for
counters        counts that outlive a cycle
recorder        the Recorder that owns both, one for each cluster
daemon_metrics  the build, the configuration, the process: once for each daemon
"""

from autoscaler.adapters.prometheus.daemon_metrics import DaemonMetrics
from autoscaler.adapters.prometheus.recorder import PrometheusRecorder

__all__ = ["DaemonMetrics", "PrometheusRecorder"]
