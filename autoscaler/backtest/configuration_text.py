"""How to configure a policy at a setting: a rule of the configuration, or a call of the cluster.

A rule has the bounds of the scenario, as in the back-test.
"""

from collections.abc import Iterator

from autoscaler.backtest.world.scenario import BacktestScenario
from autoscaler.config.document import ConfigDocument
from autoscaler.config.durations import format_duration
from autoscaler.core.decision import Mode

DEPLOYMENT = "my-deployment"
"""The deployment id in the texts, to be replaced."""

_TARGETS = 0.05, 0.95
"""The values that `target_utilisation` accepts."""


def slo_rule(target: float, scenario: BacktestScenario, mode: Mode = Mode.DIRECT) -> str:
    """A rule with the policy `slo`."""
    lines = [
        'policy = "slo"',
        f'slo = {{ wait = "{format_duration(scenario.slo_wait_s)}", target = {target:g} }}',
        f'caller_timeout = "{format_duration(scenario.timeout_s)}"',
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


def _first_lines(scenario: BacktestScenario) -> Iterator[str]:
    if scenario.poll_interval_s != ConfigDocument.model_fields["poll_interval"].default:
        yield f'poll_interval = "{format_duration(scenario.poll_interval_s)}"'
        yield ""
    yield "[[rules]]"
    yield f'name = "{DEPLOYMENT}"'
    yield f'deployments = ["{DEPLOYMENT}"]'
    yield f"min_allocations = {scenario.min_allocations}"
    yield f"max_allocations = {scenario.max_allocations}"
