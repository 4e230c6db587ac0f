"""A recommendation as text: the load it is for, what the requests meet now, and why this count."""

from collections.abc import Iterator, Mapping

from autoscaler.core.units import duration_text, load_text, percent_text
from autoscaler.core.values import Candidate, Step

Inputs = Mapping[str, float | str]

LOADING_S = 60.0
"""Seconds for which missing allocations are expected although no node loads the model: nodes that
have it already add them."""


def slo_text(step: Step) -> str:
    """A recommendation of the policy slo."""
    inputs = ", ".join(_slo_inputs(step.inputs))
    texts = [*now_texts(step.inputs), _choice_text(step)]
    return f"{inputs}{': ' if inputs else ''}{'; '.join(texts)}"


def now_texts(inputs: Inputs) -> Iterator[str]:
    """What the requests meet now, while fewer allocations run than were requested.

    >>> inputs = {"running": 16.0, "requested": 24.0, "loading_nodes": 0.0, "missing_s": 300.0}
    >>> list(now_texts({**inputs, "violation_fraction_now": 0.61}))
    ['61% late now with 16 of 24 running, and no node loads the other 8']
    >>> list(now_texts({**inputs, "utilisation_now": 1.25, "loading_nodes": 1.0}))
    ['125% utilisation now with 16 of 24 running']
    """
    if "running" not in inputs:
        return
    running, requested = float(inputs["running"]), float(inputs["requested"])
    now = f"now with {running:.0f} of {requested:.0f} running"
    if (late := inputs.get("violation_fraction_now")) is not None:
        now = f"{percent_text(float(late))} late {now}"
    elif (utilisation := inputs.get("utilisation_now")) is not None:
        now = f"{percent_text(float(utilisation))} utilisation {now}"
    missing = (
        "" if can_load_all(inputs) else f", and no node loads the other {requested - running:.0f}"
    )
    yield f"{now}{missing}"


def can_load_all(inputs: Mapping[str, float | str | None]) -> bool:
    """Whether all requested allocations run, or can be expected to: nodes load the model, or the
    missing allocations were requested just now."""
    if "running" not in inputs:
        return True
    return bool(inputs["loading_nodes"]) or float(inputs["missing_s"] or 0.0) < LOADING_S


def _slo_inputs(inputs: Inputs) -> Iterator[str]:
    """
    >>> recurring = {"recurring_load": 4.5, "recurs_every_s": 300.0}
    >>> ", ".join(_slo_inputs({"offered_load": 0.2, **recurring}))
    'load 0.20, 4.50 at this time of every 5 min'
    """
    if "offered_load" in inputs:
        yield f"load {load_text(inputs)}"
    if "recurring_load" in inputs:
        every = duration_text(float(inputs["recurs_every_s"]))
        yield f"{inputs['recurring_load']:.2f} at this time of every {every}"
    if "forecast_load" in inputs:
        yield f"forecast {inputs['forecast_load']:.2f}"
    if inputs.get("backlog_requests"):
        yield f"backlog {inputs['backlog_requests']:.0f}"
    if "slo_attainment" in inputs:
        yield f"SLO attainment (24 h) {percent_text(float(inputs['slo_attainment']))}"
    if "expected_slo_attainment" in inputs:
        expected = percent_text(float(inputs["expected_slo_attainment"]))
        yield f"expected with the recommended allocations {expected}"


def _choice_text(step: Step) -> str:
    """Why the policy chose these allocations: their cost, or what took precedence over it.

    >>> from autoscaler.core.values import Reason
    >>> def candidate(allocations, fraction, cost):
    ...     return Candidate(
    ...         allocations=allocations, violation_fraction=fraction, queue_wait_s=0.1, cost=cost
    ...     )
    >>> candidates = (candidate(4, 0.029, 4.9), candidate(5, 0.006, 5.2), candidate(6, 0.001, 6.1))
    >>> _choice_text(Step(Reason.SLO, 3, 4, {}, candidates))
    '4 cost least (2.9% late)'
    >>> _choice_text(Step(Reason.SLO, 3, 5, {"after_new_node": 9.0}, candidates))
    '5 now, target 9 after a new node loads the model (0.6% late; 4 would be 2.9% late)'
    >>> _choice_text(Step(Reason.SLO, 3, 9, {"max_allocations": 4.0}, candidates))
    'at least 9 needed (2.9% late with 4, the most allowed)'
    >>> missing = {"running": 3.0, "requested": 4.0, "loading_nodes": 1.0, "missing_s": 20.0}
    >>> _choice_text(Step(Reason.SLO, 4, 4, missing, candidates))
    '4 cost least (2.9% late once all run)'
    >>> _choice_text(Step(Reason.SLO, 3, 6, {"backlog_allocations": 6}, candidates))
    '6 drain the backlog in time (0.1% late; 5 would be 0.6% late)'
    >>> _choice_text(Step(Reason.SLO, 5, 5, {}, candidates))
    'keeping 5: saving from 4 below threshold (0.6% late; 4 would be 2.9% late)'
    >>> _choice_text(Step(Reason.SLO, 5, 5, {"raised_s": 600.0}, candidates[1:]))
    '5: fewer were too few at this load 10 min ago (0.6% late)'
    >>> _choice_text(Step(Reason.SLO, 3, 5, {"recurring_allocations": 5.0}, candidates))
    '5 start a new node for the load that recurs (0.6% late; 4 would be 2.9% late)'
    >>> missing["missing_s"], missing["loading_nodes"] = 300.0, 0.0
    >>> _choice_text(Step(Reason.SLO, 5, 5, missing, candidates))
    '5 stay requested'
    >>> _choice_text(Step(Reason.SLO, 5, 8, {**missing, "backlog_allocations": 8}, candidates))
    '8 recommended'
    """
    allocations = step.after
    if not can_load_all(step.inputs) and allocations > float(step.inputs["running"]):
        # What more allocations would do is no expectation while they cannot run.
        return f"{allocations} {'stay requested' if allocations == step.before else 'recommended'}"
    candidates = {candidate.allocations: candidate for candidate in step.candidates}
    chosen, fewer = candidates.get(allocations), candidates.get(allocations - 1)
    s = "s" if allocations == 1 else ""
    cheapest = min(step.candidates, key=_cost, default=None)
    if "after_new_node" in step.inputs:
        target = step.inputs["after_new_node"]
        choice = f"{allocations} now, target {target:.0f} after a new node loads the model"
    elif "max_allocations" in step.inputs:
        most = int(step.inputs["max_allocations"])
        choice = f"at least {allocations} needed"
        if most in candidates:
            late = percent_text(candidates[most].violation_fraction)
            return f"{choice} ({late} late with {most}, the most allowed)"
    elif step.inputs.get("forecast_allocations") == allocations:
        choice = f"{allocations} start{s} a new node for the forecast"
    elif step.inputs.get("recurring_allocations") == allocations:
        choice = f"{allocations} start{s} a new node for the load that recurs"
    elif "raised_s" in step.inputs:
        raised = duration_text(float(step.inputs["raised_s"]))
        choice = f"{allocations}: fewer were too few at this load {raised} ago"
    elif cheapest is not None and chosen is not None and chosen.cost <= cheapest.cost:
        choice = f"{allocations} cost{s} least"
    elif step.inputs.get("backlog_allocations") == allocations:
        choice = f"{allocations} drain{s} the backlog in time"
    elif cheapest is not None and allocations == step.before:
        choice = f"keeping {allocations}: saving from {cheapest.allocations} below threshold"
    else:
        choice = f"{allocations} recommended"
    expected = []
    if chosen is not None:
        once = (
            " once all run" if allocations > float(step.inputs.get("running", allocations)) else ""
        )
        expected.append(f"{percent_text(chosen.violation_fraction)} late{once}")
    if fewer is not None:
        expected.append(
            f"{fewer.allocations} would be {percent_text(fewer.violation_fraction)} late"
        )
    return f"{choice} ({'; '.join(expected)})" if expected else choice


def _cost(candidate: Candidate) -> float:
    return candidate.cost
