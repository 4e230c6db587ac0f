"""The JSON of /wake, both ways: the daemon renders it, `autoscaler wake` reads it.

What is refused is told as /decisions does.
"""

from msgspec import Struct


class ResumeAccepted(Struct, frozen=True, kw_only=True):
    """The daemon has taken note, and acts in its next cycle."""

    autoscaler: str  # the daemon's version
    message: str
