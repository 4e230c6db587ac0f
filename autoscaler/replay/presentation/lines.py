"""The policies of one deployment as lines of a table, the same wherever they are shown."""

from collections.abc import Collection, Iterator

from msgspec import Struct

from autoscaler.replay.presentation.figures import (
    attainment_with_interval,
    hours_text,
    hours_with_interval,
    percent_with_interval,
    signed_hours,
)
from autoscaler.replay.results import DeploymentReplay, Estimate, PolicyResult, ReplayResults
from autoscaler.replay.totals import hours_difference, meets

HEADINGS = ("", "allocation-hours", "difference", "late requests", "SLO", "max.", "changes")

UNKNOWN = "unknown"


class PolicyLine(Struct, frozen=True, kw_only=True):
    """One way of scaling. The cells are plain text, in the order of `HEADINGS`."""

    cells: tuple[str, ...]
    is_recorded: bool = False
    is_rule: bool = False
    meets: bool | None  # None: unknown, as there is no verdict
    hours: Estimate
    late: Estimate
    attainment: str


def policy_lines(replayed: DeploymentReplay) -> Iterator[PolicyLine]:
    """What really ran, and then the policies, the operator's rule first."""
    observed = replayed.observed
    yield _line(observed, replayed, "", is_recorded=True)
    if replayed.has_verdict:
        for index, each in enumerate(replayed.policies):
            difference = signed_hours(hours_difference(each, observed))
            yield _line(each, replayed, difference, is_rule=index == 0)


def shared_assumptions(results: ReplayResults) -> tuple[str, ...]:
    """The assumptions of all of several deployments, which are shown once."""
    first, *others = results.deployments or (None,)
    if first is None or not others:
        return ()
    return tuple(
        each for each in first.assumptions if all(each in other.assumptions for other in others)
    )


def own_assumptions(replayed: DeploymentReplay, shared: Collection[str]) -> tuple[str, ...]:
    """The assumptions of a deployment that are not those of all."""
    return tuple(each for each in replayed.assumptions if each not in shared)


def simulation_text(replayed: DeploymentReplay) -> str:
    """How well the simulation of what really ran agrees with what was observed."""
    observed, simulated = replayed.observed, replayed.simulated
    return (
        f"The simulation of what really ran: {hours_with_interval(simulated.hours)} "
        f"allocation-hours, observed {hours_text(observed.hours.value)}; "
        f"{percent_with_interval(simulated.late_fraction)} late, observed "
        f"{percent_with_interval(observed.late_fraction)}."
    )


def _line(
    result: PolicyResult,
    replayed: DeploymentReplay,
    difference: str,
    *,
    is_recorded: bool = False,
    is_rule: bool = False,
) -> PolicyLine:
    met = meets(result, replayed.slo_target) if replayed.has_verdict else None
    return PolicyLine(
        cells=(
            result.title,
            hours_with_interval(result.hours),
            difference,
            percent_with_interval(result.late_fraction),
            UNKNOWN if met is None else "met" if met else "missed",
            str(result.max_allocations),
            f"{result.changes:,}",
        ),
        is_recorded=is_recorded,
        is_rule=is_rule,
        meets=met,
        hours=result.hours,
        late=result.late_fraction,
        attainment=attainment_with_interval(result.late_fraction),
    )
