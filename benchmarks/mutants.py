"""Mutation testing of the core: which small changes of it does no test notice? `make mutants`

Draws mutants of `autoscaler/core` from a seed and runs the tests against each: those of the core
first, and the other fast ones if these pass. A mutant that passes them all has survived. Results
are kept in a folder, so that a run that was interrupted goes on where it ended; another seed or
more mutants add to it.

Annotations are not mutated, since they have no effect when the program runs. The mutants are made
by cosmic-ray, in copies of the repository.
"""

import argparse
import ast
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from cosmic_ray.ast import ast_nodes, get_ast_from_path
from cosmic_ray.mutating import use_mutation
from cosmic_ray.plugins import get_operator, operator_names

CORE = Path("autoscaler/core")
STAGES = (
    ("tests/core",),
    ("tests", "--ignore=tests/core", "--ignore=tests/backtest", "--ignore=tests/simulation"),
    ("tests/backtest", "tests/simulation"),
)
"""The tests, in the order in which they are run until one fails."""

TOO_EASY = ("Shift", "BitOr", "BitAnd", "BitXor", "MatMul", "Pow", "Is", "IsNot")
"""What replaces an operator in mutants that are left out: nearly all numbers are floats, which have
no such operators, so that any test that executes the line fails."""

PYTEST = ("-m", "pytest", "-x", "-q", "-n0", "-p", "no:randomly", "-p", "no:cacheprovider")
TIMEOUT_S = 3_600.0
"""Seconds after which a stage counts as failed, because a mutant may loop without end."""

Position = tuple[int, int]  # line and column, from 1 and 0


class Mutant(NamedTuple):
    """One change of one module."""

    module: str
    operator: str
    arguments: str  # as JSON
    occurrence: int  # of those that the operator finds in the module
    line: int

    @property
    def key(self) -> str:
        return f"{self.module}:{self.line} {self.operator}{self.arguments} #{self.occurrence}"


def mutants() -> Iterator[Mutant]:
    """All mutants of the core, in a fixed order."""
    for module in sorted(CORE.rglob("*.py")):
        tree, ignored = get_ast_from_path(module), list(_annotations(module))
        for name in sorted(operator_names()):
            operator = get_operator(name)
            if operator.arguments() or name.endswith(TOO_EASY):
                continue  # the former need arguments that fit the module
            places = (
                place for node in ast_nodes(tree) for place in operator().mutation_positions(node)
            )
            for occurrence, (begin, end) in enumerate(places):
                if not any(first <= begin and end <= last for first, last in ignored):
                    yield Mutant(str(module), name, "{}", occurrence, begin[0])


def _annotations(module: Path) -> Iterator[tuple[Position, Position]]:
    """Where the annotations and the aliases of types are."""
    for node in ast.walk(ast.parse(module.read_text())):
        found: Sequence[ast.expr | None] = ()
        if isinstance(node, ast.AnnAssign | ast.arg):
            found = (node.annotation,)
        elif isinstance(node, ast.FunctionDef):
            found = (node.returns,)
        for each in found:
            if each is not None:
                assert each.end_lineno is not None
                assert each.end_col_offset is not None
                yield (each.lineno, each.col_offset), (each.end_lineno, each.end_col_offset)


class Laboratory:
    """Copies of the repository, in which the tests are run against mutants."""

    def __init__(self, folder: Path, python: Path, workers: int) -> None:
        self._folder, self._python = folder, python
        self._results = folder / "results.jsonl"
        self._trees = SimpleQueue[Path]()
        for number in range(workers):
            self._trees.put(_copied(folder / f"tree-{number}"))

    def known(self) -> dict[str, dict[str, str]]:
        """The results so far, by the key of the mutant."""
        if not self._results.exists():
            return {}
        lines = map(json.loads, self._results.read_text().splitlines())
        return {line["mutant"]: line for line in lines}

    def test(self, mutant: Mutant) -> None:
        """Run the tests against a mutant, and record the result."""
        tree = self._trees.get()
        try:
            operator = get_operator(mutant.operator)(**json.loads(mutant.arguments))
            module = tree / mutant.module
            with use_mutation(module, operator, mutant.occurrence) as (before, after):
                killed_by = self._killed_by(tree, module) if after is not None else "no mutant"
            result = {
                "mutant": mutant.key,
                "killed_by": killed_by,
                "change": "" if after is None else _change(before, after),
            }
        finally:
            self._trees.put(tree)
        with self._results.open("a") as results:
            results.write(json.dumps(result) + "\n")
        print(f"{killed_by or 'SURVIVED':<60} {mutant.key}", flush=True)

    def _killed_by(self, tree: Path, module: Path) -> str:
        """The first test that fails; empty: all pass."""
        likely = sorted((tree / "tests/core").rglob(f"test_{module.stem}.py"))
        stages = [tuple(str(each.relative_to(tree)) for each in likely), *STAGES]
        for stage in filter(None, stages):
            if failed := self._failed(tree, stage):
                return failed
        return ""

    def _failed(self, tree: Path, tests: Sequence[str]) -> str:
        environ = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
        process = subprocess.Popen(
            [str(self._python), *PYTEST, "-m", "not deep", *tests],
            cwd=tree,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # so that what it has started ends with it
        )
        try:
            output, _ = process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return "time-out"
        if process.returncode == 0:
            return ""
        named = [
            line.split(" - ")[0].removeprefix("FAILED ").removeprefix("ERROR ")
            for line in output.splitlines()
            if line.startswith(("FAILED ", "ERROR "))
        ]
        return named[0] if named else f"pytest ended with {process.returncode}"


def _copied(tree: Path) -> Path:
    """A new copy of the files under version control, as they are now."""
    shutil.rmtree(tree, ignore_errors=True)
    listed = subprocess.run(
        ["git", "ls-files", "-z"], check=True, capture_output=True, text=True
    ).stdout
    for name in filter(None, listed.split("\0")):
        if Path(name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(name, tree / name)
    return tree


def _change(before: str, after: str) -> str:
    """The lines that differ."""
    pairs = zip(before.splitlines(), after.splitlines(), strict=False)
    return next((f"- {old.strip()} + {new.strip()}" for old, new in pairs if old != new), "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=300, help="mutants to draw")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--python", type=Path, required=True, help="an interpreter with pytest")
    parser.add_argument("--folder", type=Path, default=Path("build/mutants"))
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    every = list(mutants())
    drawn = random.Random(chosen.seed).sample(every, min(chosen.count, len(every)))
    laboratory = Laboratory(chosen.folder, chosen.python.absolute(), chosen.workers)
    known = laboratory.known()
    with ThreadPoolExecutor(chosen.workers) as pool:
        list(pool.map(laboratory.test, [each for each in drawn if each.key not in known]))
    results = laboratory.known()
    found = [results[each.key] for each in drawn]
    survivors = [each for each in found if not each["killed_by"]]
    for each in survivors:
        print(f"survived: {each['mutant']}\n    {each['change']}")
    print(
        f"{len(found) - len(survivors)} of {len(found)} mutants were killed, of {len(every)} "
        f"that there are; seed {chosen.seed}"
    )
    sys.exit(len(survivors) > 0.05 * len(found))


if __name__ == "__main__":
    main()
