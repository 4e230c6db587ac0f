"""What happened: to the deployments, the cluster and the daemon.

recorder  what is new in each cycle
levels    changes of the states of deployments, the cluster and the leadership
recent    the latest entries, in memory
history   writes to the stored history while this process has it, otherwise to memory; reads
"""

from autoscaler.adapters.history.history import History, StoredHistory
from autoscaler.adapters.history.recorder import HistoryRecorder

__all__ = ["History", "HistoryRecorder", "StoredHistory"]
