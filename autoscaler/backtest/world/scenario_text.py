"""A scenario in words, for the report."""

from autoscaler.backtest.world.scenario import BacktestScenario
from autoscaler.core.units import duration_text, percent_text


def scenario_text(scenario: BacktestScenario, *, whole_days: bool = False) -> dict[str, str]:
    """The facts by subject.

    Args:
        whole_days: whether each day of a longer trace is simulated, instead of its hardest day.

    >>> from autoscaler.backtest.world.scenario import standard
    >>> print(scenario_text(standard()[0])["SLO"])
    99% of the requests wait at most 200 ms for an allocation
    """
    return {
        "requests": f"mean service time {duration_text(scenario.service_time_s)}, "
        f"coefficient of variation {scenario.service_cv:g}"
        + (", multiplied by the trace's sizes" if scenario.sizes else ""),
        "SLO": f"{percent_text(scenario.slo_target)} of the requests wait at most "
        f"{duration_text(scenario.slo_wait_s)} for an allocation",
        "nodes": _nodes(scenario),
        "allocations": f"{scenario.min_allocations} to {scenario.max_allocations}; in effect after "
        f"{duration_text(scenario.control_s)} on a node with the model, after "
        f"{duration_text(scenario.load_s)} on another",
        "warm-up": _warm_up(scenario),
        "callers": f"time out after {duration_text(scenario.timeout_s)}; "
        f"{scenario.retry_share:.0%} of the failed requests are retried once, "
        f"{duration_text(scenario.retry_after_s)} later",
        "queue": f"{scenario.queue_capacity:,} requests on each node; more are rejected",
        "load": _load(scenario, whole_days),
        "cluster": f"Elasticsearch {scenario.version}, "
        f"polled every {duration_text(scenario.poll_interval_s)} by the daemon",
    }


def _nodes(scenario: BacktestScenario) -> str:
    text = f"{scenario.nodes} of {scenario.processors} processors"
    if scenario.physical_cores != scenario.processors:
        text += f", which are {scenario.physical_cores} physical cores"
    if scenario.zones > 1:
        text += f", in {scenario.zones} availability zones"
    return text


def _warm_up(scenario: BacktestScenario) -> str:
    if scenario.warm_up_s == 0.0 or scenario.warm_up_factor == 1.0:
        return "none"
    duration = duration_text(scenario.warm_up_s)
    return f"{scenario.warm_up_factor:g} times the service time for the first {duration}"


def _load(scenario: BacktestScenario, whole_days: bool) -> str:
    scale, part = scenario.scale, "the whole trace"
    if whole_days:
        part = "whole days of the trace, each for itself"
    elif scenario.hours is not None:
        begin = "the hardest" if scenario.start_h is None else f"from hour {scenario.start_h:g} on,"
        part = f"{begin} {scenario.hours:g} hours of the trace"
    if scale.allocations is None:
        return f"{part}, its rate times {scale.factor or 1.0:g}"
    return (
        f"{part}, scaled so that its 99th percentile needs {scale.allocations:g} allocations, "
        f"at a utilisation of {scale.utilisation:.0%}"
    )
