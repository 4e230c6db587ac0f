"""Will it work, and what would it do? Asks the cluster and changes nothing."""

from collections.abc import Mapping

from msgspec import Struct
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from autoscaler.adapters.clock import HostClock
from autoscaler.adapters.elasticsearch.api import ElasticsearchApi
from autoscaler.adapters.elasticsearch.errors import ElasticsearchError
from autoscaler.adapters.elasticsearch.preflight import inspect
from autoscaler.adapters.elasticsearch.preflight_report import PreflightReport, Severity
from autoscaler.cluster_controller import transport_to
from autoscaler.config import Config
from autoscaler.core.explanation import unmanaged_text
from autoscaler.core.flow.control_mode import active_adaptive
from autoscaler.core.selection import Rule, ZeroMethod, select
from autoscaler.core.values import AdaptiveAllocations, DeploymentStats, Mode, Unmanaged


class DeploymentCheck(Struct, frozen=True):
    """What would become of one deployment."""

    deployment_id: str
    stats: DeploymentStats | None  # None: they make no sense
    rule: Rule | None  # None: it would be left alone
    remark: str
    managed: bool = False


class CheckReport(Struct, frozen=True, kw_only=True):
    preflight: PreflightReport
    prospects: tuple[DeploymentCheck, ...] = ()
    modes_rejected: tuple[str, ...] = ()  # why rules cannot be followed as they say

    @property
    def fatal(self) -> tuple[str, ...]:
        """Why the daemon could do nothing: a sentence each, none if it could do something."""
        problems = self.preflight.problems
        return tuple(problem.sentence for problem in problems if problem.level is Severity.FATAL)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Why it would do less than it could, other than only observe."""
        problems = self.preflight.problems
        return self.modes_rejected + tuple(
            problem.sentence
            for problem in problems
            if problem.level is not Severity.FATAL
            and problem.sentence != self.preflight.observe_only_because
        )


async def check(config: Config) -> CheckReport:
    """Look at the configured cluster.

    Raises:
        ConnectionSettingsError: the connection cannot be made as configured.
    """
    async with transport_to(config, HostClock()) as transport:
        api = ElasticsearchApi(transport)
        preflight = await inspect(api)
        if not preflight.ok:
            return CheckReport(preflight=preflight)
        try:
            statistics = await api.stats()
        except ElasticsearchError:
            # The preflight has asked the same and has the sentence about it.
            return CheckReport(preflight=preflight)
    prospects = [
        *(_prospect(stats, config.rules, preflight) for stats in statistics.deployments),
        *_unreadable(dict(statistics.unreadable)),
    ]
    prospects.sort(key=lambda prospect: prospect.deployment_id)
    return CheckReport(
        preflight=preflight,
        prospects=tuple(prospects),
        modes_rejected=_modes_rejected(config.rules, preflight),
    )


def _modes_rejected(rules: tuple[Rule, ...], preflight: PreflightReport) -> tuple[str, ...]:
    if preflight.observe_only_because:
        return ()
    followed = [rule for rule in rules if not rule.exclude and not rule.dry_run]
    refused = [preflight.rejection_of(rule.mode) for rule in followed]
    if any(rule.zero is not None and rule.zero.via is ZeroMethod.STOP for rule in followed):
        refused.append(preflight.stop_refused_because)
    return tuple(sentence for sentence in dict.fromkeys(refused) if sentence)


def _prospect(
    stats: DeploymentStats, rules: tuple[Rule, ...], preflight: PreflightReport
) -> DeploymentCheck:
    rule = select(rules, stats)
    if isinstance(rule, Unmanaged):
        return DeploymentCheck(stats.deployment_id, stats, None, unmanaged_text(rule))
    owned = stats.deployment_id in preflight.owned
    hold_reason = _hold_reason(stats, rule, preflight, owned=owned)
    remark = hold_reason or f"managed{_how(stats, rule, owned=owned)}"
    return DeploymentCheck(stats.deployment_id, stats, rule, remark, managed=not hold_reason)


def _hold_reason(
    stats: DeploymentStats, rule: Rule, preflight: PreflightReport, *, owned: bool
) -> str:
    """Why nothing would be sent; "" if something would be."""
    if rule.mode is Mode.DIRECT and active_adaptive(stats) is not None and not rule.take_over:
        return "left to the cluster while its adaptive allocations are enabled"
    if preflight.rejection_of(rule.mode):
        return "observed, and nothing sent"
    if owned and preflight.owned_refused_because:
        return "left as it is, since its inference endpoint may not be changed"
    return "dry run: decided, and nothing sent" if rule.dry_run else ""


def _how(stats: DeploymentStats, rule: Rule, *, owned: bool) -> str:
    """What is out of the ordinary about managing it."""
    parts = []
    match rule.mode, active_adaptive(stats):
        case Mode.DIRECT, AdaptiveAllocations():
            parts.append("would be taken over from its adaptive allocations")
        case Mode.BOUNDS, AdaptiveAllocations():
            parts.append("its bounds would be moved")
        case Mode.BOUNDS, None:
            parts.append("its adaptive allocations would be enabled, and their bounds moved")
    if owned:
        parts.append("it belongs to an inference endpoint")
    if owned and rule.zero is not None and rule.zero.via is ZeroMethod.STOP:
        parts.append("never stopped")
    return f": {', '.join(parts)}" if parts else ""


def _unreadable(problems: Mapping[str, str]) -> list[DeploymentCheck]:
    return [
        DeploymentCheck(
            place, None, None, f"left as it is while its statistics cannot be read: {problem}"
        )
        for place, problem in problems.items()
    ]


def report(findings: CheckReport, console: Console) -> None:
    """Print what was found: the cluster, what is amiss but not fatal, and every deployment."""
    found = findings.preflight
    for name, value in (
        ("cluster", found.cluster_name),
        ("version", f"{found.version} {found.build_flavor}".strip()),
        ("licence", f"{found.licence_type} {found.licence_status}".strip()),
        ("user", "nobody is asked: security is off" if _is_open(found) else found.user),
        (
            "privileges",
            ", ".join(name for name, hold_reason in found.privileges.items() if hold_reason),
        ),
    ):
        if value:
            _say(console, f"{name:12}", value, "dim")
    for sentence in findings.warnings:
        _say(console, "warning: ", sentence, "bold yellow")
    if found.observe_only_because:
        _say(console, "only observing: ", found.observe_only_because, "bold yellow")
    if findings.prospects:
        console.print(_table(findings.prospects))
        managed = sum(prospect.managed for prospect in findings.prospects)
        console.print(f"{managed} of {len(findings.prospects)} would be scaled.", highlight=False)


def _is_open(found: PreflightReport) -> bool:
    return found.security_enabled is False


def _say(console: Console, label: str, sentence: str, style: str) -> None:
    """A line; as long as it is where no terminal asks for shorter ones."""
    console.print(
        Text.assemble((label, style), sentence), highlight=False, soft_wrap=not console.is_terminal
    )


def _table(prospects: tuple[DeploymentCheck, ...]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("deployment", overflow="fold", ratio=2)
    table.add_column("now", justify="right", no_wrap=True)
    table.add_column("bounds", no_wrap=True)
    table.add_column("rule", overflow="fold", max_width=16)
    table.add_column("what would be done", overflow="fold", ratio=3)
    for prospect in prospects:
        stats, rule = prospect.stats, prospect.rule
        allocations = stats.allocations if stats else None
        model_id = stats.model_id if stats else ""
        # As texts, since ids are the user's and not markup.
        table.add_row(
            Text.assemble(
                prospect.deployment_id,
                ("" if model_id in ("", prospect.deployment_id) else f"\n  {model_id}", "dim"),
            ),
            "?" if allocations is None else str(allocations),
            f"{rule.min_allocations}..{rule.max_allocations}" if rule else "",
            Text(rule.name if rule else ""),
            Text(prospect.remark),
            style="" if rule else "dim",
        )
    return table
