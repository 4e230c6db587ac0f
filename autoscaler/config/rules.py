"""A complete scaling table and a policy -> a rule. Every rule is built here."""

from autoscaler.config.document import ScalingTable
from autoscaler.config.limits import schedules_of
from autoscaler.config.mode_settings import rollout_hours_of, safe_allocations_of, zero_of
from autoscaler.config.policies import stabilisation_window_s
from autoscaler.core.decision import Mode
from autoscaler.core.policies import AnyPolicy
from autoscaler.core.selection import OnExit, Rule


def build_rule(
    scaling: ScalingTable,
    policy: AnyPolicy,
    *,
    name: str,
    deployments: tuple[str, ...] = ("*",),
    models: tuple[str, ...] = ("*",),
    exclude: bool = False,
    dry_run: bool = False,
) -> Rule:
    """The rule of a table in which everything is set that has no default.

    Without `max_allocations` in the table, the maximum is the minimum.

    Args:
        dry_run: whether all rules are dry runs.
    """
    window_s = scaling.stabilisation_window
    mode = Mode(scaling.mode)
    return Rule(
        name=name,
        deployments=deployments,
        models=models,
        exclude=exclude,
        hidden=scaling.hidden,
        low_priority=scaling.low_priority,
        dry_run=dry_run or scaling.dry_run,
        min_allocations=scaling.min_allocations,
        max_allocations=scaling.max_allocations or scaling.min_allocations,
        policy=policy,
        stabilisation_window_s=(
            stabilisation_window_s(policy.name) if window_s is None else window_s
        ),
        growth_factor=scaling.growth_factor,
        shrink_factor=scaling.shrink_factor,
        burst_max_allocations=scaling.burst_max_allocations,
        schedules=schedules_of(scaling),
        mode=mode,
        take_over=scaling.take_over and mode is Mode.DIRECT,
        zero=zero_of(scaling),
        on_exit=OnExit(scaling.on_exit),
        safe_allocations=safe_allocations_of(scaling),
        blind_allocations=scaling.blind_allocations,
        blind_after_s=scaling.blind_after,
        external_change_hold_s=scaling.external_change_hold,
        rollout=rollout_hours_of(scaling),
    )
