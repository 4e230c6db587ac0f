"""Scenarios: a deployment, its nodes, its callers and its SLO.

They are TOML files. The standard ones, in `autoscaler/backtest/scenarios`, explain every key.
"""

import os
import tomllib
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict
from pydantic import ValidationError

from autoscaler.backtest.world.scenario_document import ScenarioDocument, replace_former_names
from autoscaler.config.aliases import Aliases
from autoscaler.config.messages import DocumentError, KeySources, Problems, describe, did_you_mean
from autoscaler.config.toml_file import read_toml
from autoscaler.simulation.versions import behaviour_of

STANDARD = ("short-one-node", "short-three-nodes", "long-one-node", "long-three-nodes")
"""The scenarios that are part of the program."""

Warn = Callable[[str], None]
"""Called with a sentence about a deprecated name."""


class BacktestScenarioError(DocumentError):
    """An invalid scenario."""


class Scale(Struct, frozen=True, kw_only=True):
    """The scale of a trace's rate: a factor, or the allocations that its busy hours need."""

    allocations: float | None = None  # that the 99th percentile of the rate needs
    utilisation: float = 0.7  # of these allocations, at that rate
    factor: float | None = None  # or the factor itself


class BacktestScenario(Struct, frozen=True, kw_only=True):
    """Everything that a run depends on except the trace: durations in seconds, and counts."""

    name: str
    version: str  # of Elasticsearch, in full
    service_time_s: float  # mean, on an idle machine
    service_cv: float  # coefficient of variation of the log-normal distribution
    load_s: float  # until a process on another node is ready: its start, and loading the model
    control_s: float  # until a process on the same node uses a new count
    warm_up_s: float  # a process is slower for this time after its start
    warm_up_factor: float  # service times are multiplied by it meanwhile
    queue_capacity: int  # of each process
    min_allocations: int  # of every policy, except a rule that sets its own
    max_allocations: int
    nodes: int
    processors: int  # of each node
    physical_cores: int  # of each node; more threads than these slow all of them down
    zones: int  # availability zones among which the nodes are divided
    timeout_s: float
    retry_share: float  # fraction of failed requests that are retried once
    retry_after_s: float
    slo_wait_s: float  # the fraction `slo_target` of the requests waits no longer
    slo_target: float
    poll_interval_s: float  # of the daemon
    scale: Scale
    sizes: bool  # whether the trace's sizes, over their mean, multiply the service time
    hours: float | None  # the simulated part of the trace; None: all of it
    begins_at: float  # Unix seconds at which the trace begins, for schedules
    start_h: float | None  # where that part begins; None: at its hardest day
    contention: float = 0.0  # fraction by which service times grow until all processors are busy
    slow_nodes: int = 0  # of the nodes
    slow_node_factor: float = 1.0  # of the service times on these

    def facts(self) -> dict[str, str | int | float | bool | None]:
        """All fields in one flat table, for result files."""
        facts = asdict(self)
        scale = asdict(facts.pop("scale"))
        return facts | {f"scale_{name}": value for name, value in scale.items()}


def standard() -> tuple[BacktestScenario, ...]:
    """The scenarios that are part of the program: short and long requests, one node and three."""
    return tuple(_standard(name) for name in STANDARD)


def _ignore(_: str) -> None: ...


def find_scenario(argument: str, warn: Warn = _ignore) -> BacktestScenario:
    """The standard scenario of that name, or the one in that file.

    Raises:
        BacktestScenarioError: there is neither, or the scenario is invalid.
    """
    if argument in STANDARD:
        return _standard(argument)
    path = Path(argument)
    if not os.path.exists(path):
        hint = did_you_mean(argument, STANDARD)
        problem = f"{argument}: neither a file nor a standard scenario{hint}"
        raise BacktestScenarioError([f"{problem}; the standard ones are {', '.join(STANDARD)}"])
    return read_scenario(path, warn)


def read_scenario(path: Path, warn: Warn = _ignore) -> BacktestScenario:
    """Read a scenario. Its name is that of the file.

    Raises:
        BacktestScenarioError: with a sentence for every problem.
    """
    hint = f"name a file or a standard scenario: {', '.join(STANDARD)}"
    document, lines = read_toml(path, BacktestScenarioError, hint=hint)
    sources = KeySources(str(path), {}, line_of=lines.of)
    aliases = Aliases(sources)
    replace_former_names(document, aliases)
    if aliases.problems:
        raise BacktestScenarioError(aliases.problems)
    for warning in aliases.warnings:
        warn(warning)
    return _resolved(_validated(document, sources), path.stem)


def _standard(name: str) -> BacktestScenario:
    file = resources.files("autoscaler.backtest") / "scenarios" / f"{name}.toml"
    document = tomllib.loads(file.read_text(encoding="utf-8"))
    return _resolved(_validated(document, KeySources(str(file), {})), name)


def _validated(tables: dict[str, Any], sources: KeySources) -> ScenarioDocument:
    try:
        document = ScenarioDocument(**tables)
    except ValidationError as error:
        problems = Problems()
        for key_path, text in describe(error, ScenarioDocument):
            problems.add(key_path, text)
        raise BacktestScenarioError(problems.sentences(sources)) from None
    conflicts = Problems()
    for key_path, text in document.conflicts():
        conflicts.add(key_path, text)
    if conflicts:
        raise BacktestScenarioError(conflicts.sentences(sources))
    return document


def _resolved(document: ScenarioDocument, name: str) -> BacktestScenario:
    model, deployment, nodes = document.model, document.deployment, document.nodes
    callers, slo, trace = document.callers, document.slo, document.trace
    return BacktestScenario(
        name=name,
        version=behaviour_of(document.version).number,
        service_time_s=model.service_time,
        service_cv=model.service_cv,
        load_s=model.load,
        control_s=model.control,
        warm_up_s=model.warm_up,
        warm_up_factor=model.warm_up_factor,
        queue_capacity=deployment.queue_capacity,
        min_allocations=deployment.min_allocations,
        max_allocations=deployment.max_allocations or nodes.count * nodes.processors,
        nodes=nodes.count,
        processors=nodes.processors,
        physical_cores=nodes.physical_cores or nodes.processors,
        zones=nodes.zones,
        timeout_s=callers.timeout,
        retry_share=callers.retry_share,
        retry_after_s=callers.retry_after,
        slo_wait_s=slo.wait,
        slo_target=slo.target,
        poll_interval_s=document.poll_interval,
        scale=Scale(
            allocations=trace.allocations, utilisation=trace.utilisation, factor=trace.factor
        ),
        sizes=trace.sizes,
        hours=None if trace.window is None else trace.window / 3600.0,
        begins_at=trace.begins_at.timestamp(),
        start_h=None if trace.start is None else trace.start / 3600.0,
    )
