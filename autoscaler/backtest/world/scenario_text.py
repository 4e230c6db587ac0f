"""A scenario as people would tell it."""

from autoscaler.backtest.world.scenario import BacktestScenario
from autoscaler.config.durations import format_duration


def scenario_text(scenario: BacktestScenario) -> dict[str, str]:
    """What there is to know, by what it is about.

    >>> from autoscaler.backtest.world.scenario import standard
    >>> print(in_words(standard()[0])["promise"])
    99 % of the requests wait at most 200ms for an allocation
    """
    return {
        "requests": f"{format_duration(scenario.service_time_s)} of an allocation on average, "
        f"coefficient of variation {scenario.service_cv:g}"
        + (", longer or shorter as the trace's sizes are" if scenario.sizes else ""),
        "promise": f"{100.0 * scenario.slo_target:.4g} % of the requests wait at most "
        f"{format_duration(scenario.slo_wait_s)} for an allocation",
        "nodes": _nodes(scenario),
        "allocations": f"{scenario.min_allocations} to {scenario.max_allocations}; in force after "
        f"{format_duration(scenario.control_s)} on a node that has the model, after "
        f"{format_duration(scenario.load_s)} on another",
        "warm-up": _warm_up(scenario),
        "callers": f"give up after {format_duration(scenario.timeout_s)}; "
        f"{scenario.retry_share:.0%} of those that fail try once more, "
        f"{format_duration(scenario.retry_after_s)} later",
        "queue": f"{scenario.queue_capacity:,} requests at each node; more are refused",
        "load": _load(scenario),
        "cluster": f"Elasticsearch {scenario.version}, "
        f"looked at every {format_duration(scenario.poll_interval_s)} by our daemon",
    }


def _nodes(scenario: BacktestScenario) -> str:
    told = f"{scenario.nodes} of {scenario.processors} processors"
    if scenario.physical_cores != scenario.processors:
        told += f", which are {scenario.physical_cores} physical cores"
    return told


def _warm_up(scenario: BacktestScenario) -> str:
    if scenario.warm_up_s == 0.0 or scenario.warm_up_factor == 1.0:
        return "none"
    for_so_long = format_duration(scenario.warm_up_s)
    return f"{scenario.warm_up_factor:g} times as slow for the first {for_so_long}"


def _load(scenario: BacktestScenario) -> str:
    scale, part = scenario.scale, "all of the trace"
    if scenario.hours is not None:
        begin = "the hardest" if scenario.start_h is None else f"from hour {scenario.start_h:g} on,"
        part = f"{begin} {scenario.hours:g} hours of the trace"
    if scale.allocations is None:
        return f"{part}, its rate times {scale.factor or 1.0:g}"
    return (
        f"{part}, scaled so that its 99th percentile needs {scale.allocations:g} allocations, "
        f"each busy for {scale.utilisation:.0%} of the time"
    )
