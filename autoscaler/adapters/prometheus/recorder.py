"""Cycles recorded for Prometheus."""

from collections.abc import Iterator, Mapping
from typing import Protocol

from prometheus_client import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from autoscaler.adapters.prometheus import families, shadow_families, slo_families
from autoscaler.adapters.prometheus.counters import (
    Histogram,
    LabelledCounter,
    histogram_family,
)
from autoscaler.adapters.prometheus.cycle_metrics import collect_cycle, family
from autoscaler.adapters.prometheus.node_labels import NodeLabels
from autoscaler.core.decision import NOT_SENT, CompletedRollout, Outcome, OutcomeKind, Plan
from autoscaler.core.next_poll import PollCause
from autoscaler.core.shadow import ShadowTotals
from autoscaler.core.slo_status import SloStatus
from autoscaler.core.state import FORGET_AFTER_S
from autoscaler.core.values import DataIssue, Observation, Reason
from autoscaler.ports import (
    Clock,
    ClusterChangeKind,
    CycleTimes,
    FailureKind,
    Leadership,
    ObservationFailed,
)
from autoscaler.shared_labels import Labels, SharedLabels
from autoscaler.text import label

CYCLE_BUCKETS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds in seconds: from the plan of one deployment to a very slow cluster."""

LEAD_TIME_BUCKETS_S = (5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
"""Upper bounds in seconds: from a process that changes its threads, 5 s, to a large model on new
hardware, 30 min."""

MAX_DEPLOYMENTS_PER_NODE = 200
"""Deployments up to which the metrics of each of them on each node are exported by default. On
three nodes, these are half of the series: 11,400 of 24,400, which take 0.1 s to render."""

STALE_AFTER_S = 300.0
"""Seconds after which an observation is no longer exported. 5 min, as Prometheus itself considers a
sample stale after that."""


class _Counts:
    """The counts of one deployment."""

    def __init__(self) -> None:
        self.seen_at = 0.0
        self.decisions: LabelledCounter[Reason] = LabelledCounter()
        self.updates: LabelledCounter[OutcomeKind] = LabelledCounter()
        self.issues: LabelledCounter[DataIssue] = LabelledCounter()
        self.external_changes = 0
        self.slo_requests = 0
        self.slo_late_requests = 0.0
        self.has_slo = False
        self.shadow: ShadowTotals | None = None  # None: it has not been in dry run
        self.last_update: tuple[OutcomeKind, float] | None = None
        self.unknown: LabelledCounter[str] = LabelledCounter()  # observations, by cause
        self.lead_times: dict[bool, Histogram] = {}  # by whether a process had to start

    def no_effect(self) -> None:
        """The last update was accepted, and is not in effect."""
        self.updates.add(OutcomeKind.NO_EFFECT)
        if self.last_update is not None:
            self.last_update = (OutcomeKind.NO_EFFECT, self.last_update[1])

    def add_shadow(self, latest: ShadowTotals) -> None:
        """What one cycle of a dry run adds."""
        self.shadow = latest if self.shadow is None else self.shadow.plus(latest)

    def add(self, slo: SloStatus) -> None:
        """The requests of one cycle."""
        self.has_slo = True
        self.slo_requests += slo.requests
        self.slo_late_requests += slo.late_requests


class _ShownLabels:
    """The labels with that of the cluster. Ids and names, which are labels too, may contain any
    characters."""

    def __init__(self, cluster: str) -> None:
        self._first = {"cluster": cluster} if cluster else {}

    def of(self, labels: Labels) -> Labels:
        return labels.shown(self._made) if isinstance(labels, SharedLabels) else self._made(labels)

    def _made(self, labels: Labels) -> Labels:
        return self._first | {name: label(text) for name, text in labels.items()}


class KeptState(Protocol):
    @property
    def saved(self) -> bool | None:
        """Whether the state is saved; None: it does not have to be."""


class PrometheusRecorder(Collector):
    """A Recorder that exports the cycles of one cluster, once a registry collects it.

    Args:
        cluster: the label `cluster` of every metric; empty where there is one cluster only, whose
            metrics have no such label.
    """

    def __init__(self, clock: Clock, cluster: str = "") -> None:
        self._clock = clock
        self._cluster = cluster
        self.leadership: Leadership | None = None  # None: this is the only instance
        self.state: KeptState | None = None
        self.per_node: bool | None = None  # None: by the number of deployments
        self._latest: tuple[Observation, Plan, tuple[Outcome, ...]] | None = None
        self._node_labels = NodeLabels()
        self._observed_at = clock.now()
        self._up: bool | None = None
        self._deployments: dict[str, _Counts] = {}
        self._cycles = {"completed": 0, "skipped": 0}
        self._due = PollCause.ROUTINE  # why the next poll is due when it is
        self._polls = dict.fromkeys(PollCause, 0)
        self._changes = dict.fromkeys(ClusterChangeKind, 0)
        self._failures = dict.fromkeys(FailureKind, 0)
        self._durations = {part: Histogram(CYCLE_BUCKETS_S) for part in ("observe", "plan", "act")}

    def planned(
        self, observation: Observation, plan: Plan, outcomes: tuple[Outcome, ...], took: CycleTimes
    ) -> None:
        self._latest = (observation, plan, outcomes)
        self._observed_at, self._up = observation.at, True
        self._cycles["completed"] += 1
        self._polls[self._due] += 1
        self._due = PollCause.ROUTINE if plan.next_poll is None else plan.next_poll.cause
        self._durations["observe"].observe(took.observe_s)
        self._durations["plan"].observe(took.plan_s)
        self._durations["act"].observe(took.act_s)
        for outcome in outcomes:
            self._count(outcome)
        for decision in plan.decisions:
            if decision.slo is not None:
                self._of(decision.deployment_id).add(decision.slo)
            if decision.shadow is not None:
                self._of(decision.deployment_id).add_shadow(decision.shadow.latest)
        for change in plan.external_changes:
            self._of(change.deployment_id).external_changes += 1
        for found in plan.no_effect:
            self._of(found.deployment_id).no_effect()
        for rollout in plan.completed_rollouts:
            self._count_rollout(rollout)
        self._count_unknown_figures(observation, plan)
        self._forget(observation)

    def cluster_changed(self, kind: ClusterChangeKind) -> None:
        """The cluster at the address differs from before."""
        self._changes[kind] += 1

    def skipped(self, failure: ObservationFailed, at: float) -> None:
        self._up = False
        self._cycles["skipped"] += 1
        self._due = PollCause.ROUTINE
        self._failures[failure.kind] += 1
        for outcome in failure.outcomes:
            self._count(outcome)

    def describe(self) -> Iterator[Metric]:
        nothing = Observation(at=0.0, deployments={})
        yield from collect_cycle(nothing, Plan(at=0.0, decisions=()), (), {}, per_node=True)
        yield from self._of_deployments({})
        yield from self._of_the_loop()

    def collect(self) -> Iterator[Metric]:
        shown = _ShownLabels(self._cluster)
        for metric in self._collect():
            metric.samples = [
                Sample(sample.name, shown.of(sample.labels), sample.value)
                for sample in metric.samples
            ]
            yield metric

    def _collect(self) -> Iterator[Metric]:
        if self._latest is not None and self._age_s() <= STALE_AFTER_S:
            observation, plan, outcomes = self._latest
            yield from collect_cycle(
                observation,
                plan,
                outcomes,
                self._node_labels.of(observation),
                per_node=self._has_nodes(observation),
            )
        yield from self._of_deployments(dict(self._deployments))
        yield from self._of_the_loop()

    def _has_nodes(self, observation: Observation) -> bool:
        if self.per_node is None:
            return len(observation.deployments) <= MAX_DEPLOYMENTS_PER_NODE
        return self.per_node

    def _count(self, outcome: Outcome) -> None:
        decision = outcome.decision
        counts = self._of(decision.deployment_id)
        counts.decisions.add(decision.reason)
        if outcome.kind is not OutcomeKind.UNCHANGED:
            counts.updates.add(outcome.kind)
        if outcome.kind not in NOT_SENT:
            counts.last_update = (outcome.kind, outcome.at)
        for issue in decision.sample.issues:
            counts.issues.add(issue)

    def _count_unknown_figures(self, observation: Observation, plan: Plan) -> None:
        if not observation.unknown_figures and not observation.unreadable_figures:
            return
        needed = {d.deployment_id for d in plan.decisions} & observation.unknown_figures.keys()
        for deployment_id in {*observation.unknown_figures, *observation.unreadable_figures}:
            figures = "needed" if deployment_id in needed else "other"
            self._of(deployment_id).unknown.add(figures)

    def _count_rollout(self, rollout: CompletedRollout) -> None:
        by_new_node = self._of(rollout.deployment_id).lead_times
        if rollout.new_node not in by_new_node:
            by_new_node[rollout.new_node] = Histogram(LEAD_TIME_BUCKETS_S)
        by_new_node[rollout.new_node].observe(rollout.lead_time_s)

    def _of(self, deployment_id: str) -> _Counts:
        counts = self._deployments.get(deployment_id)
        if counts is None:
            counts = self._deployments[deployment_id] = _Counts()
        return counts

    def _forget(self, observation: Observation) -> None:
        for deployment_id, counts in list(self._deployments.items()):
            if deployment_id in observation.deployments:
                counts.seen_at = observation.at
            elif observation.at - counts.seen_at > FORGET_AFTER_S:
                del self._deployments[deployment_id]

    def _age_s(self) -> float:
        return max(0.0, self._clock.now() - self._observed_at)

    def _of_deployments(self, deployments: Mapping[str, _Counts]) -> Iterator[Metric]:
        each = [(SharedLabels({"deployment": id_}), counts) for id_, counts in deployments.items()]
        yield family(
            families.DECISIONS,
            [
                ({**own, "reason": str(reason)}, float(count))
                for own, counts in each
                for reason, count in counts.decisions.items()
            ],
        )
        yield family(
            families.UPDATES,
            [
                ({**own, "outcome": str(kind)}, float(count))
                for own, counts in each
                for kind, count in counts.updates.items()
            ],
        )
        yield family(
            families.LAST_UPDATE_AT,
            [
                ({**own, "outcome": str(last[0])}, last[1])
                for own, counts in each
                if (last := counts.last_update) is not None
            ],
        )
        with_slo = [(own, counts) for own, counts in each if counts.has_slo]
        yield family(
            slo_families.REQUESTS, [(own, float(counts.slo_requests)) for own, counts in with_slo]
        )
        yield family(
            slo_families.LATE_REQUESTS,
            [(own, counts.slo_late_requests) for own, counts in with_slo],
        )
        dry = [(own, counts.shadow) for own, counts in each if counts.shadow is not None]
        for counter, value_of in shadow_families.COUNTERS:
            yield family(counter, [(own, value_of(totals)) for own, totals in dry])
        yield family(
            families.SAMPLE_ISSUES,
            [
                ({**own, "issue": str(issue)}, float(count))
                for own, counts in each
                for issue, count in counts.issues.items()
            ],
        )
        yield family(
            families.EXTERNAL_CHANGES,
            [(own, float(counts.external_changes)) for own, counts in each],
        )
        yield family(
            families.UNKNOWN_FIGURES,
            [
                ({**own, "figures": figures}, float(count))
                for own, counts in each
                for figures, count in counts.unknown.items()
            ],
        )
        yield histogram_family(
            families.LEAD_TIME,
            [
                ({**own, "new_node": str(new_node).lower()}, histogram)
                for own, counts in each
                for new_node, histogram in list(counts.lead_times.items())
            ],
        )

    def _of_the_loop(self) -> Iterator[Metric]:
        yield family(families.UP, [] if self._up is None else [({}, float(self._up))])
        leads = self.leadership is None or self.leadership.leads()
        yield family(families.LEADER, [({}, float(leads))])
        saved = None if self.state is None else self.state.saved
        yield family(families.STATE_SAVED, [] if saved is None else [({}, float(saved))])
        yield family(families.OBSERVATION_AGE, [({}, self._age_s())])
        yield family(families.CYCLES, [({"result": r}, float(n)) for r, n in self._cycles.items()])
        yield family(
            families.POLLS,
            [({"cause": str(cause)}, float(count)) for cause, count in self._polls.items()],
        )
        yield family(
            families.CLUSTER_CHANGES,
            [({"kind": str(kind)}, float(count)) for kind, count in self._changes.items()],
        )
        yield family(
            families.OBSERVATION_FAILURES,
            [({"kind": str(kind)}, float(count)) for kind, count in self._failures.items()],
        )
        yield histogram_family(
            families.CYCLE_DURATION,
            [({"part": part}, histogram) for part, histogram in self._durations.items()],
        )
