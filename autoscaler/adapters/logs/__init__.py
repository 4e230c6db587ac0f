"""The daemon's log, on standard error.

setup     the stream, the format of a line, lines of libraries
output    the stream that is written without blocking
rates     lines of one kind at a bounded rate
console   lines for operators: time, level, sentence, then the fields that matter
ecs       lines in the Elastic Common Schema
recorder  the Recorder that writes the changes of each cycle
"""

from autoscaler.adapters.logs.output import QueuedStream
from autoscaler.adapters.logs.recorder import LogRecorder
from autoscaler.adapters.logs.setup import configure

__all__ = ["LogRecorder", "QueuedStream", "configure"]
