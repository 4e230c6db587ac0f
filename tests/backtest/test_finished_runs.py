"""The file of finished runs: nothing in it is run again, and nothing damaged is used."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from msgspec import Struct
from msgspec.structs import replace

from autoscaler.backtest.executors.local import LocalProcesses
from autoscaler.backtest.finished_runs import HEADER, FinishedRuns, opened_runs
from autoscaler.backtest.program import this_program
from autoscaler.backtest.resumption import RunKeys, run_remaining
from autoscaler.errors import UserError
from tests.plugins import install

ROOT = Path(__file__).parents[2]


class Square(Struct, frozen=True):
    """A result."""

    root: int
    value: float


class Squares(Struct, frozen=True):
    """A task with several runs."""

    roots: tuple[int, ...]

    @property
    def name(self):
        return f"squares of {self.roots}"

    def runs(self):
        return [Squares((root,)) for root in self.roots]

    def only(self, indices):
        return Squares(tuple(self.roots[index] for index in indices))


ran = []


def square(task):
    """The work, in this process. It notes what it ran."""
    ran.extend(task.roots)
    if any(root < 0 for root in task.roots):
        raise UserError("a root is negative")
    return [Square(root, root * 1.1) for root in task.roots]


@pytest.fixture(autouse=True)
def nothing_ran():
    ran.clear()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "finished.runs"


def run(path, *tasks, said=None):
    """Run the tasks. Returns the batch and what was run."""
    ran.clear()
    sentences = [] if said is None else said
    with opened_runs(path, Square, sentences.append) as finished:
        tasks = [Squares(roots) for roots in tasks]
        batch = run_remaining(
            tasks, square, finished, executors=LocalProcesses(1), say=sentences.append
        )
    return batch, list(ran)


class TestResumption:
    def test_finished_runs_are_not_run_again(self, path):
        first, ran_first = run(path, (1, 2), (3,))
        again, ran_again = run(path, (1, 2), (3,))
        assert (ran_first, ran_again) == ([1, 2, 3], [])
        assert again == first

    def test_only_the_missing_runs_of_a_task_are_run(self, path):
        run(path, (2,), (5,))
        batch, ran_again = run(path, (1, 2, 3), (4, 5))
        assert ran_again == [1, 3, 4]
        assert [[each.root for each in task] for task in batch.results] == [[1, 2, 3], [4, 5]]

    def test_it_is_stated_how_many_are_finished(self, path):
        run(path, (1, 2))
        said = []
        run(path, (1, 2, 3), said=said)
        assert said == ["2 of 3 runs are finished already"]

    def test_a_failed_task_is_run_again(self, path):
        batch, _ = run(path, (1,), (-1,))
        assert (batch.missing, len(batch.failures)) == (1, 1)
        assert run(path, (1,), (-1,))[1] == [-1]

    def test_results_are_read_back_to_the_last_bit(self, path):
        value = 0.1 + 0.2
        with opened_runs(path, Square, print) as finished:
            finished.add("k", Square(1, value))
        with opened_runs(path, Square, print) as finished:
            assert finished.get("k").value.hex() == value.hex()


class Inputs(Struct, frozen=True):
    """What a run depends on."""

    load: np.ndarray
    seed: int = 1


class TestKeys:
    RUN = Inputs(load=np.array([1, 2, 3]))

    def key(self, run, work=square, **program):
        return RunKeys(work, replace(this_program(), **program)).of(run)

    def test_the_same_run_has_the_same_key(self):
        assert self.key(self.RUN) == self.key(Inputs(load=np.array([1, 2, 3])))

    @pytest.mark.parametrize(
        "other",
        [
            Inputs(load=np.array([1, 2, 4])),
            Inputs(load=np.array([1.0, 2.0, 3.0])),
            Inputs(load=np.array([[1, 2, 3]])),
            Inputs(load=np.array([1, 2, 3]), seed=2),
        ],
    )
    def test_each_difference_of_a_run_is_another_key(self, other):
        assert self.key(other) != self.key(self.RUN)

    @pytest.mark.parametrize("field", ["version", "source", "python", "policies", "machine"])
    def test_each_difference_of_the_program_is_another_key(self, field):
        assert self.key(self.RUN, **{field: "other"}) != self.key(self.RUN)

    def test_an_installed_policy_that_was_edited_is_another_key(self, tmp_path, monkeypatch):
        """One in a checkout changes without its version."""
        install(
            tmp_path, monkeypatch, "A = 1", name="edited-policy", points="edited = edited_policy:A"
        )
        before = this_program.__wrapped__()
        assert this_program.__wrapped__() == before
        (tmp_path / "edited_policy.py").write_text("A = 2")
        assert this_program.__wrapped__().policies != before.policies

    def test_a_module_beside_that_of_an_installed_policy_is_part_of_it(self, tmp_path, monkeypatch):
        points = "edited = edited_package.policies.one:A"
        install(tmp_path, monkeypatch, "", name="edited", points=points)
        package = tmp_path / "edited_package"
        (package / "policies").mkdir(parents=True)
        for name in ("__init__", "policies/__init__", "policies/one", "sizes"):
            (package / f"{name}.py").write_text("A = 1")
        before = this_program.__wrapped__()
        (package / "sizes.py").write_text("A = 2")
        assert this_program.__wrapped__().policies != before.policies

    def test_an_installed_policy_without_its_module_is_no_error(self, tmp_path, monkeypatch):
        install(tmp_path, monkeypatch, "", name="edited", points="edited = absent.module:A")
        assert this_program.__wrapped__().policies != this_program().policies

    def test_another_version_of_numpy_is_another_key(self):
        packages = {**this_program().packages, "numpy": "0"}
        assert self.key(self.RUN, packages=packages) != self.key(self.RUN)

    def test_other_work_is_another_key(self):
        assert self.key(self.RUN, work=run) != self.key(self.RUN)


class TestDamage:
    def test_a_last_line_that_a_kill_cut_off_is_run_again(self, path):
        run(path, (1, 2, 3))
        path.write_bytes(path.read_bytes()[:-5])
        said = []
        assert run(path, (1, 2, 3), said=said)[1] == [3]
        assert said == ["2 of 3 runs are finished already"]
        assert run(path, (1, 2, 3))[1] == []

    def test_no_cut_loses_more_than_the_lines_behind_it(self, path):
        run(path, (1, 2, 3))
        whole = path.read_bytes()
        for end in range(len(whole)):
            path.write_bytes(whole[:end])
            lines = max(0, whole[:end].count(b"\n") - 1)
            assert len(run(path, (1, 2, 3))[1]) == 3 - lines

    def test_a_damaged_line_is_run_again_and_the_file_is_set_aside(self, path):
        run(path, (1, 2, 3))
        before = path.read_bytes()
        damaged = before.replace(b'"root":2', b'"root":8')
        path.write_bytes(damaged)
        said = []
        batch, ran_again = run(path, (1, 2, 3), said=said)
        assert ran_again == [2]
        assert [each.root for each in batch.results[0]] == [1, 2, 3]
        assert "finished.runs.aside-1; 2 finished runs of it are used" in said[0]
        assert path.with_name("finished.runs.aside-1").read_bytes() == damaged
        assert run(path, (1, 2, 3))[1] == []

    @pytest.mark.parametrize("content", [b"t_seconds,requests\n0,1\n", b"\0" * 5000, b"SQLite"])
    def test_a_file_with_other_content_is_set_aside_unchanged(self, path, content):
        path.write_bytes(content)
        said = []
        assert run(path, (1,), said=said)[1] == [1]
        assert "no finished runs of it are used" in said[0]
        assert path.with_name("finished.runs.aside-1").read_bytes() == content
        assert path.read_bytes().startswith(HEADER)

    def test_any_damaged_byte_is_noticed(self, path):
        run(path, (1, 2, 3))
        whole, draw = path.read_bytes(), random.Random(1)
        for _ in range(200):
            at = draw.randrange(len(whole))
            damaged = bytearray(whole)
            damaged[at] ^= 1 << draw.randrange(8)
            path.write_bytes(damaged)
            (batch, _) = run(path, (1, 2, 3))
            assert batch.results == ([Square(root, root * 1.1) for root in (1, 2, 3)],)

    def test_a_result_of_another_shape_is_run_again(self, path):
        class Other(Struct):
            name: str

        key = RunKeys(square).of(Squares((1,)))
        with opened_runs(path, Other, print) as finished:
            finished.add(key, Other("no square"))
        assert run(path, (1,))[1] == [1]

    def test_two_runs_at_a_time_are_refused(self, path):
        in_use = pytest.raises(UserError, match="is in use by another run")
        with opened_runs(path, Square, print), in_use:
            run(path, (1,))

    def test_a_folder_is_refused(self, tmp_path):
        with pytest.raises(UserError, match="--resume: cannot use"):
            run(tmp_path, (1,))

    def test_a_full_disk_is_reported_once_and_the_runs_go_on(self):
        said = []
        if not Path("/dev/full").exists():
            pytest.skip("/dev/full is of Linux")
        descriptor = os.open("/dev/full", os.O_RDWR)
        try:
            finished = FinishedRuns(Path("full"), descriptor, Square, said.append)
            for root in range(3):
                finished.add(str(root), Square(root, 1.0))
        finally:
            os.close(descriptor)
        (sentence,) = said
        assert sentence.startswith("full cannot be written: no space left on device; the runs")


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.backtest.test_finished_runs import Square, run

import tests.backtest.test_finished_runs as tests

def until(task, work=tests.square):
    if sys.argv[2] in map(str, task.roots):
        os.kill(os.getpid(), signal.SIGKILL)
    return work(task)

until.__module__, until.__qualname__ = tests.square.__module__, tests.square.__qualname__
tests.square = until
run(Path(sys.argv[1]), *[(n,) for n in range(10)])
"""


def test_an_error_of_the_runs_is_not_one_of_the_file(path):
    with pytest.raises(OSError, match="the terminal is gone"), opened_runs(path, Square, print):
        raise OSError("the terminal is gone")


def test_a_disk_that_is_full_while_a_damaged_file_is_copied_is_one_sentence(path, monkeypatch):
    run(path, (1, 2, 3))
    path.write_bytes(path.read_bytes().replace(b'"root":2', b'"root":9'))
    monkeypatch.setattr(os, "write", lambda descriptor, content: 0)
    with pytest.raises(UserError, match="no space left on device; name a file in an existing"):
        run(path, (4,))


def test_what_was_finished_before_a_kill_is_not_run_again(path):
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(path), "6"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert run(path, *[(n,) for n in range(10)])[1] == [6, 7, 8, 9]
    assert json.loads(path.read_bytes().splitlines()[1].split(b" ", 2)[2])["root"] == 0
