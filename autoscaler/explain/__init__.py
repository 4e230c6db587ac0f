"""Why does it want that number, and why did nothing change? Asks a running daemon, changes nothing.

asking    the daemon's /decisions, over HTTP
telling   its answer, for people
"""

from autoscaler.adapters.admin_http.client import DEFAULT_URL, AdminRequestFailed
from autoscaler.explain.client import Reply, address_of, fetch, pretty
from autoscaler.explain.render import render

__all__ = ["DEFAULT_URL", "AdminRequestFailed", "Reply", "address_of", "fetch", "pretty", "render"]
