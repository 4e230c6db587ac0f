"""When the requested allocations of a record changed."""

import numpy as np

from autoscaler.replay.record import DeploymentRecord, Floats


def change_instants(record: DeploymentRecord, phase: float = 0.5) -> Floats:
    """When the requested allocations changed within each interval; nan: they did not.

    The daemon changes them just after a poll: at the beginning, if the interval before ends with a
    decision for that number. Another writer, such as adaptive allocations, does at some time within
    the interval, which the record does not show.

    Args:
        phase: that time, as a fraction of the interval.
    """
    changed = np.diff(record.requested, prepend=record.requested[:1]) != 0
    begins, lengths_s = record.edges[:-1], record.lengths_s
    decided = np.zeros(len(changed), dtype=bool)
    for place in np.flatnonzero(changed).tolist():
        before = record.intervals[place - 1]
        decided[place] = (
            before is not None
            and before.outcome == "accepted"
            and before.desired == record.requested[place]
        )
    instants: Floats = np.where(
        changed, np.where(decided, begins, begins + phase * lengths_s), np.nan
    )
    return instants
