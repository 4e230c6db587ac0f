"""What the daemon answers over HTTP: /metrics for Prometheus, /healthz and /readyz for whatever
starts and stops it.

health   whether the loop is alive, and what it knows fresh
server   the routes, and the socket
"""

from autoscaler.adapters.admin_http.health import Health
from autoscaler.adapters.admin_http.server import AdminServer, CannotListen

__all__ = ["AdminServer", "CannotListen", "Health"]
