"""A rule of the operator's configuration, in a scenario."""

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from autoscaler.backtest.world.scenario import BacktestScenario
from autoscaler.config.loader import Written, rules_of
from autoscaler.config.messages import did_you_mean
from autoscaler.core.decision import Mode
from autoscaler.core.next_poll import Polling
from autoscaler.core.selection import Rule
from autoscaler.core.slo.objective import SloObjective
from autoscaler.core.slo.policy import RecordedLoads, SloPolicy
from autoscaler.errors import UserError
from autoscaler.simulation.versions import behaviour_of


class RuleError(UserError):
    """The rule does not exist, or cannot be simulated in the scenario."""

    exit_code = 2


class ConfiguredRule(Struct, frozen=True, kw_only=True):
    """A configuration and the name of one of its rules: plain data, for other processes."""

    written: Written
    name: str

    @property
    def policy(self) -> str:
        """The name in the column `policy` of results."""
        return f"rule:{self.name}"

    def in_scenario(
        self, scenario: BacktestScenario, history: RecordedLoads | None = None
    ) -> tuple[Polling, Rule]:
        """How often is polled, and the rule, for the simulated deployment.

        The scenario provides the bounds, the poll interval and the caller timeout that the
        configuration does not set.
        The rule matches the deployment regardless of its patterns, and is no dry run.

        Args:
            history: the recorded load, for the policy `slo`.

        Raises:
            ConfigError: the rule is invalid with the bounds of the scenario.
            RuleError: there is no such rule, or the scenario cannot simulate it.
        """
        polling, rules = rules_of(
            self.written,
            environ={},
            poll_interval_s=scenario.poll_interval_s,
            min_allocations=scenario.min_allocations,
            max_allocations=scenario.max_allocations,
        )
        rule = next((rule for rule in rules if rule.name == self.name), None)
        if rule is None:
            raise RuleError(f"--rule: {self.written.file} has no rule {self.name!r}")
        self._check(rule, scenario)
        policy = rule.policy
        if isinstance(policy, SloPolicy):
            if policy.caller_timeout_s is None:
                policy = replace(policy, caller_timeout_s=scenario.timeout_s)
            if history is not None:
                policy = replace(policy, history=history)
        return polling, replace(
            rule,
            policy=policy,
            deployments=("*",),
            models=("*",),
            hidden=True,
            low_priority=True,
            dry_run=False,
        )

    def stated_slo(self, scenario: BacktestScenario) -> SloObjective | None:
        """The SLO that the rule states for the policy `slo`; None: it states none."""
        _, rule = self.in_scenario(scenario)
        objective = rule.policy.objective if isinstance(rule.policy, SloPolicy) else None
        if objective is None or (objective.wait_s is None and objective.latency_s is None):
            return None
        return objective

    def _check(self, rule: Rule, scenario: BacktestScenario) -> None:
        if rule.exclude:
            raise RuleError(f"--rule: {self.name!r} excludes deployments; name a rule that scales")
        if rule.mode is Mode.BOUNDS and not behaviour_of(scenario.version).adaptive_allocations:
            raise RuleError(
                f"--rule: {self.name!r} has mode bounds, which requires Elasticsearch 8.16; "
                f"the scenario {scenario.name} has {scenario.version}"
            )


def configured_rule(written: Written, name: str | None) -> ConfiguredRule:
    """The rule of that name, or the only rule that scales.

    Raises:
        RuleError: there is no such rule, or none was named and there are several.
    """
    tables = written.tables.get("rules")
    rules: Sequence[object] = tables if isinstance(tables, list) else ()
    scaling = [
        str(rule["name"])
        for rule in rules
        if isinstance(rule, dict) and "name" in rule and rule.get("exclude") is not True
    ]
    if not scaling:
        raise RuleError(f"--config: {written.file} has no rule that scales; add one")
    choices = f"choose from {', '.join(scaling)}"
    if name is None and len(scaling) > 1:
        raise RuleError(
            f"--config: {written.file} has several rules; name one with --rule: "
            f"{', '.join(scaling)}"
        )
    if name is not None and name not in scaling:
        hint = did_you_mean(name, scaling)
        raise RuleError(f"--rule: {written.file} has no rule {name!r} that scales{hint}; {choices}")
    return ConfiguredRule(written=written, name=name or scaling[0])
