"""The status of a daemon, as lines of text."""

from collections.abc import Iterator

from autoscaler.core.units import duration_text
from autoscaler.wire.status_views import CountsView, StatusResponse


def status_lines(found: StatusResponse) -> Iterator[str]:
    """What an operator has to know first, in the order of urgency."""
    name = f"autoscaler {found.autoscaler}" + (
        f", cluster {found.cluster}" if found.cluster else ""
    )
    if found.problem:
        yield f"{name}: {'not ready' if found.alive else 'not alive'}: {found.problem}"
    else:
        yield f"{name}: ready"
    if found.reload_failure:
        first, *others = found.reload_failure.splitlines()
        more = f" (and {len(others)} more)" if others else ""
        yield f"the changed configuration is not in effect: {first}{more}"
    if found.state_saved is False:
        yield "the state is not saved, and lost if the daemon ends; its log says why"
    if found.age_s is not None:
        yield f"last observed {duration_text(found.age_s)} ago"
    if found.leadership is not None:
        if found.leadership.leads:
            yield f"this instance, {found.leadership.instance}, leads"
        else:
            leader = found.leadership.leader or "no instance"
            yield f"{leader} leads, this instance, {found.leadership.instance}, does not"
        if found.leadership.failure:
            yield f"the lease cannot be read or renewed: {found.leadership.failure}"
    if found.deployments is not None:
        yield _deployments_text(found.deployments)
    for each in found.instructions:
        yield each.message


def _deployments_text(counts: CountsView) -> str:
    parts = [
        (counts.unmanaged, "not managed"),
        (counts.dry_run, "in dry run"),
        (counts.observe_only, "observe only"),
        (counts.paused, "paused"),
        (counts.overridden, "overridden"),
        (counts.short, "with missing allocations"),
    ]
    of_these = "".join(f", {count} {text}" for count, text in parts if count)
    return f"deployments: {counts.managed} managed{of_these}"
