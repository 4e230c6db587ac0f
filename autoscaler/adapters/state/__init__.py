"""The state between cycles, in one SQLite file, or in documents that all instances can reach.

document_state  the port, in documents
store           the port, in the file: scheduling, time-outs, messages
session         what one thread does with the file
reading         the history in the file, read without taking the state
restore         what a file contains that can be used now
opening         the checks of the file, and what happens to a damaged one
database        the tables of an open file
description     where the state is, for people
history         the history in an open database, within its limits
stopped_copy    a copy of what must not be lost
mounts          whether a directory outlives the process
lock            one process at a time
former_file     the file in which earlier releases recorded stopped deployments
"""

from autoscaler.adapters.state.description import (
    described,
    described_documents,
    readable_stopped,
    readable_stopped_documents,
)
from autoscaler.adapters.state.document_state import DocumentStateStore
from autoscaler.adapters.state.former_file import FormerFile, FormerFileUnreadable
from autoscaler.adapters.state.history import HistoryLimits
from autoscaler.adapters.state.mounts import outlives_the_process
from autoscaler.adapters.state.reading import FileHistory, HistoryUnreadable
from autoscaler.adapters.state.stopped_copy import FILE_NAME, recorded_stopped
from autoscaler.adapters.state.store import SqliteStore, StoreStatus

__all__ = [
    "FILE_NAME",
    "DocumentStateStore",
    "FileHistory",
    "FormerFile",
    "FormerFileUnreadable",
    "HistoryLimits",
    "HistoryUnreadable",
    "SqliteStore",
    "StoreStatus",
    "described",
    "described_documents",
    "outlives_the_process",
    "readable_stopped",
    "readable_stopped_documents",
    "recorded_stopped",
]
