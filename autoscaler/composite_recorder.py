"""Several recorders as one."""

from collections.abc import Generator

from autoscaler.core.decision import Outcome, Plan
from autoscaler.core.values import Observation
from autoscaler.in_parts import others_first
from autoscaler.ports import CycleTimes, ObservationFailed, Recorder, RecorderInParts


class CompositeRecorder:
    """A Recorder made of Recorders, in parts where they are."""

    def __init__(self, *recorders: Recorder) -> None:
        self._recorders = recorders

    def planned(
        self, observation: Observation, plan: Plan, outcomes: tuple[Outcome, ...], took: CycleTimes
    ) -> None:
        for recorder in self._recorders:
            recorder.planned(observation, plan, outcomes, took)

    def planned_in_parts(
        self, observation: Observation, plan: Plan, outcomes: tuple[Outcome, ...], took: CycleTimes
    ) -> Generator[None, None, None]:
        """See `RecorderInParts`."""
        for recorder in self._recorders:
            if isinstance(recorder, RecorderInParts):
                yield from recorder.planned_in_parts(observation, plan, outcomes, took)
            else:
                recorder.planned(observation, plan, outcomes, took)
            yield from others_first()  # a thousand deployments take each of them milliseconds

    def skipped(self, failure: ObservationFailed, at: float) -> None:
        for recorder in self._recorders:
            recorder.skipped(failure, at)
