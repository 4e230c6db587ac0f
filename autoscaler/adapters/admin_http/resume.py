"""The JSON of POST /resume: the daemon renders it, `autoscaler resume` reads it.

Errors have the form that /decisions uses.
"""

from msgspec import Struct


class ResumeAccepted(Struct, frozen=True, kw_only=True):
    """The daemon has accepted the request, and starts the deployment in its next cycle."""

    autoscaler: str  # the daemon's version
    message: str
