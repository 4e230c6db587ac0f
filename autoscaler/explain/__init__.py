"""The latest decisions of a running daemon, their reasons, and what has happened. Changes nothing.

client         requests the daemon's /decisions over HTTP
render         prints the response
history        the history, from the daemon or from the file of one that does not run
history_lines  prints it
status_lines   prints the status
inputs  labels and forms of what a policy has decided from
"""

from autoscaler.adapters.admin_http.client import DEFAULT_URL, AdminRequestFailed, DaemonAddress
from autoscaler.explain.client import Reply, address_of, fetch, pretty
from autoscaler.explain.render import render

__all__ = [
    "DEFAULT_URL",
    "AdminRequestFailed",
    "DaemonAddress",
    "Reply",
    "address_of",
    "fetch",
    "pretty",
    "render",
]
