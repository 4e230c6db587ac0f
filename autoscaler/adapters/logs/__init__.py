"""What the daemon writes to standard error.

setup     the stream, the form of a line, the libraries' lines
ecs       lines in the Elastic Common Schema
recorder  the Recorder that writes what is new in each cycle
"""

from autoscaler.adapters.logs.recorder import LogRecorder
from autoscaler.adapters.logs.setup import configure

__all__ = ["LogRecorder", "configure"]
