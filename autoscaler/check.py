"""`autoscaler check`: what would be managed, and which problems there are. Changes nothing."""

from collections.abc import Iterator, Mapping

from msgspec import Struct
from msgspec.structs import replace
from rich import box
from rich.console import Console
from rich.table import Table

from autoscaler import __version__
from autoscaler.adapters.clock import HostClock
from autoscaler.adapters.elasticsearch.api import ElasticsearchApi, Statistics
from autoscaler.adapters.elasticsearch.errors import ElasticsearchError
from autoscaler.adapters.elasticsearch.index_privileges import lacking
from autoscaler.adapters.elasticsearch.preflight import READ_PIPELINE, inspect
from autoscaler.adapters.elasticsearch.preflight_report import PreflightReport, Severity
from autoscaler.adapters.elasticsearch.transport import Transport
from autoscaler.adapters.recording import described_recording
from autoscaler.adapters.state import (
    described,
    described_documents,
    readable_stopped,
    readable_stopped_documents,
)
from autoscaler.cluster_connection import transport_to
from autoscaler.config import Config, exposures
from autoscaler.config.messages import did_you_mean
from autoscaler.core.decision import Mode, ObserveOnlyCause, Unmanaged
from autoscaler.core.explanation import unmanaged_text
from autoscaler.core.flow.control_mode import active_adaptive
from autoscaler.core.selection import Rule, ZeroMethod, matches, select
from autoscaler.core.state import StoppedDeployment
from autoscaler.core.values import AdaptiveAllocations, DeploymentStats
from autoscaler.lease_check import LeaseCheck, check_lease
from autoscaler.state_stores import state_documents_of
from autoscaler.terminal import plain, print_line
from autoscaler.wire.check_views import CheckedDeploymentView, CheckView

STATE_PRIVILEGES = ("read", "index", "delete", "create_index")
"""What a state in Elasticsearch needs for its index."""


class DeploymentCheck(Struct, frozen=True):
    """What the daemon would do with one deployment."""

    deployment_id: str
    stats: DeploymentStats | None  # None: they cannot be read
    rule: Rule | None  # None: it would not be managed
    remark: str
    managed: bool = False


class CheckReport(Struct, frozen=True, kw_only=True):
    preflight: PreflightReport
    deployments: tuple[DeploymentCheck, ...] = ()
    exposures: tuple[str, ...] = ()  # how others may read the credentials
    modes_rejected: tuple[str, ...] = ()  # why the cluster rejects what rules configure
    unused_rules: tuple[str, ...] = ()  # why rules apply to no deployment
    unknown_figures: tuple[str, ...] = ()  # which figures cannot be read
    state: str = ""  # where it is saved, and how large
    recording: str = ""  # where cycles are recorded, and how large that is
    state_problem: str = ""  # why it could not be saved there
    lease: LeaseCheck | None = None  # None: there is none

    @property
    def fatal(self) -> tuple[str, ...]:
        """Why the daemon could do nothing: a sentence each; empty if it could do something."""
        problems = self.preflight.problems
        return tuple(problem.sentence for problem in problems if problem.level is Severity.FATAL)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Why the daemon could do less than is configured, except if it could only observe; and
        unsafe settings."""
        problems = self.preflight.problems
        found = tuple(
            problem.sentence
            for problem in problems
            if problem.level is not Severity.FATAL
            and problem.sentence != self.preflight.observe_only_because
        )
        rules = self.modes_rejected + self.unused_rules
        lease = (self.lease.problem,) if self.lease is not None and self.lease.problem else ()
        state = (self.state_problem,) if self.state_problem else ()
        return self.exposures + lease + state + rules + found + self.unknown_figures


async def check(config: Config) -> CheckReport:
    """Check the configured cluster.

    Raises:
        ConnectionSettingsError: the connection settings are not usable.
    """
    exposed = tuple(exposures(config))
    recording = described_recording(config.recording.directory if config.recording else None)
    async with transport_to(config, HostClock()) as transport:
        state, recorded = await _state(config, transport)
        api = ElasticsearchApi(transport)
        preflight = await inspect(api)
        if not preflight.ok:
            return CheckReport(
                preflight=preflight, exposures=exposed, state=state, recording=recording
            )
        try:
            statistics = await api.stats()
        except ElasticsearchError:
            # The preflight check has sent the same request and reports the error.
            return CheckReport(
                preflight=preflight, exposures=exposed, state=state, recording=recording
            )
        lease = None if config.lease is None else await check_lease(config.lease, transport)
        state_problem = await _state_problem(config, api)
    running = {stats.deployment_id for stats in statistics.deployments}
    stopped = [each.stats for name, each in recorded.items() if name not in running]
    deployments = [
        *(_stopped_check(stats, config.rules) for stats in stopped),
        *(_deployment_check(stats, config.rules, preflight) for stats in statistics.deployments),
        *_unreadable(dict(statistics.unreadable)),
    ]
    deployments.sort(key=lambda deployment: deployment.deployment_id)
    return CheckReport(
        preflight=preflight,
        deployments=tuple(deployments),
        exposures=exposed,
        state=state,
        recording=recording,
        state_problem=state_problem,
        lease=lease,
        modes_rejected=_modes_rejected(config.rules, preflight),
        unused_rules=tuple(_unused_rules(config.rules, statistics, stopped)),
        unknown_figures=tuple(
            f"figures of {deployment_id} cannot be read and are unknown: {errors}"
            for deployment_id, errors in statistics.unreadable_figures
        ),
    )


async def _state(
    config: Config, transport: Transport
) -> tuple[str, Mapping[str, StoppedDeployment]]:
    """Where the state is, and how large; and the deployments that the daemon has stopped."""
    if config.state_index is not None:
        documents = state_documents_of(config.state_index, HostClock(), transport, writer="check")
        return await described_documents(documents), await readable_stopped_documents(documents)
    if config.state_dir is None:
        return described(None), {}
    stopped = readable_stopped(config.state_dir, config.state_file)
    return described(config.state_dir), stopped


async def _state_problem(config: Config, api: ElasticsearchApi) -> str:
    """A sentence about privileges without which the state could not be saved; empty if none is
    missing."""
    if config.state_index is None:
        return ""
    who = await lacking(api, config.state_index, STATE_PRIVILEGES)
    privileges = ", ".join(STATE_PRIVILEGES)
    return f"the state cannot be saved, because {who}; grant {privileges} for it" if who else ""


def _unused_rules(
    rules: tuple[Rule, ...], statistics: Statistics, stopped: list[DeploymentStats]
) -> Iterator[str]:
    """A sentence for each rule that applies to no deployment, if there are any deployments."""
    selections = [(stats, select(rules, stats)) for stats in (*statistics.deployments, *stopped)]
    used = {rule.name for _, rule in selections if isinstance(rule, Rule)}
    unreadable = [place for place, _ in statistics.unreadable]
    for rule in rules:
        if not selections or rule.name in used:
            continue
        if any(matches(rule, place, place) for place in unreadable):
            continue
        matching = [
            (stats.deployment_id, selection)
            for stats, selection in selections
            if matches(rule, stats.deployment_id, stats.model_id)
        ]
        if not matching:
            yield _no_match(rule, statistics)
        elif not rule.exclude:
            deployment_id, selection = matching[0]
            yield (
                f"rule {rule.name!r} applies to no deployment; it matches {deployment_id}, but "
                + (
                    f"so does rule {selection.name!r} before it"
                    if isinstance(selection, Rule)
                    else unmanaged_text(selection).removeprefix("not managed: ")
                )
            )


def _no_match(rule: Rule, statistics: Statistics) -> str:
    patterns, ids = [], []
    if rule.deployments != ("*",) or rule.models == ("*",):
        patterns.append(f"deployments = {', '.join(rule.deployments)}")
        ids += [stats.deployment_id for stats in statistics.deployments]
    if rule.models != ("*",):
        patterns.append(f"models = {', '.join(rule.models)}")
        ids += [stats.model_id for stats in statistics.deployments]
    hints = (did_you_mean(pattern, ids) for pattern in (*rule.deployments, *rule.models))
    hint = next((hint for hint in hints if hint), "")
    return f"rule {rule.name!r} matches no deployment: {'; '.join(patterns)}{hint}"


def _modes_rejected(rules: tuple[Rule, ...], preflight: PreflightReport) -> tuple[str, ...]:
    if preflight.observe_only_because:
        return ()
    active = [rule for rule in rules if not rule.exclude and not rule.dry_run]
    rejected = [preflight.rejection_of(rule.mode) for rule in active]
    if any(rule.zero is not None and rule.zero.via is ZeroMethod.STOP for rule in active):
        rejected.append(preflight.stop_rejected_because)
        if preflight.privileges.get(READ_PIPELINE) is False:
            rejected.append(
                f"{_user(preflight)} lacks the cluster privilege {READ_PIPELINE}, so that ingest "
                "pipelines are not read before a deployment is stopped, and only the number in the "
                f"statistics shows that some use it; grant {READ_PIPELINE}"
            )
    return tuple(sentence for sentence in dict.fromkeys(rejected) if sentence)


def _deployment_check(
    stats: DeploymentStats, rules: tuple[Rule, ...], preflight: PreflightReport
) -> DeploymentCheck:
    rule = select(rules, stats)
    if isinstance(rule, Unmanaged):
        return DeploymentCheck(stats.deployment_id, stats, None, unmanaged_text(rule))
    owned = stats.deployment_id in preflight.owned
    hold_reason = _hold_reason(stats, rule, preflight, owned=owned)
    remark = hold_reason or f"managed{_details(stats, rule, owned=owned)}"
    return DeploymentCheck(stats.deployment_id, stats, rule, remark, managed=not hold_reason)


def _stopped_check(stats: DeploymentStats, rules: tuple[Rule, ...]) -> DeploymentCheck:
    """Of a deployment that the daemon has stopped because it was idle."""
    rule = select(rules, stats)
    return DeploymentCheck(
        stats.deployment_id,
        replace(stats, allocations=0),
        None if isinstance(rule, Unmanaged) else rule,
        "stopped by the daemon, because it was idle; `autoscaler resume` starts it",
        managed=True,
    )


def _hold_reason(
    stats: DeploymentStats, rule: Rule, preflight: PreflightReport, *, owned: bool
) -> str:
    """Why no update would be sent; "" if one could be."""
    if rule.mode is Mode.DIRECT and active_adaptive(stats) is not None and not rule.take_over:
        return (
            "held: adaptive allocations are enabled; set take_over = true or "
            f'mode = "{Mode.BOUNDS}"'
        )
    if (observe_only := preflight.observe_only(rule.mode)) is not None:
        return f"observe only: {_in_short(observe_only.cause, rule.mode, preflight)}"
    if stats.deployment_id in preflight.unknown_owners:
        return "held: it is not known whether an inference endpoint owns it"
    if owned and preflight.owned_rejected_because:
        return f"observe only: {_user(preflight)} lacks manage_inference"
    return "dry run: decisions are logged and not sent" if rule.dry_run else ""


def _in_short(cause: ObserveOnlyCause, mode: Mode, preflight: PreflightReport) -> str:
    """The cause in a few words; its sentence is above the table."""
    match cause:
        case ObserveOnlyCause.PRIVILEGE:
            return f"{_user(preflight)} lacks manage_ml"
        case ObserveOnlyCause.LICENCE:
            return f"the licence is {preflight.licence_type} and {preflight.licence_status}"
        case ObserveOnlyCause.VERSION | ObserveOnlyCause.MODE:
            return f'the cluster rejects updates in mode "{mode}"'


def _user(preflight: PreflightReport) -> str:
    return preflight.user or "the user"


def _details(stats: DeploymentStats, rule: Rule, *, owned: bool) -> str:
    """How this differs from setting the allocations of a deployment that has no owner."""
    parts = []
    match rule.mode, active_adaptive(stats):
        case Mode.DIRECT, AdaptiveAllocations():
            parts.append("adaptive allocations would be disabled")
        case Mode.BOUNDS, AdaptiveAllocations():
            parts.append("bounds of its adaptive allocations would be set")
        case Mode.BOUNDS, None:
            parts.append("adaptive allocations would be enabled and their bounds set")
    if owned:
        parts.append("owned by an inference endpoint")
    if owned and rule.zero is not None and rule.zero.via is ZeroMethod.STOP:
        parts.append("never stopped")
    return f": {', '.join(parts)}" if parts else ""


def _unreadable(problems: Mapping[str, str]) -> list[DeploymentCheck]:
    return [
        DeploymentCheck(place, None, None, f"not managed: its statistics cannot be read: {problem}")
        for place, problem in problems.items()
    ]


def view_of(found: CheckReport) -> CheckView:
    """The same as `report`, and the fatal problems, as JSON."""
    preflight = found.preflight
    return CheckView(
        autoscaler=__version__,
        cluster=preflight.cluster_name,
        version=preflight.version,
        build_flavor=preflight.build_flavor,
        licence=f"{preflight.licence_type} {preflight.licence_status}".strip(),
        security_enabled=preflight.security_enabled,
        user=preflight.user,
        privileges=_granted(preflight),
        state=found.state,
        recording=found.recording,
        lease=found.lease.description if found.lease is not None else "",
        problems=found.fatal,
        observe_only=preflight.observe_only_because,
        warnings=found.warnings,
        deployments=tuple(map(_deployment_view, found.deployments)),
    )


def _deployment_view(found: DeploymentCheck) -> CheckedDeploymentView:
    stats, rule = found.stats, found.rule
    return CheckedDeploymentView(
        deployment=found.deployment_id,
        model=stats.model_id if stats else "",
        allocations=stats.allocations if stats else None,
        rule=rule.name if rule else None,
        min_allocations=rule.min_allocations if rule else None,
        max_allocations=rule.max_allocations if rule else None,
        would_be_scaled=found.managed,
        status=found.remark,
    )


def _granted(preflight: PreflightReport) -> tuple[str, ...]:
    return tuple(name for name, is_granted in preflight.privileges.items() if is_granted)


def report(found: CheckReport, console: Console) -> None:
    """Print the cluster, the problems that are not fatal, and every deployment."""
    preflight = found.preflight
    for name, value in (
        ("cluster", preflight.cluster_name),
        ("version", f"{preflight.version} {preflight.build_flavor}".strip()),
        ("licence", f"{preflight.licence_type} {preflight.licence_status}".strip()),
        ("security", "disabled" if preflight.security_enabled is False else ""),
        ("user", preflight.user if preflight.security_enabled is not False else ""),
        ("privileges", ", ".join(_granted(preflight))),
        ("state", found.state),
        ("recording", found.recording),
        ("lease", found.lease.description if found.lease is not None else ""),
    ):
        if value:
            print_line(console, value, label=plain(f"{name:12}", "dim"))
    for sentence in found.warnings:
        print_line(console, sentence, label=plain("warning: ", "bold yellow"))
    if preflight.observe_only_because:
        because = preflight.observe_only_because
        print_line(console, because, label=plain("observe only: ", "bold yellow"))
    if found.deployments:
        console.print(_table(found.deployments, narrow=console.is_terminal))
        managed = sum(deployment.managed for deployment in found.deployments)
        console.print(
            f"{managed} of {len(found.deployments)} deployments would be scaled.", highlight=False
        )


def _table(deployments: tuple[DeploymentCheck, ...], *, narrow: bool) -> Table:
    """A line for each deployment; `narrow`: texts are wrapped, and models are below the ids."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("deployment", overflow="fold", ratio=2)
    if not narrow:
        table.add_column("model")
    table.add_column("allocations", justify="right", no_wrap=True)
    table.add_column("bounds", no_wrap=True)
    table.add_column("rule", overflow="fold", max_width=16 if narrow else None)
    table.add_column("status", overflow="fold", ratio=3)
    for deployment in deployments:
        stats, rule = deployment.stats, deployment.rule
        allocations = stats.allocations if stats else None
        model_id = stats.model_id if stats else ""
        name = plain(deployment.deployment_id)
        if narrow and model_id not in ("", deployment.deployment_id):
            name.append("\n  ").append_text(plain(model_id, "dim"))
        table.add_row(
            name,
            *([] if narrow else [plain(model_id)]),
            "?" if allocations is None else str(allocations),
            f"{rule.min_allocations}..{rule.max_allocations}" if rule else "",
            plain(rule.name if rule else ""),
            plain(deployment.remark),
            style="" if rule else "dim",
        )
    return table
