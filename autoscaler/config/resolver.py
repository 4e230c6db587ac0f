"""A valid document -> resolved values. Relations between keys are checked here."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from autoscaler.config.connection import connection_of, connection_problems
from autoscaler.config.document import (
    ConfigDocument,
    ElasticsearchTable,
    ScalingTable,
)
from autoscaler.config.leadership import leadership_problems, lease_of
from autoscaler.config.limits import out_of_bounds
from autoscaler.config.messages import KeyPath, Problems
from autoscaler.config.mode_settings import conflicts
from autoscaler.config.otlp import otlp_of, otlp_problems
from autoscaler.config.policies import Registry
from autoscaler.config.policy_settings import (
    check_rollout,
    check_table,
    check_use,
    inherit,
    policy_for,
)
from autoscaler.config.polling import polling_of, polling_problems
from autoscaler.config.recording import RecordingTable, recording_of, recording_problems
from autoscaler.config.report import ReportTable, report_of, report_problems
from autoscaler.config.rules import build_rule
from autoscaler.config.server import server_of, server_problems
from autoscaler.config.server_tables import ServerTable
from autoscaler.config.state import default_state_dir
from autoscaler.config.telemetry import OtlpTable
from autoscaler.config.validation import Validated
from autoscaler.config.values import (
    Config,
    LeaseSettings,
    Logging,
    RecordingSettings,
    ReportSettings,
    Server,
)
from autoscaler.connection import Connection
from autoscaler.core.next_poll import Polling
from autoscaler.core.policies import AnyPolicy, UtilisationPolicy
from autoscaler.core.selection import Rule
from autoscaler.otlp_access import OtlpSettings

_UNUSED_POLICY = UtilisationPolicy(target=1.0, load_window_s=1.0)
"""The policy of rules that exclude deployments, and of invalid rules."""


class Resolver:
    """Resolves one document, and adds all its problems to `problems`."""

    def __init__(
        self,
        validated: Validated,
        directory: Path,
        problems: Problems,
        warnings: tuple[str, ...],
        environ: Mapping[str, str],
    ) -> None:
        self._document = validated.document
        self._may_cause = validated.may_cause
        self._warnings = warnings
        self._directory = directory
        self._environ = environ
        self._registry = Registry()
        self._problems = problems

    def resolve(self) -> Config:
        """The configuration, which is valid if there are no problems."""
        document = self._document
        self._check_tables()
        connection = self._connection(document.elasticsearch)
        return Config(
            connection=connection,
            polling=self._polling(),
            dry_run=document.dry_run,
            server=self._server(document.server),
            logging=Logging(style=document.logging.format, level=document.logging.level),
            per_node_metrics=document.metrics.per_node,
            otlp=self._otlp(document.otlp),
            rules=self._rules(),
            recording=self._recording(document.recording, self._state_dir(document, connection)),
            report=self._report(document.report),
            lease=self._lease(connection.request_timeout_s),
            state_dir=self._state_dir(document, connection),
            state_index=self._state_index(document),
            history_max_age_s=document.history_max_age,
            history_max_bytes=document.history_max_mb * 1_000_000,
            state_file=self._state_file(document),
            warnings=self._warnings,
        )

    def resolve_rules(self) -> tuple[Polling, tuple[Rule, ...]]:
        """The rules and how often is polled alone, which are valid if there are no problems."""
        self._check_tables()
        return self._polling(), self._rules()

    def _rules(self) -> tuple[Rule, ...]:
        rules = tuple(self._rule(index) for index in range(len(self._document.rules)))
        self._check_order(rules)
        return rules

    def _add_problem(self, path: KeyPath, text: str) -> None:
        if not self._may_cause(path):
            self._problems.add(path, text)

    def _connection(self, table: ElasticsearchTable) -> Connection:
        connection = connection_of(table, self._directory, self._document.poll_interval)
        for key, problem in connection_problems(table, connection):
            self._add_problem(("elasticsearch", key) if key else ("elasticsearch",), problem)
        return connection

    def _server(self, table: ServerTable) -> Server:
        server = server_of(table, self._directory)
        for key, problem in server_problems(table, server):
            self._add_problem(("server", key), problem)
        return server

    def _otlp(self, table: OtlpTable) -> OtlpSettings | None:
        for key, problem in otlp_problems(table, self._directory):
            self._add_problem(("otlp", key), problem)
        return otlp_of(table, self._directory)

    def _recording(self, table: RecordingTable, state_dir: Path | None) -> RecordingSettings | None:
        for key, problem in recording_problems(table):
            self._add_problem(("recording", key), problem)
        return recording_of(table, self._directory, state_dir)

    def _report(self, table: ReportTable) -> ReportSettings:
        for key, problem in report_problems(table):
            self._add_problem(("report", key), problem)
        return report_of(table)

    def _polling(self) -> Polling:
        for key, problem in polling_problems(self._document):
            self._add_problem((key,), problem)
        return polling_of(self._document.poll_interval, self._document.min_poll_interval)

    def _path(self, path: str | None) -> Path | None:
        return None if path is None else self._directory / path

    def _lease(self, request_timeout_s: float) -> LeaseSettings | None:
        table, interval_s = self._document.leadership, self._document.poll_interval
        given = table, self._directory, interval_s, request_timeout_s
        for key, problem in leadership_problems(*given):
            self._add_problem(("leadership", key), problem)
        return lease_of(*given)

    def _state_dir(self, document: ConfigDocument, connection: Connection) -> Path | None:
        if document.state != "sqlite":
            return None
        if document.state_dir is not None:
            return self._path(document.state_dir)
        if document.state_file is not None:
            return (self._directory / document.state_file).parent
        return default_state_dir(self._environ, connection)

    def _state_file(self, document: ConfigDocument) -> Path | None:
        if document.state_file is not None and document.state != "sqlite":
            problem = (
                f'is not taken over with state = "{document.state}"; start the deployments in it '
                'by `autoscaler release` with state = "sqlite", and remove the key'
            )
            self._add_problem(("state_file",), problem)
        return self._path(document.state_file)

    def _state_index(self, document: ConfigDocument) -> str | None:
        if document.state == "elasticsearch":
            return document.state_index
        if "state_index" in document.model_fields_set:
            problem = f'has no effect with state = "{document.state}"; remove it'
            self._add_problem(("state_index",), problem)
        return None

    def _check_tables(self) -> None:
        rules = [(("rules", index), rule) for index, rule in enumerate(self._document.rules)]
        for path, table in [(("defaults",), self._document.defaults), *rules]:
            check_table(table, self._registry, partial(self._add_problem_below, path))

    def _add_problem_below(self, path: KeyPath, key: str, text: str) -> None:
        self._add_problem((*path, key), text)

    def _rule(self, index: int) -> Rule:
        rule, defaults = self._document.rules[index], self._document.defaults
        scaling = inherit(rule, defaults)
        policy: AnyPolicy | None = None
        if not rule.exclude:
            self._check_bounds(index, scaling)
            self._check_modes(index, scaling)
            on_problem = partial(self._add_rule_problem, index)
            policy = policy_for(scaling, self._registry, self._document.poll_interval, on_problem)
            if policy is not None:
                check_use(rule, policy.name, on_problem)
                check_rollout(scaling, policy, on_problem)
        return build_rule(
            scaling,
            policy or _UNUSED_POLICY,
            name=rule.name,
            deployments=_patterns(rule.deployments),
            models=_patterns(rule.models),
            exclude=rule.exclude,
            dry_run=self._document.dry_run,
        )

    def _check_bounds(self, index: int, scaling: ScalingTable) -> None:
        minimum, maximum = scaling.min_allocations, scaling.max_allocations
        if maximum is None:
            self._add_problem(
                self._origin(index, "max_allocations"),
                "is required; set it in this rule or in [defaults]",
            )
        elif maximum < minimum:
            self._add_problem(
                self._origin(index, "max_allocations"),
                f"must be at least min_allocations, which is {minimum}, not {maximum}",
            )
        else:
            for (key, *rest), allocations in out_of_bounds(scaling, minimum, maximum):
                self._add_problem(
                    (*self._origin(index, str(key)), *rest),
                    f"must be within the bounds of the rule {self._document.rules[index].name!r}, "
                    f"{minimum} to {maximum}, not {allocations}",
                )

    def _check_modes(self, index: int, scaling: ScalingTable) -> None:
        own = frozenset(self._document.rules[index].model_fields_set)
        for key, problem in conflicts(scaling, own, state=self._document.state):
            self._add_rule_problem(index, key, problem)

    def _add_rule_problem(self, index: int, key: str, text: str) -> None:
        """About a key of a rule that may be inherited."""
        self._add_problem(self._origin(index, key), text)

    def _origin(self, index: int, key: str) -> KeyPath:
        inherited = key not in self._document.rules[index].model_fields_set
        if inherited and key in self._document.defaults.model_fields_set:
            return ("defaults", key)
        return ("rules", index, key)

    def _check_order(self, rules: tuple[Rule, ...]) -> None:
        for index, rule in enumerate(rules):
            for earlier in rules[:index]:
                if earlier.name == rule.name:
                    self._add_problem(
                        ("rules", index, "name"),
                        f"{rule.name!r} is the name of an earlier rule; use another",
                    )
                elif _hides(earlier, rule):
                    self._add_problem(
                        ("rules", index),
                        f"{rule.name!r} never applies, because {earlier.name!r} before it matches "
                        "all deployments; move it before that rule",
                    )
                else:
                    continue
                break


def _patterns(texts: list[str] | str) -> tuple[str, ...]:
    return (texts,) if isinstance(texts, str) else tuple(texts)


def _hides(earlier: Rule, later: Rule) -> bool:
    """Whether no deployment can reach `later`, because `earlier` applies to all of them."""
    if "*" not in earlier.deployments or "*" not in earlier.models:
        return False
    return earlier.exclude or (
        (earlier.hidden or not later.hidden) and (earlier.low_priority or not later.low_priority)
    )
