"""The daemon's HTTP server: /metrics for Prometheus, /healthz and /readyz for probes, /decisions
for `autoscaler explain`, /resume for `autoscaler resume`.

health         whether the control loop runs, and how old its observations are
decisions      the last cycle, as the response of /decisions
resume         the JSON of /resume
cluster_pages  the pages of one cluster: /decisions and /resume
server         the socket, the metrics and the probes
client         requests to the server, for commands
"""

from autoscaler.adapters.admin_http.cluster_pages import ClusterPages
from autoscaler.adapters.admin_http.decisions import DecisionRecorder
from autoscaler.adapters.admin_http.health import Health
from autoscaler.adapters.admin_http.server import AdminServer, CannotListen

__all__ = ["AdminServer", "CannotListen", "ClusterPages", "DecisionRecorder", "Health"]
