"""Why does it want that number, and why did nothing change? Asks a running daemon, changes nothing.

asking    the daemon's /decisions, over HTTP
telling   its answer, for people
"""

from autoscaler.adapters.admin_http.client import USUAL_URL, NoAnswer
from autoscaler.explain.asking import Reply, address_of, ask, pretty
from autoscaler.explain.telling import tell

__all__ = ["USUAL_URL", "NoAnswer", "Reply", "address_of", "ask", "pretty", "tell"]
