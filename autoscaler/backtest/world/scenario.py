"""Scenarios: a deployment, the nodes it runs on, its callers, and what they were promised.

They are TOML files. The standard ones, in `autoscaler/laboratory/scenarios`, explain every key.
"""

import os
import re
import tomllib
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from autoscaler.backtest.toml_lines import line_of, lines_of_keys
from autoscaler.backtest.world.scenario_document import ScenarioDocument
from autoscaler.config.messages import did_you_mean
from autoscaler.errors import InputError
from autoscaler.simulation.versions import behaviour_of

STANDARD = ("short-one-node", "short-three-nodes", "long-one-node", "long-three-nodes")
"""The scenarios that are part of the program."""

SHOWN_CHARACTERS = 60


class BacktestScenarioError(InputError):
    """A scenario that cannot be used: one sentence a problem, with file, line and key."""


class Scale(Struct, frozen=True, kw_only=True):
    """What the rate of a trace is multiplied by: a factor, or what makes it so demanding."""

    allocations: float | None = None  # that the 99th percentile of the rate needs ...
    utilisation: float = 0.7  # ... when each of them is busy for so much of the time
    factor: float | None = None  # or simply this


class BacktestScenario(Struct, frozen=True, kw_only=True):
    """All that a run needs to know but for the load: durations in seconds, and counts."""

    name: str
    version: str  # of Elasticsearch, in full
    service_time_s: float  # mean, on an idle machine
    service_cv: float  # coefficient of variation; the law is log-normal
    load_s: float  # until a process on another node is ready: its start, and loading the model
    control_s: float  # until a process on the same node heeds a new number
    warm_up_s: float  # a process so young is slower,
    warm_up_factor: float  # by so much
    queue_capacity: int  # of each process
    min_allocations: int  # of every policy, except a rule that sets its own
    max_allocations: int
    nodes: int
    processors: int  # of each node
    physical_cores: int  # of each node; more threads than these slow all of them down
    timeout_s: float
    retry_share: float  # of failed requests, that are tried once more
    retry_after_s: float
    slo_wait_s: float  # at least `slo_target` of the requests wait no longer than this
    slo_target: float
    poll_interval_s: float  # of our daemon
    scale: Scale
    sizes: bool  # whether the trace's sizes, over their mean, multiply the service time
    hours: float | None  # the length of the part of a trace that is played; None: all of it
    start_h: float | None  # where it begins; None: where it is hardest

    def facts(self) -> dict[str, str | int | float | bool | None]:
        """Everything by its name, flat, for a file of results."""
        facts = asdict(self)
        scale = asdict(facts.pop("scale"))
        return facts | {f"scale_{name}": value for name, value in scale.items()}


def standard() -> tuple[BacktestScenario, ...]:
    """The scenarios that are part of the program: short and long requests, one node and three."""
    return tuple(_shipped(name) for name in STANDARD)


def find_scenario(argument: str) -> BacktestScenario:
    """The standard scenario of that name, or what is in that file.

    Raises:
        ScenarioError: there is neither, or the file is not a scenario.
    """
    if argument in STANDARD:
        return _shipped(argument)
    path = Path(argument)
    if not os.path.exists(path):
        meant = did_you_mean(argument, STANDARD)
        raise BacktestScenarioError(
            f"{argument}: neither a file nor a standard scenario{meant}; "
            f"the standard ones are {', '.join(STANDARD)}"
        )
    return read_scenario(path)


def read_scenario(path: Path) -> BacktestScenario:
    """Read a scenario, which is called as its file is.

    Raises:
        ScenarioError: with a sentence for every problem.
    """
    try:
        content = path.read_bytes()
        text = content.decode()
    except OSError as error:
        raise BacktestScenarioError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BacktestScenarioError(f"{path}, line {line}: is not UTF-8 text") from None
    return _parsed(text, str(path), path.stem)


def _shipped(name: str) -> BacktestScenario:
    file = resources.files("autoscaler.backtest") / "scenarios" / f"{name}.toml"
    return _parsed(file.read_text(encoding="utf-8"), str(file), name)


def _parsed(text: str, place: str, name: str) -> BacktestScenario:
    try:
        document = ScenarioDocument(**tomllib.loads(text))
        problems = list(document.contradictions())
    except tomllib.TOMLDecodeError as error:
        raise BacktestScenarioError(_syntax_error(str(error), text, place)) from None
    except ValidationError as error:
        problems = list(_complaints(error))
    if problems:
        lines = lines_of_keys(text)
        raise BacktestScenarioError(
            "\n".join(
                f"{place}, line {line_of(path, lines)}: {'.'.join(path)}: {complaint}"
                for path, complaint in problems
            )
        )
    return _settled(document, name)


def _settled(document: ScenarioDocument, name: str) -> BacktestScenario:
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
        start_h=None if trace.start is None else trace.start / 3600.0,
    )


def _syntax_error(message: str, text: str, place: str) -> str:
    found = re.fullmatch(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", message)
    complaint, line = (found[1], found[2]) if found else (message, None)
    last = text.rstrip().count("\n") + 1
    return f"{place}, line {line or last}: {complaint}"


def _complaints(error: ValidationError) -> Iterator[tuple[tuple[str, ...], str]]:
    for details in error.errors(include_url=False):
        path = tuple(str(part) for part in details["loc"])
        yield path, _complaint(details, path)


def _complaint(details: ErrorDetails, path: tuple[str, ...]) -> str:
    match details["type"]:
        case "extra_forbidden":
            return f"no such key{did_you_mean(path[-1], _siblings(path))}; remove or rename it"
        case "missing":
            return "is missing; add it"
        case "value_error":
            return str(details["ctx"]["error"])
        case "model_type":
            return f"must be a table: write [{path[-1]}]"
    message, value = details["msg"].replace("Input should", "must"), details["input"]
    shown = isinstance(value, str | int | float) and len(str(value)) <= SHOWN_CHARACTERS
    return f"{message}, not {value!r}" if shown else message


def _siblings(path: tuple[str, ...]) -> list[str]:
    table: Any = ScenarioDocument
    for part in path[:-1]:
        table = table.model_fields[part].annotation
    assert issubclass(table, BaseModel)
    return list(table.model_fields)
