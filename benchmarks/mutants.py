"""Mutation testing of the core: which small changes of it does no test notice? `make mutants`

Draws mutants of `autoscaler/core` from a seed and runs the tests that execute the changed line
against each: those of the core first, and the other fast ones if these pass. A mutant that passes
them all has survived. Results are kept in a folder, so that a run that was interrupted goes on
where it ended; another seed or more mutants add to it.

Annotations are not mutated, since they have no effect when the program runs. The mutants are made
by cosmic-ray, and tested in copies of the repository.
"""

import argparse
import ast
import json
import math
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from cosmic_ray.ast import ast_nodes, get_ast_from_path
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

from benchmarks.covering_tests import CORE, PYTEST, Covering, CoveringTests, environment

STAGES = (
    ("tests/core", "autoscaler/core"),  # the latter for the examples in docstrings
    ("tests", "--ignore=tests/core", "--ignore=tests/backtest", "--ignore=tests/simulation"),
    ("tests/backtest", "tests/simulation"),
)
"""The tests, in the order in which they are run until one fails."""

TOO_EASY = ("Shift", "BitOr", "BitAnd", "BitXor", "MatMul", "Pow", "Is", "IsNot")
"""What replaces an operator in mutants that are left out: nearly all numbers are floats, which have
no such operators, so that any test that executes the line fails."""

EQUIVALENT = ("_Is_Eq", "_IsNot_NotEq")
"""The replacements that are left out because they change nothing: what is compared by identity is
None, a truth value, a member of an enumeration, or an object that is kept."""

OPERATORS = ("operator", "comparison", "factor", "not_test")
"""Nodes of a syntax tree whose operator may be replaced."""

SURVIVED = "survived"
"""A result of `benchmarks.mutant_runner`."""

RAN = (0, 5)
"""Codes with which pytest ends after its tests have been collected."""

Position = tuple[int, int]  # line and column, from 1 and 0


class Mutant(NamedTuple):
    """One change of one module."""

    module: str
    operator: str
    occurrence: int  # of those that the operator finds in the module
    line: int

    @property
    def key(self) -> str:
        return f"{self.module}:{self.line} {self.operator} #{self.occurrence}"

    def sources(self) -> tuple[str, str]:
        """The module without the change, and with it."""
        before = Path(self.module).read_text()
        after = mutate_code(before, get_operator(self.operator)(), self.occurrence)
        assert after is not None, self
        return before, after


def mutants() -> Iterator[Mutant]:
    """All mutants of the core, in a fixed order."""
    for module in sorted(CORE.rglob("*.py")):
        tree, ignored = get_ast_from_path(module), list(_annotations(module))
        nodes = list(ast_nodes(tree))
        with_operators = [node for node in nodes if node.type in OPERATORS]
        for name in sorted(operator_names()):
            if get_operator(name).arguments() or name.endswith(TOO_EASY + EQUIVALENT):
                continue  # with arguments: they would have to fit the module
            operator = get_operator(name)()
            places = (
                (node, place)
                for node in (with_operators if "Operator" in name else nodes)
                for place in operator.mutation_positions(node)
            )
            for occurrence, (node, (begin, end)) in enumerate(places):
                annotates = any(first <= begin and end <= last for first, last in ignored)
                if not annotates and not ("BinaryOperator" in name and _unpacks(node)):
                    yield Mutant(str(module), name, occurrence, begin[0])


def _unpacks(node: Any) -> bool:
    """Whether an operator is none: an asterisk in a signature or in a display of a dictionary."""
    return node.parent.type in ("parameters", "dictorsetmaker", "atom")


def _annotations(module: Path) -> Iterator[tuple[Position, Position]]:
    """Where the annotations are, and what only forbids a way to call a class."""
    for node in ast.walk(ast.parse(module.read_text())):
        found: Sequence[ast.expr | None] = ()
        if isinstance(node, ast.AnnAssign | ast.arg):
            found = (node.annotation,)
        elif isinstance(node, ast.FunctionDef):
            found = (node.returns,)
        elif isinstance(node, ast.ClassDef):
            found = [each.value for each in node.keywords if each.arg == "kw_only"]
        for each in found:
            if each is not None:
                assert each.end_lineno is not None
                assert each.end_col_offset is not None
                yield (each.lineno, each.col_offset), (each.end_lineno, each.end_col_offset)


class Laboratory:
    """Copies of the repository, in which the tests of one stage are run against mutants."""

    def __init__(
        self, trees: Sequence[Path], python: Path, tests: Sequence[str], seconds: float
    ) -> None:
        self._trees, self._python, self._tests = trees, python, tests
        self._seconds = seconds
        self._folder = trees[0].parent
        self._results = self._folder / f"results-{STAGES.index(tuple(tests)) + 1}.jsonl"

    def results(self) -> dict[str, str]:
        """The first test that failed for each mutant that was tested, by its key; or `SURVIVED`."""
        if not self._results.exists():
            return {}
        lines = map(json.loads, self._results.read_text().splitlines())
        return {each["mutant"]: each["killed_by"] for each in lines}

    def forget_survivors(self) -> None:
        """Survivors are tested again, with the tests that there are now."""
        kept = {key: test for key, test in self.results().items() if test != SURVIVED}
        lines = (json.dumps({"mutant": key, "killed_by": test}) for key, test in kept.items())
        self._results.write_text("".join(f"{each}\n" for each in lines))

    def test(self, mutants: Sequence[Mutant]) -> None:
        """Run the tests against mutants, and record the results."""
        covering = CoveringTests(self._trees[0], self._folder, self._python, self._tests)
        tasks = [(each, covering.of(each.module, each.line, self._seconds)) for each in mutants]
        workers = len(self._trees)
        with ThreadPoolExecutor(workers) as pool:
            parts = [tasks[number::workers] for number in range(workers)]
            list(pool.map(self._work, self._trees, parts))

    def _work(self, tree: Path, tasks: Sequence[tuple[Mutant, Covering]]) -> None:
        """Test mutants of functions in one session of pytest, and each of the others in its own."""
        forked = [_task(mutant, covering) for mutant, covering in tasks if not covering.at_import]
        if forked and (code := self._run(tree, forked, self._tests)) not in RAN:
            sys.exit(f"pytest ended with {code}")
        tested = self.results()
        for mutant, covering in tasks:
            if mutant.key not in tested:
                self._test_at_import(tree, mutant, covering)

    def _test_at_import(self, tree: Path, mutant: Mutant, covering: Covering) -> None:
        module, (before, after) = tree / mutant.module, mutant.sources()
        files = sorted({test.split("::")[0] for test, _ in covering.tests})
        module.write_text(after)
        code = self._run(tree, [_task(mutant, covering) | {"after": ""}], files or self._tests)
        module.write_text(before)
        if code not in RAN:
            result = {"mutant": mutant.key, "killed_by": "the tests cannot be collected"}
            with self._results.open("a") as results:
                results.write(json.dumps(result) + "\n")

    def _run(self, tree: Path, tasks: Sequence[dict[str, Any]], tests: Sequence[str]) -> int:
        """Have `benchmarks.mutant_runner` work on tasks, with the tests that it is to collect."""
        listed = tree.with_suffix(".jsonl")
        listed.write_text("".join(json.dumps(each) + "\n" for each in tasks))
        options = ("--mutants", str(listed.absolute()), "--results", str(self._results.absolute()))
        command = [str(self._python), *PYTEST, "-p", "benchmarks.mutant_runner", *options]
        command += ["-n0", "--no-summary", *tests]
        return subprocess.run(command, cwd=tree, env=environment(tree), check=False).returncode


def _task(mutant: Mutant, covering: Covering) -> dict[str, Any]:
    """What `benchmarks.mutant_runner` reads."""
    before, after = mutant.sources()
    return {
        "mutant": mutant.key,
        "module": mutant.module,
        "before": before,
        "after": after,
        "tests": covering.tests,
    }


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
    parser.add_argument("--stages", type=int, default=len(STAGES), help="1: the core's tests alone")
    parser.add_argument(
        "--seconds", type=float, default=math.inf, help="of tests for each mutant, for a quick look"
    )
    parser.add_argument("--again", action="store_true", help="test the survivors again")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--python", type=Path, required=True, help="an interpreter with pytest")
    parser.add_argument("--folder", type=Path, default=Path("build/mutants"))
    chosen = parser.parse_args()
    every = list(mutants())
    drawn = random.Random(chosen.seed).sample(every, min(chosen.count, len(every)))
    trees = [_copied(chosen.folder / f"tree-{number}") for number in range(chosen.workers)]
    left = drawn
    for tests in STAGES[: chosen.stages]:
        laboratory = Laboratory(trees, chosen.python.absolute(), tests, chosen.seconds)
        if chosen.again:
            laboratory.forget_survivors()
        tested = laboratory.results()
        if new := [each for each in left if each.key not in tested]:
            laboratory.test(new)
        results = laboratory.results()
        left = [each for each in left if results[each.key] == SURVIVED]
    for each in left:
        print(f"survived: {each.key}\n    {_change(*each.sources())}")
    print(
        f"{len(drawn) - len(left)} of {len(drawn)} mutants were killed, of {len(every)} "
        f"that there are; seed {chosen.seed}"
    )
    sys.exit(len(left) > 0.05 * len(drawn))


if __name__ == "__main__":
    main()
