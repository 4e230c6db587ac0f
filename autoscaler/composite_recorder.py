"""Several recorders as one."""

from autoscaler.core.decision import Outcome, Plan
from autoscaler.core.values import Observation
from autoscaler.ports import CycleTimes, ObservationFailed, Recorder


class CompositeRecorder:
    """A Recorder made of Recorders."""

    def __init__(self, *recorders: Recorder) -> None:
        self._recorders = recorders

    def planned(
        self, observation: Observation, plan: Plan, outcomes: tuple[Outcome, ...], took: CycleTimes
    ) -> None:
        for recorder in self._recorders:
            recorder.planned(observation, plan, outcomes, took)

    def skipped(self, failure: ObservationFailed, at: float) -> None:
        for recorder in self._recorders:
            recorder.skipped(failure, at)
