"""Which tests execute a line of the core, for `benchmarks.mutants`: those alone can notice that it
is wrong.

One run of the tests under coverage records it. What is executed while modules are imported belongs
to no test: constants, defaults of parameters and fields, decorators. The tests that may notice one
of those are the ones that execute a line with the name that it defines.
"""

import ast
import hashlib
import json
import os
import re
import sqlite3
import subprocess
from collections.abc import Iterator, Sequence
from functools import cache, cached_property
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

CORE = Path("autoscaler/core")
PYTEST = (
    *("-m", "pytest", "-q", "-c", "pyproject.toml"),  # and not of the repository around a copy
    *("-p", "no:randomly", "-p", "no:cacheprovider"),
    *("-m", "not deep", "--timeout=0", "--hypothesis-profile=first failure"),
)
COVERAGE = "[run]\nsource = autoscaler/core\nrelative_files = true\n"
SHORTEST_S = 0.01
"""Tests that take less than so many seconds are not timed."""

NEW_S = 5.0
"""What a test is taken to need that was not recorded."""

EAGER = 0.1
"""The tests that import the module run as early as others that take so many times as long."""

TIMED = re.compile(r"^([\d.]+)s (?:setup|call|teardown) +(.*)", re.MULTILINE)
FAILED = re.compile(r"^(?:FAILED|ERROR) (.*?)(?: - .*)?$", re.MULTILINE)
"""Lines that pytest writes."""


class Covering(NamedTuple):
    """The tests that may notice a change of a line: those of its module and fast ones first."""

    tests: list[tuple[str, float]]  # their names, and seconds under coverage
    at_import: bool  # an import executes the line


class CoveringTests:
    """Which lines of the core the tests of one stage execute."""

    def __init__(self, tree: Path, folder: Path, python: Path, tests: Sequence[str]) -> None:
        self._tree, self._tests = tree, tests
        digest = _digest(*sorted((tree / CORE).rglob("*.py")))
        name = "-".join(each.replace("/", "-") for each in tests if not each.startswith("-"))
        data = folder / f"{name}-{digest[:12]}.sqlite"
        details = data.with_suffix(".json")
        if not details.exists():
            print(f"recording which lines {' '.join(tests)} execute", flush=True)
            output = _recorded(tree, data, python, tests)
            details.write_text(json.dumps(self._details(output)))
        self._seconds, self._failed, self._files = json.loads(details.read_text())
        self._database = sqlite3.connect(data)

    def _details(self, output: str) -> tuple[dict[str, float], list[str], dict[str, str]]:
        """Seconds of the tests that are timed, those that fail without any mutant, and a digest of
        each file of tests.
        """
        seconds: dict[str, float] = {}
        for duration, test in TIMED.findall(output):
            seconds[test] = seconds.get(test, 0.0) + float(duration)
        failed = FAILED.findall(output)
        return seconds, failed, self._digests()

    def _digests(self) -> dict[str, str]:
        """A digest of each file of tests of this stage."""
        roots = [self._tree / each for each in self._tests if not each.startswith("-")]
        ignored = [self._tree / each.partition("=")[2] for each in self._tests]
        files = sorted(each for root in roots for each in root.rglob("*.py"))
        return {
            str(each.relative_to(self._tree)): _digest(each)
            for each in files
            if not any(each.is_relative_to(other) for other in ignored if other != self._tree)
        }

    @cached_property
    def _changed_files(self) -> list[str]:
        """The files whose tests have changed since the recording, and the new ones."""
        digests = self._digests().items()
        return [name for name, digest in digests if self._files.get(name) != digest]

    def of(self, module: str, line: int, seconds: float) -> Covering:
        """The tests that may notice a change of a line of a module, of so many seconds in all."""
        first, last = self._statement(module, line)
        executed = self._executed(module)
        tests = {test for number in range(first, last + 1) for test in executed.get(number, ())}
        at_import = not tests or "" in tests
        if at_import:
            tests |= self._users(module, first, last)
        if tests <= {""}:
            tests = {test for each in executed.values() for test in each}
        timed = [
            (test, self._seconds.get(test, SHORTEST_S))
            for test in sorted(tests - {""})
            if test not in self._failed and _file(test) not in self._changed_files
        ]
        likely = self._importing(module)
        timed.sort(key=lambda test: test[1] * (EAGER if _file(test[0]) in likely else 1.0))
        begun = accumulate((duration for _, duration in timed), initial=0.0)
        chosen = [test for test, at in zip(timed, begun, strict=False) if at < seconds]
        return Covering([(file, NEW_S) for file in self._changed_files] + chosen, at_import)

    def _importing(self, module: str) -> set[str]:
        """The files of tests that import a module themselves: its own tests."""
        name = module.removesuffix(".py").replace("/", ".")
        return {
            file for file in self._files if f"from {name} import" in (self._tree / file).read_text()
        }

    def _users(self, module: str, first: int, last: int) -> set[str]:
        """The tests that execute a line with a name that these lines define."""
        names = set(_defined(_parsed(self._tree / module), first, last))
        found: set[str] = set()
        for path in sorted((self._tree / CORE).rglob("*.py")):
            executed = self._executed(str(path.relative_to(self._tree)))
            for node in ast.walk(_parsed(path)):
                if (
                    isinstance(node, ast.Name | ast.Attribute | ast.keyword)
                    and _name(node) in names
                ):
                    found.update(executed.get(node.lineno, ()))
        return found

    def _statement(self, module: str, line: int) -> tuple[int, int]:
        """The lines of the innermost statement at a line, without the body that it may have."""
        best = (line, line)
        for node in ast.walk(_parsed(self._tree / module)):
            if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or line):
                body = getattr(node, "body", None)
                last = body[0].lineno - 1 if body else node.end_lineno
                if last is not None and line <= last:
                    best = (node.lineno, last)
        return best

    @cache  # noqa: B019 - lives as long as the program
    def _executed(self, module: str) -> dict[int, list[str]]:
        """The tests by line; an empty name stands for an import."""
        found: dict[int, list[str]] = {}
        rows = self._database.execute(
            "select context, numbits from line_bits join context on context.id = context_id"
            " join file on file.id = file_id where path = ?",
            (module,),
        )
        for context, bits in rows:
            test = context.rpartition("|")[0]
            for line in _lines(bits):
                found.setdefault(line, []).append(test)
        return found


def _recorded(tree: Path, data: Path, python: Path, tests: Sequence[str]) -> str:
    """The output of a run of tests that records in `data` what they execute."""
    settings = data.with_suffix(".ini")
    settings.write_text(COVERAGE)
    coverage = ("--cov", f"--cov-config={settings.absolute()}", "--cov-context=test")
    times = ("--cov-report=", "--durations=0", f"--durations-min={SHORTEST_S}")
    return subprocess.run(
        [str(python), *PYTEST, *coverage, *times, *tests],
        cwd=tree,
        env=environment(tree) | {"COVERAGE_FILE": str(data.absolute())},
        stdout=subprocess.PIPE,
        text=True,
        check=False,  # tests that fail without any mutant are left out
    ).stdout


def environment(tree: Path) -> dict[str, str]:
    """The environment in which tests import the modules of a copy of the repository."""
    return os.environ | {"PYTHONPATH": str(tree.absolute()), "PYTHONDONTWRITEBYTECODE": "1"}


def _lines(bits: bytes) -> Iterator[int]:
    """The lines of a set in the form in which coverage stores it: a bit for each line.
    https://coverage.readthedocs.io/en/latest/dbschema.html
    """
    for index, byte in enumerate(bits):
        for bit in range(8):
            if byte & 1 << bit:
                yield 8 * index + bit


def _defined(tree: ast.Module, first: int, last: int) -> Iterator[str]:
    """The names that these lines define, and the classes around them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            begin = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            if begin <= last and first <= (node.end_lineno or first):
                yield node.name
        elif (
            isinstance(node, ast.Name)
            and isinstance(node.ctx, ast.Store)
            and first <= node.lineno <= last
        ):
            yield node.id


def _file(test: str) -> str:
    """The file of a test, by its name."""
    return test.partition("::")[0]


def _name(node: ast.Name | ast.Attribute | ast.keyword) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else node.arg


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def _digest(*paths: Path) -> str:
    return hashlib.sha256(b"\0".join(each.read_bytes() for each in paths)).hexdigest()
