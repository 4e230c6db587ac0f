"""A plugin of pytest that runs tests against many mutants in one session; `benchmarks.mutants`
starts it: `python -m pytest -p benchmarks.mutant_runner --mutants A.jsonl --results B.jsonl`

Importing the modules and collecting the tests takes seconds, and most mutants fail within a tenth
of one. So both are done once; each mutant is then tested in a fork of the process, which replaces
the code of the functions that differ. A mutant of what an import executes cannot be tested so: it
gets no result, and needs a session of its own, whose files already contain it.
"""

import gc
import json
import os
import resource
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest

SURVIVED = "survived"
CO_OPTIMIZED = 1  # of `co_flags`: the code of a function, and not of a class or module

BASE_CPU_S, CPU_FACTOR = 10.0, 2.0
"""Processor time after which a test counts as failed, because a mutant may loop without end: so
many seconds, and so many times what it takes without a mutant."""

MEMORY_BYTES = 8 << 30
"""Address space of a fork, because a mutant may allocate without end."""

Place = tuple[str, int]  # qualified name of a function, and its first line


def replaceable(before: str, after: str) -> dict[Place, CodeType] | None:
    """The functions of a module whose code differs between two sources; None: more differs."""
    return _differing(compile(before, "", "exec"), compile(after, "", "exec"))


def _differing(before: CodeType, after: CodeType) -> dict[Place, CodeType] | None:
    if _without_codes(before) != _without_codes(after):
        return None
    found: dict[Place, CodeType] = {}
    for old, new in zip(_codes(before), _codes(after), strict=True):
        if old == new:
            continue
        if old.co_flags & CO_OPTIMIZED:
            found[new.co_qualname, new.co_firstlineno] = new
        elif (inner := _differing(old, new)) is not None:
            found |= inner
        else:
            return None
    return found


def _codes(code: CodeType) -> list[CodeType]:
    return [each for each in code.co_consts if isinstance(each, CodeType)]


def _without_codes(code: CodeType) -> CodeType:
    """The code without that of functions, and without its positions, since the end of a function is
    among those of the code around it."""
    constants = (None if isinstance(each, CodeType) else each for each in code.co_consts)
    return code.replace(co_consts=tuple(constants), co_linetable=b"")


class Functions:
    """The functions of the core that exist once all tests have been collected."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, Place], list[FunctionType]] = {}
        for each in gc.get_objects():
            if isinstance(each, FunctionType) and str(each.__module__).startswith("autoscaler."):
                code = each.__code__
                place = code.co_qualname, code.co_firstlineno
                self._found.setdefault((each.__module__, place), []).append(each)

    def with_code(
        self, module: str, codes: Mapping[Place, CodeType]
    ) -> list[tuple[FunctionType, CodeType]] | None:
        """The functions of a module, each with its new code; None: one of them does not exist."""
        found = [
            (function, code)
            for place, code in codes.items()
            for function in self._found.get((module, place), [])
        ]
        places = {
            (function.__code__.co_qualname, function.__code__.co_firstlineno)
            for function, _ in found
        }
        return found if places == codes.keys() else None


class _FirstFailure:
    """The first test that fails in this process."""

    test = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.test = self.test or report.nodeid


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--mutants", type=Path, help="tasks, one in JSON a line")
    parser.addoption("--results", type=Path, help="where the results are appended")


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    if session.testsfailed:
        return None  # pytest says which file could not be collected
    config = session.config
    tasks: Path = config.getoption("--mutants")
    results: Path = config.getoption("--results")
    functions = Functions()
    gc.freeze()  # otherwise a collection in a fork copies the whole memory
    for task in map(json.loads, tasks.read_text().splitlines()):
        if (killed_by := _killed_by(session, task, functions)) is None:
            continue
        with results.open("a") as lines:
            lines.write(json.dumps({"mutant": task["mutant"], "killed_by": killed_by}) + "\n")
        config.get_terminal_writer().line(f"{killed_by[-90:]:<90} {task['mutant']}", flush=True)
    return True


def _killed_by(session: pytest.Session, task: dict[str, Any], functions: Functions) -> str | None:
    """The first test that fails, or `SURVIVED`; None: a fork cannot contain the mutant."""
    replaced: list[tuple[FunctionType, CodeType]] | None = []
    if task["after"]:
        codes = replaceable(task["before"], task["after"])
        module = task["module"].removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        replaced = None if codes is None else functions.with_code(module, codes)
        if not replaced:
            return None
    items = list(_items(session, task["tests"]))
    assert items or not task["tests"], "none of the tests has been collected"
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            for function, code in replaced or ():
                function.__code__ = code
            result = _first_failure(session, items)
            os.write(writing, result.encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        result = pipe.read().decode()
    os.waitpid(child, 0)
    return result or "too much time or memory"


def _items(
    session: pytest.Session, tests: Sequence[tuple[str, float]]
) -> Iterator[tuple[pytest.Item, float]]:
    """The tests of these names, and all of a file that is named, each with its seconds."""
    by_name = {each.nodeid: each for each in session.items}
    for name, duration in tests:
        if name in by_name:
            yield by_name[name], duration
        elif name.endswith(".py"):
            yield from (
                (each, duration) for each in session.items if each.nodeid.startswith(f"{name}::")
            )


def _first_failure(session: pytest.Session, items: Sequence[tuple[pytest.Item, float]]) -> str:
    plugins = session.config.pluginmanager
    plugins.unregister(name="terminalreporter")
    plugins.register(failure := _FirstFailure())
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    for number, (item, duration) in enumerate(items):
        usage = resource.getrusage(resource.RUSAGE_SELF)
        limit = usage.ru_utime + usage.ru_stime + BASE_CPU_S + CPU_FACTOR * duration
        resource.setrlimit(resource.RLIMIT_CPU, (int(limit), resource.RLIM_INFINITY))
        following = items[number + 1][0] if number + 1 < len(items) else None
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if failure.test:
            return failure.test
    return SURVIVED
