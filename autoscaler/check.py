"""Will it work, and what would it do? Asks the cluster and changes nothing."""

from msgspec import Struct
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from autoscaler.adapters.clock import HostClock
from autoscaler.adapters.elasticsearch.api import ElasticsearchApi
from autoscaler.adapters.elasticsearch.errors import ElasticsearchError
from autoscaler.adapters.elasticsearch.preflight import Preflight, inspect
from autoscaler.config import Config
from autoscaler.core.selection import Rule, select
from autoscaler.core.values import DeploymentStats, Unmanaged
from autoscaler.daemon import transport_to

_UNMANAGED = {
    Unmanaged.NO_RULE: "no rule matches it",
    Unmanaged.EXCLUDED: "a rule excludes it",
    Unmanaged.HIDDEN: "its id begins with a dot; a rule with hidden = true would take it",
    Unmanaged.LOW_PRIORITY: "its priority is low; a rule with low_priority = true would take it",
}


class Prospect(Struct, frozen=True, kw_only=True):
    """What would become of one deployment."""

    stats: DeploymentStats
    rule: Rule | None  # None: it would be left alone
    remark: str


class Findings(Struct, frozen=True, kw_only=True):
    preflight: Preflight
    prospects: tuple[Prospect, ...] = ()


async def check(config: Config) -> Findings:
    """Look at the configured cluster.

    Raises:
        ConnectionSettingsError: the connection cannot be made as configured.
    """
    async with transport_to(config, HostClock()) as transport:
        api = ElasticsearchApi(transport)
        preflight = await inspect(api)
        if not preflight.ok:
            return Findings(preflight=preflight)
        try:
            statistics = await api.stats()
        except ElasticsearchError:
            # The preflight has asked the same and has the sentence about it.
            return Findings(preflight=preflight)
    ordered = sorted(statistics.deployments, key=lambda stats: stats.deployment_id)
    return Findings(
        preflight=preflight,
        prospects=tuple(_prospect(stats, config.rules, preflight) for stats in ordered),
    )


def _prospect(stats: DeploymentStats, rules: tuple[Rule, ...], preflight: Preflight) -> Prospect:
    rule = select(rules, stats)
    if isinstance(rule, Unmanaged):
        return Prospect(stats=stats, rule=None, remark=_UNMANAGED[rule])
    if stats.native is not None and stats.native.enabled:
        remark = "left to the cluster while its adaptive allocations are enabled"
    elif preflight.observe_only_because:
        remark = "observed only"
    elif rule.dry_run:
        remark = "dry run: decided, not sent"
    else:
        remark = "managed"
    return Prospect(stats=stats, rule=rule, remark=remark)


def report(findings: Findings, console: Console) -> None:
    """Print what was found: the cluster, every problem, and a line for each deployment."""
    found = findings.preflight
    for name, value in (
        ("cluster", found.cluster_name),
        ("version", f"{found.version} {found.build_flavor}".strip()),
        ("licence", f"{found.licence_type} {found.licence_status}".strip()),
        ("user", "security is off" if found.security_enabled is False else found.user),
        ("privileges", ", ".join(name for name, held in found.privileges.items() if held)),
    ):
        if value:
            console.print(f"{name + ':':12}{value}", highlight=False)
    for problem in found.problems:
        console.print(f"[bold]{problem.level}:[/bold] {escape(problem.sentence)}", highlight=False)
    if found.observe_only_because:
        console.print(f"[bold]only observing:[/bold] {escape(found.observe_only_because)}")
    if findings.prospects:
        console.print(_table(findings.prospects))
    elif found.ok:
        console.print("The cluster has no trained-model deployments.")


def _table(prospects: tuple[Prospect, ...]) -> Table:
    table = Table("deployment", "model", "allocations", "bounds", "rule", "what would be done")
    for prospect in prospects:
        stats, rule = prospect.stats, prospect.rule
        table.add_row(
            stats.deployment_id,
            stats.model_id,
            "?" if stats.allocations is None else str(stats.allocations),
            f"{rule.minimum}..{rule.maximum}" if rule else "",
            rule.name if rule else "",
            prospect.remark,
        )
    return table
