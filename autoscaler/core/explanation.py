"""A decision in words. The only place where a decision becomes prose."""

from autoscaler.core.values import Decision, Flaw, Reason, Step, Unmanaged

_SENTENCES = {
    Reason.NOT_MEASURED: "no request has been timed yet",
    Reason.TARGET_TRACKING: "load {offered_load:.2f} at {target_utilisation:.0%} needs {after}",
    Reason.STABILISATION: "{highest} was recommended within {window_s:.0f} s",
    Reason.STEP_LIMIT: "one step goes no further than {furthest}",
    Reason.BOUNDS: "bounds are {min}..{max}",
    Reason.UNTRUSTED: "held, since {flaws}",
    Reason.OVERLOAD: "{timeouts} callers gave up meanwhile",
    Reason.MAINTENANCE: "{because}",
    Reason.CAPACITY: "the cluster has refused {infeasible} for lack of capacity",
    Reason.BACK_OFF: "waiting another {wait_s:.0f} s after a refusal ({because})",
    Reason.NATIVE_SCALING: "the cluster's own adaptive allocations are on, so it is left to them",
}


_FLAWS = {
    Flaw.FIRST_SIGHT: "it is seen for the first time",
    Flaw.OVERDUE: "it was not observed for too long",
    Flaw.CLOCK: "no time has passed",
    Flaw.NOT_STARTED: "it is not started",
    Flaw.INCOMPLETE: "a node that serves did not answer",
    Flaw.NEW_NODE: "a node has just joined",
    Flaw.RESET: "a process has ended or restarted",
    Flaw.BACKWARDS: "totals have fallen",
    Flaw.CONTRADICTORY: "the answer contradicts itself",
    Flaw.IMPOSSIBLE: "more is reported than can be",
    Flaw.STALLED: "requests wait and none comes or goes",
}


_UNMANAGED = {
    Unmanaged.NO_RULE: "no rule matches it",
    Unmanaged.EXCLUDED: "a rule excludes it",
    Unmanaged.HIDDEN: "its id begins with a dot, and no rule takes hidden ones",
    Unmanaged.LOW_PRIORITY: "its priority is low, and no rule takes such",
}


def why_unmanaged(reason: Unmanaged) -> str:
    """
    >>> why_unmanaged(Unmanaged.NO_RULE)
    'left alone: no rule matches it'
    """
    return f"left alone: {_UNMANAGED[reason]}"


def explain(decision: Decision) -> str:
    """One line: the change, the recommendation, then every rule that overruled it.

    >>> from autoscaler.core.values import Sample
    >>> because = {"offered_load": 4.9, "target_utilisation": 0.7}
    >>> print(explain(Decision(
    ...     deployment_id="elser", model_id="elser", at=0.0, rule="all", dry_run=False, current=3,
    ...     minimum=1, maximum=6, sample=Sample(at=0.0, interval_s=10.0), load=None,
    ...     steps=(
    ...         Step(Reason.TARGET_TRACKING, 3, 7, because),
    ...         Step(Reason.BOUNDS, 7, 6, {"min": 1, "max": 6}),
    ...     ),
    ... )))
    elser 3 -> 6: load 4.90 at 70% needs 7; bounds are 1..6
    """
    recommendation, *limits = decision.steps
    told = [recommendation, *(step for step in limits if step.changed)]
    return f"{decision.deployment_id} {decision.current} -> {decision.desired}: " + "; ".join(
        sentence(step) for step in told
    )


def sentence(step: Step) -> str:
    """What one rule looked at.

    >>> sentence(Step(Reason.BOUNDS, 9, 8, {"min": 1, "max": 8}))
    'bounds are 1..8'
    """
    if step.reason is Reason.RECOMMENDATION:
        figures = ", ".join(f"{name} {_figure(value)}" for name, value in step.because.items())
        return f"{figures or 'the policy'} asks for {step.after}"
    if step.reason is Reason.SETTLING:
        if "state" in step.because:
            return f"its state is {step.because['state']}"
        return "{live} of {target} allocations serve so far".format(**step.because)
    because = dict(step.because)
    if step.reason is Reason.UNTRUSTED:
        flaws = str(because["flaws"]).split(", ")
        because["flaws"] = " and ".join(_FLAWS[Flaw(flaw)] for flaw in flaws)
    return _SENTENCES[step.reason].format(after=step.after, **because)


def _figure(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.3g}"
