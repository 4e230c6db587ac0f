"""The inputs of a policy, and the SLO, as rows of labels and texts."""

from collections.abc import Iterator, Mapping

from autoscaler.core.units import duration_text, percent_text, quantile_text
from autoscaler.wire.decision_views import ExpectationView, Figure, ManagedView

_INPUT_LABELS = {
    "violation_weight": ("SLO-violation weight", "{} allocations per erlang"),
    "slo_target": ("SLO target", "{}"),
    "max_queue_wait_s": ("max queue wait", "{}"),
    "caller_timeout_s": ("caller timeout", "{}"),
    "slo_attainment": ("SLO attainment (24 h)", "{}"),
    "preventable_fraction": ("preventable late requests", "{} of them"),
    "slo_unreachable": ("SLO", "{}"),
    "expected_slo_attainment": ("expected SLO attainment", "{}"),
    "queue_wait_now_s": ("queue wait now", "{}"),
    "utilisation_now": ("utilisation now", "{}"),
    "raised_s": ("since fewer were too few", "{}"),
    "backlog_requests": ("backlog", "{} requests"),
    "backlog_allocations": ("needed for the backlog", "{} allocations"),
    "recurs_every_s": ("load recurs", "every {}"),
    "recurring_load": ("expected at this time", "{} erlangs"),
    "recurring_change_in_s": ("load changes next", "in {}"),
    "recurring_allocations": ("needed when it recurs", "{} allocations"),
    "forecast_trusted": ("forecast is trusted", "{}"),
    "forecast_load": ("forecast", "{} erlangs"),
    "forecast_median": ("forecast, median", "{} erlangs"),
    "forecast_accuracy": ("forecast error", "{} times that of a naive forecast"),
    "forecast_coverage": ("forecast coverage", "{}"),
    "forecast_allocations": ("needed for the forecast", "{} allocations"),
    "after_new_node": ("target after a new node", "{} allocations"),
    "target_utilisation": ("target utilisation", "{}"),
}
"""Labels and forms of the policy's inputs. An input without a label keeps its name."""

_FRACTIONS = {
    *("slo_attainment", "slo_target", "forecast_coverage", "target_utilisation"),
    *("expected_slo_attainment", "utilisation_now", "preventable_fraction"),
}

_FLAGS = {"forecast_trusted"}

_LOAD = ("offered_load", "load_stddev", "load_at_most", "load_of_totals")

_SHOWN_ELSEWHERE = {
    *(*_LOAD, "since_s", "running", "requested", "missing_s", "loading_nodes"),
    *("violation_fraction_now", "issues", "caller_timeout_because"),
}


def input_rows(inputs: Mapping[str, Figure]) -> Iterator[tuple[str, str]]:
    """A label and a text for each input that `explain` shows nowhere else."""
    for name, value in inputs.items():
        if name not in _SHOWN_ELSEWHERE:
            label, form = _INPUT_LABELS.get(name, (name.replace("_", " "), "{}"))
            text = form.format(_input(name, value))
            because = inputs.get(f"{name.removesuffix('_s')}_because")
            yield label, f"{text}: {because}" if because else text


def slo_rows(view: ManagedView) -> Iterator[tuple[str, str]]:
    """What is known of the SLO besides the inputs and the candidates of the first step, which has
    neither while the allocations are held."""
    slo, first = view.slo, view.steps[0]
    if slo is None:
        return
    if slo.attainment is not None and "slo_attainment" not in first.inputs:
        yield "SLO attainment (24 h)", percent_text(slo.attainment)
    if slo.budget_left is not None:
        yield "error budget left (24 h)", budget_text(slo.budget_left)
    shown = {(each.allocations, each.violation_fraction) for each in first.candidates}
    for label, expected in (("expected now", slo.now), ("once all run", slo.after_loading)):
        if expected and (expected.allocations, expected.late_fraction) not in shown:
            yield label, _expectation_text(expected, slo.target)


def budget_text(left: float) -> str:
    """The part of the error budget that is left, or how many times it has been used.

    >>> budget_text(0.25), budget_text(-50.5)
    ('25%', 'none: 51.5 times the budget is used')
    """
    return percent_text(left) if left > 0.0 else f"none: {1.0 - left:.3g} times the budget is used"


def _expectation_text(expected: ExpectationView, target: float) -> str:
    wait_s = expected.queue_wait_s
    wait = "∞" if wait_s is None else duration_text(wait_s)
    late = percent_text(expected.late_fraction)
    s = "" if expected.allocations == 1 else "s"
    return f"{late} late with {expected.allocations} allocation{s}, {quantile_text(target)} {wait}"


def _input(name: str, value: Figure) -> str:
    if value is None:
        return "unlimited"
    if isinstance(value, str):
        return value
    if name.endswith("_s"):
        return duration_text(value)
    if name in _FLAGS:
        return "yes" if value else "no"
    return percent_text(value) if name in _FRACTIONS else f"{value:.4g}"
