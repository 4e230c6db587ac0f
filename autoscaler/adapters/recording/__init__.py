"""What each cycle observed, decided and brought about, in an SQLite file of its own.

intervals   recorded cycles as the load of deployments by intervals
reader      the cycles of a file
database    the tables of a file, and its checks
"""

from autoscaler.adapters.recording.database import FILE_NAME
from autoscaler.adapters.recording.intervals import intervals_of, recorded_intervals
from autoscaler.adapters.recording.reader import RecordingUnreadable, recorded_cycles

__all__ = [
    "FILE_NAME",
    "RecordingUnreadable",
    "intervals_of",
    "recorded_cycles",
    "recorded_intervals",
]
