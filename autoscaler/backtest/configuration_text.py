"""How to configure a policy at a setting: a rule of the configuration, or a call of the cluster.

A rule has the bounds of the scenario, as in the back-test.
"""

import math
from collections.abc import Iterator

from autoscaler.backtest.world.scenario import BacktestScenario
from autoscaler.config.document import ConfigDocument, ScalingTable
from autoscaler.config.durations import format_duration, parse_duration
from autoscaler.core.decision import Mode

DEPLOYMENT = "my-deployment"
"""The deployment id in the texts, to be replaced."""

_TARGETS = 0.05, 0.95
"""The values that `target_utilisation` accepts."""

_SLO_TARGETS = 0.5, 0.9999
"""The values that `slo.target` accepts."""

_MIN_CALLER_TIMEOUT_S = 0.1
"""The lowest `caller_timeout` that is accepted."""


def slo_rule(target: float, scenario: BacktestScenario, mode: Mode = Mode.DIRECT) -> str:
    """A rule with the policy `slo`; empty if the configuration rejects the target, or what the
    scenario says of the callers."""
    low, high = _SLO_TARGETS
    wait_s, timeout_s = scenario.slo_wait_s, scenario.timeout_s
    if not (low <= target <= high and timeout_s >= _MIN_CALLER_TIMEOUT_S and wait_s < timeout_s):
        return ""
    lines = [
        'policy = "slo"',
        f'slo = {{ wait = "{_duration(wait_s)}", target = {target} }}',
        f'caller_timeout = "{_duration(timeout_s)}"',
    ]
    if mode is not Mode.DIRECT:
        lines.append(f'mode = "{mode.value}"')
    return _rule(lines, scenario)


def utilisation_rule(target: float, scenario: BacktestScenario) -> str:
    """A rule with the policy `utilisation`; empty if the configuration rejects the target."""
    low, high = _TARGETS
    if not low <= target <= high:
        return ""
    return _rule(['policy = "utilisation"', f"target_utilisation = {target:g}"], scenario)


def installed_rule(policy: str, scenario: BacktestScenario) -> str:
    """A rule with an installed policy, without options."""
    return _rule([f'policy = "{policy}"'], scenario)


def adaptive_allocations_call(_: float, scenario: BacktestScenario) -> str:
    """The call that enables adaptive allocations; the daemon does not manage them then."""
    return (
        f"POST _ml/trained_models/{DEPLOYMENT}/deployment/_update\n"
        '{ "adaptive_allocations": { "enabled": true, '
        f'"min_number_of_allocations": {scenario.min_allocations}, '
        f'"max_number_of_allocations": {scenario.max_allocations} }} }}'
    )


def _rule(lines: list[str], scenario: BacktestScenario) -> str:
    return "\n".join([*_first_lines(scenario), *lines])


def _duration(seconds: float) -> str:
    """A duration as short as possible, and exact.

    >>> _duration(5400.0), _duration(0.0125)
    ('1h30m', '12.5ms')
    """
    text = format_duration(seconds)
    exact = math.isclose(parse_duration(text), seconds, rel_tol=1e-9)
    return text if exact else f"{1000.0 * seconds:.9f}".rstrip("0").rstrip(".") + "ms"


def _first_lines(scenario: BacktestScenario) -> Iterator[str]:
    if scenario.poll_interval_s != ConfigDocument.model_fields["poll_interval"].default:
        yield f'poll_interval = "{_duration(scenario.poll_interval_s)}"'
        yield ""
    yield "[[rules]]"
    yield f'name = "{DEPLOYMENT}"'
    yield f'deployments = ["{DEPLOYMENT}"]'
    yield f"min_allocations = {scenario.min_allocations}"
    yield f"max_allocations = {scenario.max_allocations}"
    if scenario.poll_interval_s > ScalingTable.model_fields["load_window"].default:
        yield f'load_window = "{_duration(scenario.poll_interval_s)}"'
