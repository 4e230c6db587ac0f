"""What each cycle observed, decided and brought about, in an SQLite file of its own.

intervals    recorded cycles as the load of deployments by intervals
recorder     the port: scheduling, messages
writer       what one thread does with the file
reader       the cycles of a file
description  where the recording is, for people
database     the tables of a file, and its checks
"""

from autoscaler.adapters.recording.database import FILE_NAME
from autoscaler.adapters.recording.description import described_recording
from autoscaler.adapters.recording.intervals import intervals_of, recorded_intervals
from autoscaler.adapters.recording.reader import RecordingUnreadable, recorded_cycles
from autoscaler.adapters.recording.recorder import CycleRecorder
from autoscaler.adapters.recording.writer import RecordingFile, RecordingLimits

__all__ = [
    "FILE_NAME",
    "CycleRecorder",
    "RecordingFile",
    "RecordingLimits",
    "RecordingUnreadable",
    "described_recording",
    "intervals_of",
    "recorded_cycles",
    "recorded_intervals",
]
