"""Deployments at a glance, made of the views of their decisions."""

from collections.abc import Iterable

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


def counts(views: Iterable[DeploymentView]) -> CountsView:
    """How many deployments there are of each kind."""
    views = [view for view in views if not isinstance(view, VanishedView)]
    managed = [view for view in views if isinstance(view, ManagedView)]
    return CountsView(
        managed=len(managed),
        unmanaged=len(views) - len(managed),
        dry_run=sum(view.dry_run for view in managed),
        observe_only=sum(view.observe_only is not None for view in managed),
        paused=sum(bool(view.pauses) for view in managed),
        overridden=sum(view.override is not None for view in managed),
        short=sum(view.shortfall is not None for view in managed),
    )
