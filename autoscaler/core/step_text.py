"""A step of a decision as text: what the policy or one constraint did, and from which inputs."""

from collections.abc import Callable, Sequence

from autoscaler.core.recommendation_text import Inputs, now_texts, slo_text
from autoscaler.core.units import bytes_text, duration_text, load_text
from autoscaler.core.values import DataIssue, Reason, Step

_STEPS = {
    Reason.NOT_MEASURED: "held: no request has been timed yet",
    Reason.POLICY_FAILED: "held: the policy failed: {error}",
    Reason.BLIND: "not measured for {blind_s}, so blind_allocations is the minimum",
    Reason.STABILISATION: "{highest} was recommended within the last {window_s}",
    Reason.BURST: "above {burst_max} only after {hold_s} of higher recommendations, now {above_s}",
    Reason.COLD_START: "held: began without a saved state, observed for {observed_s} of {hold_s}",
    Reason.GRADUAL_ROLLOUT: (
        "gradual rollout: the rule does not act now, so it has what ran before: {before}"
    ),
    Reason.BOUNDS: "bounds are {min_allocations}..{max_allocations}",
    Reason.DATA_QUALITY: "held: {issues}",
    Reason.OVERLOAD: "held: {timeouts} requests timed out in this interval",
    Reason.MAINTENANCE: "held: {reason}",
    Reason.CAPACITY: "the cluster refused {infeasible} for lack of capacity",
    Reason.ADAPTIVE_DISABLED: "held: adaptive allocations were disabled again",
    Reason.BOUNDS_COOLDOWN: "held: bounds changed {moved_s} ago, lowered at most every {pause_s}",
    Reason.UPDATE_RATE: (
        "held: {updates} updates in the last {cycles} cycles; "
        "the next when there are fewer than {limit}"
    ),
    Reason.STOPPED: "it was idle, and was stopped {since_s} ago",
    Reason.RESUME: "{reason}",
}
"""Texts that need nothing but the inputs of the step; `_TEXTS` has the others."""


_ISSUES = {
    DataIssue.FIRST_OBSERVATION: "this is the first observation",
    DataIssue.OBSERVATION_GAP: "the previous observation is too old",
    DataIssue.CLOCK: "the clock did not advance",
    DataIssue.SLOW_RESPONSE: "the cluster was too slow to respond",
    DataIssue.NOT_STARTED: "the deployment is not started",
    DataIssue.NOT_REPORTED: "a figure is not reported, or unreadable",
    DataIssue.INCOMPLETE: "statistics of a serving node are missing",
    DataIssue.NEW_NODE: "a node began to serve it",
    DataIssue.COUNTER_RESET: "a process ended or restarted",
    DataIssue.COUNTER_DECREASED: "a counter decreased, or is no longer reported",
    DataIssue.INCONSISTENT: "the statistics contradict one another",
    DataIssue.IMPLAUSIBLE: "the statistics report more work than is possible",
    DataIssue.STALLED: "requests are queued, but none arrives or completes",
}


_OF_UNKNOWN_FIGURES = frozenset({DataIssue.NOT_REPORTED, DataIssue.INCOMPLETE})
"""Issues that unknown figures have as well, if there are any."""


def step_text(step: Step) -> str:
    """The effect of one step, with its inputs.

    >>> step_text(Step(Reason.BOUNDS, 9, 8, {"min_allocations": 1, "max_allocations": 8}))
    'bounds are 1..8'
    """
    text = _text_of(step)
    if "assigned" in step.inputs:
        text = f"{_acknowledged_text(step.inputs)}; {text}"
    for method in ("next_poll", "slo_status"):
        if (error := step.inputs.get(f"{method}_error")) is not None:
            text = f"{text} ({method} of the policy failed: {error})"
    return text


def _acknowledged_text(inputs: Inputs) -> str:
    """
    >>> _acknowledged_text({"acknowledged": 4, "assigned": 8, "nodes": "es-1"})
    'node es-1 runs 4 of 8 assigned allocations'
    >>> _acknowledged_text({"acknowledged": 8, "assigned": 12, "nodes": "es-1, es-2"})
    'nodes es-1, es-2 run 8 of 12 assigned allocations'
    >>> _acknowledged_text({"acknowledged": 1, "assigned": 2, "nodes": ""})
    'its processes run 1 of 2 assigned allocations'
    """
    nodes = str(inputs["nodes"])
    if not nodes:
        subject = "its processes run"
    else:
        subject = f"nodes {nodes} run" if ", " in nodes else f"node {nodes} runs"
    return f"{subject} {inputs['acknowledged']:g} of {inputs['assigned']:g} assigned allocations"


_IN_OTHER_TEXTS = frozenset(
    {"acknowledged", "assigned", "nodes", "next_poll_error", "slo_status_error"}
)
"""Inputs of a recommendation that the text of any step shows."""


def _text_of(step: Step) -> str:
    if (text := _TEXTS.get(step.reason)) is not None:
        return text(step)
    inputs = {
        name: duration_text(value) if name.endswith("_s") and not isinstance(value, str) else value
        for name, value in step.inputs.items()
    }
    return _STEPS[step.reason].format(after=step.after, **inputs)


def _recommendation_text(step: Step) -> str:
    inputs = ", ".join(
        f"{name} {_figure(value)}"
        for name, value in step.inputs.items()
        if name not in _IN_OTHER_TEXTS
    )
    return (
        f"{inputs}: {step.after} recommended" if inputs else f"the policy recommends {step.after}"
    )


def _target_tracking_text(step: Step) -> str:
    """
    >>> inputs = {"offered_load": 20.0, "target_utilisation": 0.7}
    >>> _target_tracking_text(Step(Reason.TARGET_TRACKING, 24, 29, inputs))
    'load 20.00 at 70% needs 29'
    """
    inputs = step.inputs
    target = f"{inputs['target_utilisation']:.0%}"
    needed = f"load {load_text(inputs)} at {target} needs {step.after}"
    return "; ".join([*now_texts(inputs), needed])


def _step_limit_text(step: Step) -> str:
    bound = "no more than" if step.before > step.after else "no fewer than"
    return f"{bound} {step.inputs['furthest']} in one update"


def _schedule_text(step: Step) -> str:
    inputs = step.inputs
    if "min_allocations" in inputs:
        return f"schedule {inputs['schedule']} sets at least {inputs['min_allocations']}"
    return f"schedule {inputs['schedule']} sets at most {inputs['max_allocations']}"


def _data_quality_text(step: Step) -> str:
    """
    >>> inputs = {"issues": "not_reported, incomplete", "unknown_figures": "state"}
    >>> _data_quality_text(Step(Reason.DATA_QUALITY, 4, 4, inputs))
    'held: state is not reported, or unreadable'
    >>> _data_quality_text(Step(Reason.DATA_QUALITY, 4, 4, {"issues": "incomplete, new_node"}))
    'held: statistics of a serving node are missing and a node began to serve it'
    """
    issues = [DataIssue(issue) for issue in str(step.inputs["issues"]).split(", ")]
    texts = [_ISSUES[issue] for issue in issues]
    if "unknown_figures" in step.inputs and not _OF_UNKNOWN_FIGURES.isdisjoint(issues):
        names = str(step.inputs["unknown_figures"]).split(", ")
        are = "is" if len(names) == 1 else "are"
        others = [_ISSUES[issue] for issue in issues if issue not in _OF_UNKNOWN_FIGURES]
        texts = [*others, f"{_listed(names)} {are} not reported, or unreadable"]
    return f"held: {_listed(texts)}"


def _listed(texts: Sequence[str]) -> str:
    """
    >>> _listed(["a node began to serve it", "a counter decreased", "the clock did not advance"])
    'a node began to serve it, a counter decreased and the clock did not advance'
    """
    *others, last = texts
    return f"{', '.join(others)} and {last}" if others else last


def _settling_text(step: Step) -> str:
    inputs = step.inputs
    if "accepted" in inputs:
        ago = duration_text(float(inputs["accepted_s"]))
        return f"held: {inputs['accepted']} was accepted {ago} ago and is not visible yet"
    if "state" in inputs:
        return f"held: the deployment's state is {inputs['state']}"
    return f"held until {inputs['target']} allocations run"


def _fit_text(step: Step) -> str:
    """
    >>> inputs = {"claimed": 5, "granted": 3, "granted_to": "e5 (2)", "min_allocations": 4}
    >>> _fit_text(Step(Reason.FIT, 5, 3, inputs))
    '3 of 5 granted, below min_allocations 4, as free threads were granted to e5 (2)'
    """
    inputs = step.inputs
    below = f", below min_allocations {m}" if (m := inputs.get("min_allocations")) else ""
    error = inputs.get("cost_curve_error")
    failed = f" (the cost curve of the policy failed: {error})" if error else ""
    if "granted_to" in inputs:
        return (
            f"{inputs['granted']} of {inputs['claimed']} granted{below}, "
            f"as free threads were granted to {inputs['granted_to']}{failed}"
        )
    if "adaptive_maximum" in inputs:
        maximum = inputs["adaptive_maximum"]
        return f"adaptive allocations may have no more than {maximum}: {_memory_text(inputs)}"
    if "allocation_bytes" in inputs:
        return f"no more than {inputs['fits']} fit{below}: {_memory_text(inputs)}{failed}"
    return f"no more than {inputs['fits']} fit on the nodes{below}{failed}"


def _memory_text(inputs: Inputs) -> str:
    """
    >>> gib = 2.0**30
    >>> inputs = {"deployment": "e5", "node": "a", "allocation_bytes": 300 * 2.0**20}
    >>> print(_memory_text({**inputs, "memory_bytes": 6.5 * gib, "in_use_bytes": 6.3 * gib}))
    e5 uses 300 MiB for each allocation, and node a has 6.5 GiB for machine learning, 6.3 GiB in use
    """
    at_most = "at most " if "memory_at_most" in inputs else ""
    each, memory, in_use = [
        bytes_text(float(inputs[name]))
        for name in ("allocation_bytes", "memory_bytes", "in_use_bytes")
    ]
    uses = f"{inputs['deployment']} uses {each} for each allocation, and"
    if not inputs["node"]:
        return f"{uses} a new node would have {at_most}{memory} for machine learning"
    return (
        f"{uses} node {inputs['node']} has {at_most}{memory} for machine learning, {in_use} in use"
    )


def _adaptive_enabled_text(step: Step) -> str:
    if "again" in step.inputs:
        return "held: adaptive allocations were enabled again"
    return 'held: adaptive allocations are enabled; set take_over = true or mode = "bounds"'


def _idle_text(step: Step) -> str:
    inputs = step.inputs
    if "scaled_to_zero" in inputs:
        idle = "scaled to zero and still idle"
    else:
        idle = f"idle for {duration_text(float(inputs['idle_s']))}"
    unsafe = inputs.get("unsafe")
    return idle if unsafe is None else f"{idle}, but scale to zero is not safe: {unsafe}"


def _external_change_text(step: Step) -> str:
    """
    >>> inputs = {"from": "8", "to": "4", "at": 60.0, "ago_s": 130.0, "count": 1, "wait_s": 470.0}
    >>> _external_change_text(Step(Reason.EXTERNAL_CHANGE, 8, 4, inputs))
    'held: another writer changed it from 8 to 4, 2.2 min ago; respected for another 7.8 min'
    """
    inputs = step.inputs
    in_a_row = f", change {count} in a row" if (count := inputs["count"]) != 1 else ""
    return (
        f"held: another writer changed it from {inputs['from']} to {inputs['to']}, "
        f"{duration_text(float(inputs['ago_s']))} ago{in_a_row}; "
        f"respected for another {duration_text(float(inputs['wait_s']))}"
    )


def _back_off_text(step: Step) -> str:
    reason, wait = step.inputs["reason"], duration_text(float(step.inputs["wait_s"]))
    if reason == "retry_after":
        return f"held: waiting another {wait}, as the Retry-After of the last refusal states"
    return f"held: waiting another {wait} after {_BACK_OFFS.get(str(reason), 'a refusal')}" + (
        "" if reason in _BACK_OFFS else f" ({str(reason).replace('_', ' ')})"
    )


_BACK_OFFS = {
    "no_effect": "an update that was accepted without effect",
    "unknown": "a lost response",
}
"""What a back-off follows, where that is no refusal."""


def _override_text(step: Step) -> str:
    """
    >>> inputs = {"allocations": 8, "by": "alice", "wait_s": 3_600.0, "why": "load test"}
    >>> _override_text(Step(Reason.OVERRIDE, 3, 8, inputs))
    'overridden to 8 by alice for another 60 min: load test'
    """
    return f"overridden to {step.inputs['allocations']} {_instruction_text(step.inputs)}"


def _paused_text(step: Step) -> str:
    """
    >>> inputs = {"changes": "decreases", "by": "alice", "wait_s": 3_600.0, "why": ""}
    >>> _paused_text(Step(Reason.PAUSED, 3, 8, inputs))
    'held: decreases are paused by alice for another 60 min'
    """
    changes = step.inputs["changes"]
    paused = "paused" if changes == "everything" else f"{changes} are paused"
    return f"held: {paused} {_instruction_text(step.inputs)}"


def _instruction_text(inputs: Inputs) -> str:
    why = f": {inputs['why']}" if inputs["why"] else ""
    return f"by {inputs['by']} for another {duration_text(float(inputs['wait_s'] or 0.0))}{why}"


_TEXTS: dict[Reason, Callable[[Step], str]] = {
    Reason.SLO: slo_text,
    Reason.TARGET_TRACKING: _target_tracking_text,
    Reason.RECOMMENDATION: _recommendation_text,
    Reason.STEP_LIMIT: _step_limit_text,
    Reason.SCHEDULE: _schedule_text,
    Reason.DATA_QUALITY: _data_quality_text,
    Reason.SETTLING: _settling_text,
    Reason.FIT: _fit_text,
    Reason.ADAPTIVE_ENABLED: _adaptive_enabled_text,
    Reason.IDLE: _idle_text,
    Reason.BACK_OFF: _back_off_text,
    Reason.OVERRIDE: _override_text,
    Reason.PAUSED: _paused_text,
    Reason.EXTERNAL_CHANGE: _external_change_text,
}


def _figure(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.3g}"
