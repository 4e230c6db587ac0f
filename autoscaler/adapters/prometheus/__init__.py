"""What operators watch, for Prometheus.

families  every metric: name, meaning, where its value comes from
latest    the last cycle, made into metrics when it is asked for
counting  counts that outlive a cycle
recorder  the Recorder that owns both
"""

from autoscaler.adapters.prometheus.recorder import PrometheusRecorder

__all__ = ["PrometheusRecorder"]
