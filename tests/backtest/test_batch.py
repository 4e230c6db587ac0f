"""Batches of tasks: nothing that is finished is lost, and every gap has a name."""

import io
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from msgspec import Struct
from rich.console import Console

from autoscaler.backtest.batch import progress_on, run_all
from autoscaler.errors import UserError


class Sum(Struct, frozen=True):
    name: str
    figures: tuple[int, ...]
    ill: str = ""


def add(task):
    """The work of the tests. What is wrong with a task happens to whoever does it."""
    if task.ill == "mistake":
        raise UserError("the figures are of no use; bring others")
    if task.ill == "defect":
        raise KeyError("nothing there")
    if task.ill == "death":
        os._exit(9)
    if task.ill == "interrupt":
        raise KeyboardInterrupt
    return sum(task.figures)


def tasks(*ills):
    return [Sum(f"sum {n}", (n, n), ill) for n, ill in enumerate(ills)]


@pytest.mark.parametrize("workers", [1, 2])
class TestAllOfThem:
    def test_the_results_are_in_the_order_of_the_tasks(self, workers):
        batch = run_all(tasks(*[""] * 7), add, workers=workers)
        assert batch.results == (0, 2, 4, 6, 8, 10, 12)
        assert (batch.failures, batch.missing, batch.interrupted) == ((), 0, False)

    def test_progress_is_told_of_every_task_that_is_over(self, workers):
        told = []
        run_all(
            tasks("", "defect", ""),
            add,
            workers=workers,
            progress=lambda done, total: told.append((done, total)),
        )
        assert told == [(1, 3), (2, 3), (3, 3)]

    def test_one_that_raises_is_named_and_the_others_finish(self, workers):
        batch = run_all(tasks("", "mistake", "defect", ""), add, workers=workers)
        assert batch.results == (0, 6)
        assert batch.missing == 2
        mistake, defect = (failure.sentence for failure in batch.failures)
        assert mistake == "sum 1: the figures are of no use; bring others"
        assert defect.startswith("sum 2: an error of the program itself, please report it: KeyErr")
        assert "test_batch.py:" in defect

    def test_no_tasks_are_done_at_once(self, workers):
        batch = run_all([], add, workers=workers)
        assert (batch.results, batch.total, batch.missing) == ((), 0, 0)


def test_one_whose_process_dies_is_named_and_the_others_finish():
    batch = run_all(tasks("", "", "death", "", ""), add, workers=2)
    assert batch.results == (0, 2, 6, 8)
    assert [failure.sentence for failure in batch.failures] == [
        "sum 2: its process died, perhaps for want of memory"
    ]


def test_an_interrupt_leaves_what_is_finished():
    batch = run_all(tasks("", "", "interrupt", ""), add, workers=1)
    assert batch.results == (0, 2)
    assert (batch.interrupted, batch.missing, batch.total) == (True, 2, 4)


def test_an_interrupt_between_two_results_ends_the_processes_too():
    def interrupt(done, total):
        raise KeyboardInterrupt

    batch = run_all(tasks(*[""] * 9), add, workers=2, progress=interrupt)
    assert batch.interrupted
    assert len(batch.results) == 1


CONTROL_C = """
from tests.backtest.test_batch import Sum, linger
from autoscaler.backtest.batch import run_all

def told(done, total):
    print(done, "of", total, flush=True)

if __name__ == "__main__":
    tasks = [Sum(str(n), (n,)) for n in (0, 1, 600, 601, 602)]
    batch = run_all(tasks, linger, workers=2, progress=told)
    print(batch.results, batch.interrupted, batch.missing, flush=True)
"""


def linger(task):
    """Small sums at once, large ones never."""
    if sum(task.figures) > 100:
        threading.Event().wait()
    return sum(task.figures)


class TestSignals:
    @pytest.fixture
    def running(self, tmp_path):
        """A program, in a session of its own, that has finished two tasks and will not the rest."""
        script = tmp_path / "program.py"
        script.write_text(CONTROL_C)
        with subprocess.Popen(
            [sys.executable, str(script)],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as program:
            try:
                assert [program.stdout.readline() for _ in range(2)] == ["1 of 5\n", "2 of 5\n"]
                yield program
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(program.pid, signal.SIGKILL)

    def test_control_c_ends_it_at_once_and_without_a_traceback(self, running):
        os.killpg(running.pid, signal.SIGINT)  # as a terminal does: to every process
        output, errors = running.communicate(timeout=30)
        assert output == "(0, 1) True 3\n"
        assert errors == ""
        assert running.returncode == 0

    def test_no_process_outlives_a_parent_that_is_killed(self, running):
        running.kill()
        # Its processes hold the other ends of the pipes, so this ends when the last of them does.
        running.communicate(timeout=30)


class TestProgress:
    def test_without_a_terminal_it_is_a_line_now_and_then(self):
        console = Console(file=io.StringIO(), force_terminal=False, width=80)
        with progress_on(console, "runs") as progress:
            for done in range(1, 101):
                progress(done, 100)
        lines = console.file.getvalue().splitlines()
        assert len(lines) == 10
        assert lines[0] == "runs: 10 of 100"

    def test_on_a_terminal_it_is_a_bar_that_leaves_nothing_behind(self):
        console = Console(file=io.StringIO(), force_terminal=True, width=80)
        with progress_on(console, "runs") as progress:
            progress(3, 4)
        assert "3/4" in console.file.getvalue()
        assert console.file.getvalue().endswith("\x1b[2K")
