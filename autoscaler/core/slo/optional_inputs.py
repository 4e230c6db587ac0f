"""What a step of the policy shows: the inputs that not every step has, and the candidates."""

from autoscaler.core.forecast.forecaster import Forecast
from autoscaler.core.policies import Situation
from autoscaler.core.slo.error_budget import Attainment, ErrorBudget
from autoscaler.core.slo.memory import Backlog
from autoscaler.core.slo.recurrence import (
    MAX_UNCHANGED_S,
    PERIODS_S,
    Recurrence,
    next_change_s,
)


def optional_inputs(
    attainment: Attainment,
    expected: ErrorBudget | None,
    backlog: Backlog | None,
    forecast: Forecast | None,
    forecast_allocations: int | None,
    max_allocations: int | None,
) -> dict[str, float | str]:
    """The inputs that are known, or matter.

    Args:
        attainment: of the running allocations.
        expected: of the recommended allocations; None: these are what runs.
        max_allocations: None: they may be enough.
    """
    inputs: dict[str, float | str] = {}
    if attainment.fraction is not None:
        inputs["slo_attainment"] = attainment.fraction
    if attainment.preventable_fraction is not None:
        inputs["preventable_fraction"] = attainment.preventable_fraction
    if expected is not None and expected.attainment is not None:
        inputs["expected_slo_attainment"] = expected.attainment
    if backlog is not None:
        inputs["backlog_requests"], inputs["backlog_allocations"] = (
            float(backlog.queued),
            float(backlog.allocations),
        )
    if forecast is not None:
        inputs["forecast_trusted"] = float(forecast.trusted)
        if forecast.trusted:
            inputs["forecast_load"] = forecast.load
            inputs["forecast_median"] = forecast.expected
        if forecast.accuracy is not None:
            inputs["forecast_accuracy"] = forecast.accuracy
        if forecast.coverage is not None:
            inputs["forecast_coverage"] = forecast.coverage
    if forecast_allocations is not None:
        inputs["forecast_allocations"] = float(forecast_allocations)
    if max_allocations is not None:
        inputs["max_allocations"] = float(max_allocations)
    return inputs


def recurring_inputs(
    known: Recurrence, at: float, load: float, allocations: int | None
) -> dict[str, float | str]:
    """The inputs of a load that recurs and changes within the next minutes; otherwise none.

    A load that changes slowly is about the same one period later, whatever the period.

    Args:
        load: that is expected at this time, in erlangs.
        allocations: for the load before a further node is ready, if it needs one.
    """
    if known.period is None:
        return {}
    change_s = next_change_s(known, at, MAX_UNCHANGED_S, 0.0)
    if change_s is None and allocations is None:
        return {}
    inputs: dict[str, float | str] = {
        "recurs_every_s": PERIODS_S[known.period],
        "recurring_load": load,
    }
    if change_s is not None:
        inputs["recurring_change_in_s"] = change_s
    if allocations is not None:
        inputs["recurring_allocations"] = float(allocations)
    return inputs


def shown_counts(situation: Situation, allocations: int, *, too_few: bool) -> list[int]:
    """The allocation counts whose expectations are shown with a recommendation."""
    shown = {allocations - 1, allocations, allocations + 1}
    if too_few:
        shown = {situation.max_allocations}
    shown.add(situation.current)
    if situation.missing:
        shown.add(situation.running)
    return sorted({max(1, count) for count in shown})
