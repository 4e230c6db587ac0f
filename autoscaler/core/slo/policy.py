"""The policy `slo`: the allocations at which allocations and SLO violations together cost least.

For each allocation count, the fraction of late requests is predicted: for the load to expect
(`load_distribution`), with the allocations placed on the nodes (`placement`), by a queueing model
(`queueing`). The count with the lowest cost is recommended (`cost_model`). The error budget sets
the violation weight (`error_budget`).
"""

from typing import ClassVar

from msgspec.structs import replace

from autoscaler.core.forecast.forecaster import Forecaster
from autoscaler.core.next_poll import PollRequest
from autoscaler.core.policies import CostCurve, MemoryFormat, Situation, at_least_for
from autoscaler.core.slo import backlog, evidence, load_distribution
from autoscaler.core.slo.accounts import Accounts, accounts_after
from autoscaler.core.slo.arrivals import Arrivals, arrivals_at, recurring_at
from autoscaler.core.slo.backlog import BacklogModel
from autoscaler.core.slo.believed_times import believed_times, service_now
from autoscaler.core.slo.callers import CallerTimeout, caller_timeout
from autoscaler.core.slo.cost_model import CostModel
from autoscaler.core.slo.error_budget import ErrorBudget, WeightSettings, violation_weight
from autoscaler.core.slo.lateness import Lateness
from autoscaler.core.slo.memory import Backlog, SloEstimate, SloMemory
from autoscaler.core.slo.needs import FutureNeed, cheapest_now, future_need, present_need
from autoscaler.core.slo.objective import SloObjective
from autoscaler.core.slo.optional_inputs import optional_inputs, recurring_inputs, shown_counts
from autoscaler.core.slo.pacing import alert_after, next_poll
from autoscaler.core.slo.prediction import (
    Prediction,
    node_slots_now,
    prediction_of,
    queue_parameters,
)
from autoscaler.core.slo.service_time import ServiceTimeEstimate
from autoscaler.core.slo.status import Learnt, expectation_of, slo_status
from autoscaler.core.slo.violations import (
    expected_violations,
    inputs_now,
    new_violations,
    preventable_fraction,
    queue_snapshot,
)
from autoscaler.core.slo_status import SloStatus
from autoscaler.core.values import Reason, Step, Value

UNMEASURED_IDLE_S = 300.0
"""Seconds without a request after which one allocation is recommended, although no service time has
been measured yet."""

MAX_RECOMPUTE_INTERVAL_S = 60.0
"""Maximum seconds between recomputations while arrivals match the prediction. 60 s: a recomputation
costs about 0.25 ms per deployment."""

RETURN_GAP_S = 60.0
"""Seconds without a sample after which more requests than predicted count only from the second
interval on."""


class RecordedLoads(Value, frozen=True, kw_only=True):
    """Loads recorded before the first poll."""

    loads: tuple[float, ...] = ()  # mean of each `SLOT_S` seconds in erlangs, oldest first
    ends_at: float = 0.0  # Unix seconds


class SloPolicy(Value, frozen=True, kw_only=True):
    """Keeps the fraction `objective.target` of the requests within the SLO, at the lowest cost."""

    name: ClassVar[str] = "slo"
    memory_format: ClassVar[MemoryFormat] = MemoryFormat(SloMemory, 3)

    objective: SloObjective = SloObjective()
    drain_s: float = 30.0  # time in which a backlog is served
    caller_timeout_s: float | None = None  # callers give up after this queue wait; None: by use
    load_window_s: float = 60.0
    weight_settings: WeightSettings = WeightSettings()
    forecaster: Forecaster | None = Forecaster()
    history: RecordedLoads = RecordedLoads()

    def begin(self) -> SloMemory:
        """A memory that contains only the recorded loads."""
        if self.forecaster is None or not self.history.loads:
            return SloMemory()
        forecast = self.forecaster.from_history(self.history.loads, self.history.ends_at)
        return SloMemory(estimate=SloEstimate(forecast=forecast))

    def recommend(self, situation: Situation, memory: SloMemory) -> tuple[Step, SloMemory]:
        """The allocations at which allocations and SLO violations together cost least."""
        current, sample, estimate = situation.current, situation.sample, memory.estimate
        if sample.interval_s <= 0.0:
            return Step(Reason.NOT_MEASURED, current, current), memory
        arrivals = arrivals_at(situation, memory)
        if (
            situation.at - memory.at > sample.interval_s + RETURN_GAP_S
            and estimate.step is not None
            and estimate.step.before == current
            and arrivals.exceeds(estimate.rate_per_s)
        ):
            # Callers repeat their requests when the cluster returns. That passes, or the next
            # interval shows it as well.
            return estimate.step, replace(
                memory,
                at=situation.at,
                queue=queue_snapshot(situation, memory, arrivals.requests),
                window=memory.window.restarted(),
            )
        believed, requests = believed_times(situation, memory), arrivals.requests
        violations = new_violations(situation, memory)
        preventable = violations * preventable_fraction(estimate.unforeseen, situation.at)
        seen = SloMemory(
            estimate=believed.estimate,
            requests=memory.requests + requests,
            violations=memory.violations + violations,
            preventable=memory.preventable + preventable,
            timed=believed.timed,
            timed_s=believed.timed_s,
            time_s=memory.time_s + sample.interval_s,
            window=arrivals.window,
            recurrence=arrivals.recurrence,
            queue=queue_snapshot(situation, memory, requests),
            in_flight_before=memory.queue.in_flight,
            doubtful_s=believed.doubtful_s,
            at=situation.at,
        )
        if (
            arrivals.surprise is not None
            or arrivals.recurs
            or arrivals.failed_to_recur
            or estimate.step is None
            or believed.estimate is not estimate
            or estimate.step.before != current
            or estimate.running != situation.running
            or seen.time_s >= MAX_RECOMPUTE_INTERVAL_S
            or evidence.is_due(situation, estimate)
            or sample.failed
            or backlog.is_due(situation, memory, self.drain_s)
        ):
            return self._recomputed(situation, seen, arrivals)
        return estimate.step, seen

    def without_requests(self, before: SloMemory, after: SloMemory) -> SloMemory:
        """The memory before a poll, with the placement that the poll has shown.

        An increase that followed from it replaces the recommendation before: that one did not know
        the placement, and would be repeated once the allocations are again as many as then.

        Args:
            before: the memory before the poll.
            after: the one that `recommend` returned.
        """
        estimate, learnt = before.estimate, after.estimate
        if learnt.placements == estimate.placements:
            return before
        increases = learnt.step is not None and learnt.step.after > learnt.step.before
        step = learnt.step if increases else estimate.step
        return replace(before, estimate=replace(estimate, placements=learnt.placements, step=step))

    def next_poll(self, situation: Situation, memory: SloMemory) -> PollRequest | None:
        """The next poll that the deployment needs; None: the routine one is early enough.

        Args:
            memory: that `recommend` returned.
        """
        return next_poll(situation, memory)

    def cost_curve(self, situation: Situation, memory: SloMemory) -> CostCurve | None:
        """The cost of each allocation count, with the estimates of the last recomputation; None if
        there was none."""
        cost_model = self._cost_model(situation, memory)
        return None if cost_model is None else cost_model.cost

    def lateness(self, situation: Situation, memory: SloMemory) -> Lateness | None:
        """How late requests are computed for any allocation count, with the estimates of the last
        recomputation; None if there was none, or the SLO is unreachable."""
        estimate, service = memory.estimate, memory.estimate.service_time
        step = estimate.step
        if step is None or service.requests <= 0.0 or "slo_unreachable" in step.inputs:
            return None
        timeout = caller_timeout(self.caller_timeout_s, situation.callers)
        return Lateness(
            service_time_s=service.mean_s,
            max_wait=estimate.max_wait,
            # The dispersion of counts is in the count of the interval already.
            variability=(1.0 + service.scv) / 2.0,
            max_backlog_wait=timeout.seconds / service.mean_s,
        )

    def late_fraction(
        self, situation: Situation, memory: SloMemory, allocations: int
    ) -> float | None:
        """The fraction of late requests to expect with an allocation count; None: unknown."""
        cost_model = self._cost_model(situation, memory)
        if cost_model is None:
            return None
        service_time_s = memory.estimate.service_time.mean_s
        (found,) = cost_model.candidates([allocations], self.objective.target, service_time_s)
        return found.violation_fraction

    def slo_status(
        self,
        memory: SloMemory,
        desired: int,
        situation: Situation | None,
        before: SloMemory,
    ) -> SloStatus:
        """What is known of the SLO.

        Args:
            memory: after the poll.
            desired: the allocations decided on.
            situation: of the poll; None: it has shown nothing reliable.
            before: the memory before the poll.
        """
        if situation is None:
            return slo_status(self.objective.target, memory, None)
        status = slo_status(self.objective.target, memory, Learnt(situation, before, memory))
        candidates = memory.estimate.step.candidates if memory.estimate.step is not None else ()
        if not candidates or desired <= 0:
            return status
        for candidate in candidates:
            if candidate.allocations == desired:
                return replace(status, after_loading=expectation_of(candidate))
        cost_model = self._cost_model(situation, memory)
        if cost_model is None:
            return status
        service_time_s = memory.estimate.service_time.mean_s
        (predicted,) = cost_model.candidates([desired], self.objective.target, service_time_s)
        return replace(status, after_loading=expectation_of(predicted))

    def _cost_model(self, situation: Situation, memory: SloMemory) -> CostModel | None:
        """What allocations and late requests cost, with the estimates of the last recomputation;
        None if there was none."""
        estimate, service = memory.estimate, memory.estimate.service_time
        if estimate.step is None or service.requests <= 0.0:
            return None
        burstiness = max(1.0, memory.dispersion)
        recurring = recurring_at(situation, memory.recurrence)
        loads = load_distribution.predicted(estimate.mixture, service.mean_s, burstiness, recurring)
        return CostModel(
            tuple(loads.items()),
            node_slots_now(situation, estimate),
            self._weight(estimate.budget),
            queue_parameters(
                situation, service, burstiness, estimate.max_wait * service.mean_s, self.drain_s
            ),
        )

    def _recomputed(
        self, situation: Situation, seen: SloMemory, arrivals: Arrivals
    ) -> tuple[Step, SloMemory]:
        """A new recommendation, from all samples since the last recomputation."""
        current = situation.current
        service = service_now(situation, seen)
        if service.requests <= 0.0:
            if seen.requests == 0 and seen.time_s >= UNMEASURED_IDLE_S:
                return Step(Reason.SLO, current, 1, {"offered_load": 0.0}), seen
            return Step(Reason.NOT_MEASURED, current, current), seen
        return self._recommended(situation, seen, service, arrivals)

    def _recommended(
        self,
        situation: Situation,
        seen: SloMemory,
        service: ServiceTimeEstimate,
        arrivals: Arrivals,
    ) -> tuple[Step, SloMemory]:
        """The recommendation for these service times."""
        current, before = situation.current, seen.estimate
        expected = prediction_of(situation, seen, service, arrivals, self.objective, self.drain_s)
        accounts = self._accounts(situation, seen, arrivals, expected)
        weight = self._weight(accounts.budget)
        cost_model = expected.cost_model(weight)
        kept = cheapest_now(situation, seen, arrivals, expected, cost_model)
        timeout = caller_timeout(self.caller_timeout_s, situation.callers)
        to_drain = BacklogModel(
            load=expected.load,
            rate_per_s=expected.mixture.rate_per_s,
            service_time_s=expected.service_time_s,
            max_queue_wait_s=expected.max_wait_s or 0.0,
            allocations=kept.allocations,
            violation_weight=weight,
            drain_s=self.drain_s,
            caller_timeout_s=timeout.seconds,
        ).backlog(situation, seen)
        present = present_need(situation, seen, arrivals, expected, kept, to_drain)
        future = future_need(
            situation,
            seen,
            arrivals,
            expected,
            cost_model,
            present.allocations,
            self.forecaster,
        )
        allocations = max(present.allocations, future.allocations)
        inputs = self._inputs(situation, arrivals, expected, accounts, timeout, to_drain, future)
        if kept.raised_s is not None and allocations == kept.allocations:
            inputs["raised_s"] = kept.raised_s
        if expected.max_wait_s is None:
            inputs["slo_unreachable"] = "unreachable: the service time alone exceeds the latency"
        in_use = expected.node_slots.max_without_new_node
        if situation.running >= current and current < in_use < allocations:
            # A new node loads the model first, and Elasticsearch sends the other nodes their new
            # allocations only afterwards. So the nodes in use are filled first, which is immediate.
            inputs["after_new_node"] = float(allocations)
            allocations = in_use
        shown = shown_counts(situation, allocations, too_few=expected.is_too_much)
        candidates = cost_model.candidates(shown, self.objective.target, expected.service_time_s)
        if situation.missing:
            inputs |= inputs_now(situation, candidates, expected.max_wait, service)
        _, uncertain = at_least_for(situation)
        # Nothing can be expected of a load that is not measured.
        step = Step(Reason.SLO, current, allocations, inputs, () if uncertain else candidates)
        estimate = SloEstimate(
            service_time=service,
            max_wait=expected.max_wait,
            mixture=expected.mixture,
            rate_per_s=expected.mixture.rate_per_s,
            peak_per_s=arrivals.peak_per_s,
            postponed=present.postponed,
            alert=alert_after(situation, seen, arrivals, allocations),
            unforeseen=accounts.unforeseen,
            budget=accounts.budget,
            attainment=accounts.attainment,
            expected_until=accounts.expected_until,
            forecast=future.forecast_memory,
            backlog=to_drain,
            increase=kept.increase,
            running=situation.running,
            placements=before.placements
            if situation.missing
            else before.placements.after(expected.node_slots),
            step=step,
        )
        return step, SloMemory(
            estimate=estimate,
            window=seen.window,
            recurrence=seen.recurrence,
            queue=seen.queue,
            doubtful_s=seen.doubtful_s,
            at=seen.at,
        )

    def _accounts(
        self, situation: Situation, seen: SloMemory, arrivals: Arrivals, expected: Prediction
    ) -> Accounts:
        """The late requests up to this poll."""
        return accounts_after(
            situation,
            seen,
            expected.mixture.unforeseen if arrivals.exceeds(seen.estimate.rate_per_s) else 0.0,
            lambda: expected_violations(
                situation, seen, expected.node_slots, expected.parameters, expected.service_time_s
            ),
            drain_s=self.drain_s,
            allowed=1.0 - self.objective.target,
            settings=self.weight_settings,
        )

    def _weight(self, budget: ErrorBudget) -> float:
        return violation_weight(budget, 1.0 - self.objective.target, self.weight_settings)

    def _inputs(
        self,
        situation: Situation,
        arrivals: Arrivals,
        expected: Prediction,
        accounts: Accounts,
        timeout: CallerTimeout,
        to_drain: Backlog | None,
        future: FutureNeed,
    ) -> dict[str, float | str]:
        """The inputs of a step, except those that depend on the recommendation."""
        _, uncertain = at_least_for(situation)
        return {
            "offered_load": expected.load,
            **(uncertain or {"load_stddev": expected.stddev}),
            "violation_weight": self._weight(accounts.budget),
            "slo_target": self.objective.target,
            "max_queue_wait_s": expected.max_wait_s or 0.0,
            "caller_timeout_s": timeout.seconds,
            "caller_timeout_because": timeout.because,
            **optional_inputs(
                accounts.attainment,
                None if situation.carried_out else accounts.budget,
                to_drain,
                future.forecast,
                future.forecast_allocations,
                situation.max_allocations if expected.is_too_much else None,
            ),
            **recurring_inputs(
                arrivals.recurrence,
                situation.at,
                arrivals.peak_per_s * expected.service_time_s,
                future.recurring_allocations,
            ),
        }
