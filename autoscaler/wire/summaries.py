"""Deployments at a glance."""

from collections.abc import Iterable

from autoscaler.core.decision import Decision
from autoscaler.wire.decision_views import DeploymentView, ManagedView, VanishedView
from autoscaler.wire.status_views import CountsView, DeploymentSummary


def summary(view: DeploymentView) -> DeploymentSummary:
    """One deployment at a glance."""
    if not isinstance(view, ManagedView):
        return DeploymentSummary(
            deployment=view.deployment,
            status="vanished" if isinstance(view, VanishedView) else "unmanaged",
            message=view.message,
        )
    load, slo = view.load, view.slo
    return DeploymentSummary(
        deployment=view.deployment,
        status="managed",
        message=view.message,
        model=view.model,
        rule=view.rule,
        mode=view.mode,
        dry_run=view.dry_run,
        observe_only=view.observe_only is not None,
        running=view.running,
        requested=view.requested,
        recommended=view.recommended,
        desired=view.desired,
        min_allocations=view.min_allocations,
        max_allocations=view.max_allocations,
        offered_load=None if load is None else load.offered_load,
        arrival_rate_per_s=None if load is None else load.arrival_rate_per_s,
        slo_target=None if slo is None else slo.target,
        slo_attainment=None if slo is None else slo.attainment,
        budget_left=None if slo is None else slo.budget_left,
        reason=view.reason,
        outcome=view.outcome.kind,
        paused=bool(view.pauses),
        overridden=None if view.override is None else view.override.allocations,
        unchanged_because=view.unchanged_because,
    )


def counts(decisions: Iterable[Decision], unmanaged: int) -> CountsView:
    """How many deployments there are of each kind."""
    managed = list(decisions)
    return CountsView(
        managed=len(managed),
        unmanaged=unmanaged,
        dry_run=sum(decision.dry_run for decision in managed),
        observe_only=sum(decision.observe_only is not None for decision in managed),
        paused=sum(bool(decision.pauses) for decision in managed),
        overridden=sum(decision.override is not None for decision in managed),
        short=sum(decision.shortfall is not None for decision in managed),
    )
