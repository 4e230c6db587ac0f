"""Gradual rollouts in the laboratory: what is so of them, and what must hold."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from unittest.mock import patch

from autoscaler.core.decision import Decision, SetAllocations, SetBounds, Setting
from autoscaler.core.rollout_status import RolloutVerdict
from autoscaler.simulation.cluster import SimulatedCluster
from autoscaler.simulation.deployment import SimulatedDeployment
from tests.chaos.invariants import Invariant, _decided, _text
from tests.chaos.trace import Cycle, Trace

HOUR_S = 600.0
"""Seconds of an hour of a rollout, so that a run has several."""

SCHEDULED = 3
"""The minimum of the schedule that some rules have."""


def short_hours() -> AbstractContextManager[object]:
    """While the hours of gradual rollouts are short."""
    return patch("autoscaler.core.rollout_hours.HOUR_S", HOUR_S)


class Rollouts:
    """What others than the daemons have set and said, and what was seen of the rollouts.

    Args:
        is_gradual: whether the rule has a rollout.
        begins: whether the rollouts begin at the first start.
        has_schedule: whether it has a schedule.
    """

    def __init__(
        self,
        cluster: SimulatedCluster,
        *,
        is_gradual: bool,
        begins: bool = False,
        has_schedule: bool = False,
    ) -> None:
        self._cluster, self._is_gradual = cluster, is_gradual
        self._has_schedule = has_schedule
        self._others: dict[str, set[Setting]] = {
            name: {setting_of(deployment)} for name, deployment in cluster.deployments.items()
        }
        self._begins = begins
        self.disk_full = False
        self._unsaved_cycles = 0  # that have ended since a state was saved
        self._is_first_start = False  # as of the last cycle
        self._may_act = set(cluster.deployments) if begins else set[str]()
        self._begun_lately = set[str]()  # since the last cycle
        self._begun_before = set[str]()  # in the last cycle, whose plan may not know it
        self._before: dict[tuple[str, str], Setting | None] = {}
        self._reverted: dict[str, float] = {}  # when first seen

    # What is so

    def others(self, name: str) -> frozenset[Setting]:
        """All that others have set for a deployment."""
        return frozenset(self._others.get(name, ())) if self._is_gradual else frozenset()

    def may_act(self, name: str) -> bool:
        """Whether its rule may have begun to act."""
        if not self._is_gradual:
            return True
        if self._is_first_start and self._is_unsaved:
            return name in self._begun_lately | self._begun_before
        return name in self._may_act

    @property
    def _is_unsaved(self) -> bool:
        """Whether the daemon knows that nothing can be saved."""
        return self.disk_full and self._unsaved_cycles > 1

    @contextmanager
    def others_change(self) -> Iterator[None]:
        """While anyone else than a daemon may change deployments."""
        before = {name: (each, setting_of(each)) for name, each in self._deployments()}
        yield
        for name, deployment in self._deployments():
            setting = setting_of(deployment)
            if name not in before:
                self._begin([name])  # when it is first seen
            if before.get(name) != (deployment, setting):
                self._others.setdefault(name, set()).add(setting)

    def _deployments(self) -> list[tuple[str, SimulatedDeployment]]:
        return list(self._cluster.deployments.items())

    def _begin(self, names: Iterable[str]) -> None:
        self._may_act.update(names)
        self._begun_lately.update(names)

    def resumed(self, name: str) -> None:
        """An operator resumes the rollout."""
        self._begin([name])
        self._reverted.pop(name, None)

    def rule_changed(self) -> None:
        self._begin(self._cluster.deployments)
        self._reverted.clear()

    def killed(self) -> None:
        """The next process may find the state of an earlier cycle, in which the rollouts did not
        wait yet because nothing could be saved."""
        if self._begins and (self.disk_full or self._unsaved_cycles):
            self._begin(self._cluster.deployments)
        self._unsaved_cycles = 0

    def lost(self) -> None:
        """The next process finds no state."""
        self._may_act.clear()
        self._begun_lately.clear()
        self._before.clear()
        self._reverted.clear()

    def unsaved(self) -> None:
        """Nothing can be saved, so that a restart may forget what has happened last."""
        self._reverted.clear()

    # What must hold

    @property
    def invariants(self) -> tuple[Invariant, ...]:
        if not self._is_gradual:
            return ()
        return (self.waits, self.returns, self.before_kept, self.stays_reverted)

    def waits(self, trace: Trace, cycle: Cycle) -> str:
        """Without a saved state, nothing is sent until an operator has resumed the rollout. Where
        the first one could not be saved, what ran before is known, and returns."""
        self._note_saved(cycle)
        for change, decision in _decided(cycle):
            assert change.then is not None
            if change.then.may_act or decision.override is not None:
                continue
            before = self._before_of(change.deployment_id, cycle) if self._begins else None
            if before is None or not self._leads_to(before, decision, least=0):
                return f"{_text(change)}, although no operator has resumed the rollout"
        return ""

    def _note_saved(self, cycle: Cycle) -> None:
        """Rollouts for which nothing could be saved at the end of the first start go on waiting."""
        if cycle.plan is None:
            return
        has_ended = self._is_first_start and not cycle.state.is_first_start
        if has_ended and self._is_unsaved:
            begun = self._begun_lately | self._begun_before
            self._may_act -= cycle.state.rollouts.keys() - begun
        self._is_first_start = cycle.state.is_first_start
        self._unsaved_cycles = self._unsaved_cycles + 1 if self.disk_full else 0
        self._begun_before, self._begun_lately = self._begun_lately, set()

    def returns(self, trace: Trace, cycle: Cycle) -> str:
        """While the rule does not act, nothing is sent that does not lead to what ran before."""
        for change, decision in _decided(cycle):
            rollout = decision.rollout
            if rollout is None or rollout.active or decision.override is not None:
                continue
            before = self._before_of(change.deployment_id, cycle)
            least = SCHEDULED if self._has_schedule else 0
            if before is None or not self._leads_to(before, decision, least=least):
                return f"{_text(change)}, although {before} ran before"
        return ""

    def _before_of(self, name: str, cycle: Cycle) -> Setting | None:
        known = cycle.state.rollouts.get(name)
        return None if known is None else known.before

    def _leads_to(self, before: Setting, decision: Decision, *, least: int) -> bool:
        """
        Args:
            least: the minimum of a schedule that may be open.
        """
        match decision.change:
            case SetAllocations(allocations=allocations):
                if before.allocations is None:
                    return False
                ends = decision.current, before.allocations, max(before.allocations, least)
                return min(ends) <= allocations <= max(ends)
            case SetBounds(minimum=minimum, maximum=maximum):
                if before.allocations is not None:
                    return False
                ends = decision.current, before.minimum, max(before.minimum, least)
                wide = max(before.maximum, minimum) if before.maximum else 0
                return min(ends) <= minimum <= max(ends) and maximum == wide
        return False

    def before_kept(self, trace: Trace, cycle: Cycle) -> str:
        """What a rollout returns to is what someone else has set, or what ran when it began."""
        for name, rollout in cycle.state.rollouts.items():
            key, before = ("", name), rollout.before
            known = self._before.get(key)
            if before is not None and before not in self._others.setdefault(name, set()):
                if known is not None:
                    return f"{name}: {before} ran before, and was {known}"
                self._others[name].add(before)
            self._before[key] = before
        return ""

    def stays_reverted(self, trace: Trace, cycle: Cycle) -> str:
        """A reverted rollout stays reverted, whatever process acts."""
        for name, since in self._reverted.items():
            rollout = cycle.state.rollouts.get(name)
            if rollout is None or rollout.verdict is not RolloutVerdict.REVERTED:
                found = "forgotten" if rollout is None else rollout.verdict
                return f"{name}: {found}, although reverted at {since:.1f} s"
        if self.disk_full or self._unsaved_cycles:
            return ""  # a restart may forget it
        for name, rollout in cycle.state.rollouts.items():
            if rollout.verdict is RolloutVerdict.REVERTED:
                self._reverted.setdefault(name, cycle.at)
        return ""


def setting_of(deployment: SimulatedDeployment) -> Setting:
    adaptive = deployment.adaptive
    if adaptive is None or not adaptive.enabled:
        return Setting(deployment.requested)
    minimum = adaptive.min_number_of_allocations or 0
    return Setting(None, minimum, adaptive.max_number_of_allocations or 0)
