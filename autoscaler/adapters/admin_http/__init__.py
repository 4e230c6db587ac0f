"""What the daemon answers over HTTP: /metrics for Prometheus, /healthz and /readyz for whatever
starts and stops it, /decisions for whoever asks why, /wake for whoever needs what sleeps.

health     whether the loop is alive, and what it knows fresh
document   the JSON of /decisions
decisions  the last cycle, to be told of
waking     the JSON of /wake
server     the routes, and the socket
client     the other end, for commands
"""

from autoscaler.adapters.admin_http.decisions import DecisionRecorder
from autoscaler.adapters.admin_http.health import Health
from autoscaler.adapters.admin_http.server import AdminServer, CannotListen

__all__ = ["AdminServer", "CannotListen", "DecisionRecorder", "Health"]
