"""Batches of tasks: finished results are kept, and every failure is named."""

import io
import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from msgspec import Struct
from rich.console import Console

from autoscaler.backtest.batch import run_all
from autoscaler.backtest.executors.local import LocalProcesses
from autoscaler.backtest.progress import MAX_SILENCE_S, progress_on
from autoscaler.errors import UserError


class Sum(Struct, frozen=True):
    name: str
    figures: tuple[int, ...]
    fault: str = ""


def add(task):
    """The work of the tests, which fails as the task says."""
    if task.fault == "error":
        raise UserError("the figures are of no use; bring others")
    if task.fault == "defect":
        raise KeyError("nothing there")
    if task.fault == "death":
        os._exit(9)
    if task.fault == "interrupt":
        raise KeyboardInterrupt
    return sum(task.figures)


def tasks(*faults):
    return [Sum(f"sum {n}", (n, n), fault) for n, fault in enumerate(faults)]


@pytest.mark.parametrize("workers", [1, 2])
class TestAllOfThem:
    def test_the_results_are_in_the_order_of_the_tasks(self, workers):
        batch = run_all(tasks(*[""] * 7), add, executors=LocalProcesses(workers))
        assert batch.results == (0, 2, 4, 6, 8, 10, 12)
        assert (batch.failures, batch.missing, batch.interrupted) == ((), 0, False)

    def test_progress_is_reported_for_every_finished_task(self, workers):
        reported = []
        run_all(
            tasks("", "defect", ""),
            add,
            executors=LocalProcesses(workers),
            progress=lambda done, total: reported.append((done, total)),
        )
        assert reported == [(1, 3), (2, 3), (3, 3)]

    def test_a_task_that_raises_is_named_and_the_others_finish(self, workers):
        batch = run_all(tasks("", "error", "defect", ""), add, executors=LocalProcesses(workers))
        assert batch.results == (0, 6)
        assert batch.missing == 2
        error, defect = (failure.message for failure in batch.failures)
        assert error == "sum 1: the figures are of no use; bring others"
        assert defect.startswith("sum 2: internal error, please report it: KeyError")
        assert "test_batch.py:" in defect

    def test_a_batch_without_tasks_is_empty(self, workers):
        batch = run_all([], add, executors=LocalProcesses(workers))
        assert (batch.results, batch.total, batch.missing) == ((), 0, 0)


def test_a_task_whose_process_dies_is_named_and_the_others_finish():
    batch = run_all(tasks("", "", "death", "", ""), add, executors=LocalProcesses(2))
    assert batch.results == (0, 2, 6, 8)
    assert [failure.message for failure in batch.failures] == [
        "sum 2: the worker process died, possibly out of memory"
    ]


def test_an_interrupt_keeps_finished_results():
    batch = run_all(tasks("", "", "interrupt", ""), add, executors=LocalProcesses(1))
    assert batch.results == (0, 2)
    assert (batch.interrupted, batch.missing, batch.total) == (True, 2, 4)


def test_an_interrupt_between_two_results_ends_the_processes_too():
    def interrupt(done, total):
        raise KeyboardInterrupt

    batch = run_all(tasks(*[""] * 9), add, executors=LocalProcesses(2), progress=interrupt)
    assert batch.interrupted
    assert len(batch.results) == 1


CONTROL_C = """
from tests.backtest.test_batch import Sum, linger
from autoscaler.backtest.batch import run_all
from autoscaler.backtest.executors.local import LocalProcesses

def show(done, total):
    print(done, "of", total, flush=True)

if __name__ == "__main__":
    tasks = [Sum(str(n), (n,)) for n in (0, 1, 600, 601, 602)]
    batch = run_all(tasks, linger, executors=LocalProcesses(2), progress=show)
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
        """A program in its session that has finished two tasks and never finishes the others."""
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

    def test_control_c_ends_it_at_once_without_a_traceback(self, running):
        os.killpg(running.pid, signal.SIGINT)  # as a terminal does: to every process
        output, errors = running.communicate(timeout=30)
        assert output == "(0, 1) True 3\n"
        assert errors == ""
        assert running.returncode == 0

    def test_no_process_outlives_a_parent_that_is_killed(self, running):
        running.kill()
        # The processes have the other ends of the pipes, so this ends when the last of them does.
        running.communicate(timeout=30)


class TestProgress:
    def test_without_a_terminal_it_is_a_line_for_each_tenth(self):
        console = Console(file=io.StringIO(), force_terminal=False, width=80)
        with progress_on(console, "runs") as progress:
            for done in range(1, 101):
                progress(done, 100)
        lines = console.file.getvalue().splitlines()
        assert len(lines) == 10
        assert lines[0] == "runs: 10 of 100"

    def test_the_remaining_time_is_what_the_finished_ones_took(self):
        now = [0.0]
        console = Console(file=io.StringIO(), force_terminal=False, width=80)
        with progress_on(console, "runs", clock=lambda: now[0]) as progress:
            for done in (1, 2, 3):
                now[0] = 1200.0 * done
                progress(done, 3)
        assert console.file.getvalue().splitlines() == [
            "runs: 1 of 3, about 40 min remain",
            "runs: 2 of 3, about 20 min remain",
            "runs: 3 of 3",
        ]

    def test_a_line_is_also_printed_after_a_long_silence(self):
        now = [0.0]
        console = Console(file=io.StringIO(), force_terminal=False, width=80)
        with progress_on(console, "runs", clock=lambda: now[0]) as progress:
            progress(1, 1000)
            now[0] = MAX_SILENCE_S
            progress(2, 1000)
        assert console.file.getvalue() == "runs: 2 of 1000, about 41.6 h remain\n"

    def test_the_total_is_shown_before_the_first_is_finished(self):
        console = Console(file=io.StringIO(), force_terminal=True, width=80)
        with progress_on(console, "runs", total=4):
            pass
        assert "0/4" in console.file.getvalue()

    def test_workers_that_finish_together_do_not_shorten_the_remaining_time(self):
        now = [0.0]
        console = Console(file=io.StringIO(), force_terminal=True, width=80)
        with progress_on(console, "runs", clock=lambda: now[0], total=100) as progress:
            now[0] = 600.0
            progress(1, 100)
            now[0] = 601.0
            progress(2, 100)
        shown = console.file.getvalue()
        assert "2/100 about 8.2 h remain" in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)

    def test_on_a_terminal_it_is_a_bar_that_is_cleared(self):
        console = Console(file=io.StringIO(), force_terminal=True, width=80)
        with progress_on(console, "runs") as progress:
            progress(3, 4)
        assert "3/4" in console.file.getvalue()
        assert console.file.getvalue().endswith("\x1b[2K")
