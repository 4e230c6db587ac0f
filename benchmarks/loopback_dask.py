"""A Dask scheduler and workers on the loopback interface, for measurements and tests."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[1]


class LoopbackCluster:
    """A scheduler and its workers, each in a process that may be killed."""

    def __init__(self, folder: Path, scheme: str, environ: Mapping[str, str]) -> None:
        self._folder = folder / "dask"  # empty: the first place from which `-m` imports
        self._folder.mkdir()
        self._environ = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
            **environ,
        }
        self.scheduler = self._started(
            "dask_scheduler", "--host", f"{scheme}://127.0.0.1", "--port", "0"
        )
        self.address = _said(self.scheduler, "Scheduler at:").split()[-1]
        self.workers: list[subprocess.Popen[str]] = []

    @property
    def option(self) -> str:
        """The address for --executor."""
        return self.address.replace("tcp://", "dask://")

    def add_worker(self, *options: str, **environ: str) -> "subprocess.Popen[str]":
        """Start a worker with one thread, and wait until the scheduler has it."""
        worker = self._started(
            "dask_worker", self.address, "--nthreads", "1", "--host", "127.0.0.1",
            "--local-directory", str(self._folder), *options, environ=environ,
        )  # fmt: skip
        _said(worker, "Registered to:")
        self.workers.append(worker)
        return worker

    def _started(
        self, module: str, *arguments: str, environ: Mapping[str, str] | None = None
    ) -> "subprocess.Popen[str]":
        command = [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            f"distributed.cli.{module}",
            "--no-dashboard",
        ]
        return subprocess.Popen(
            [*command, *arguments],
            env={**self._environ, **(environ or {})},
            cwd=self._folder,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )

    def end(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
        for process in (*self.workers, self.scheduler):
            process.wait()
            assert process.stderr is not None
            process.stderr.close()


def _said(process: "subprocess.Popen[str]", words: str) -> str:
    """The line of a log with these words. Later lines are read too: a full pipe blocks."""
    assert process.stderr is not None
    for line in process.stderr:
        if words in line:
            threading.Thread(target=_drain, args=(process.stderr,), daemon=True).start()
            return line.strip()
    raise AssertionError(f"{process.args} ended without saying {words!r}")


def _drain(pipe: IO[str]) -> None:
    with suppress(ValueError):  # closed
        for _ in pipe:
            pass


@contextmanager
def loopback_cluster(
    folder: Path, *, scheme: str = "tcp", environ: Mapping[str, str] | None = None
) -> Iterator[LoopbackCluster]:
    """A scheduler without workers, whose processes end with the block.

    Args:
        folder: for the files of the workers.
        scheme: `tcp` or `tls`.
        environ: variables of the scheduler and of all workers.
    """
    cluster = LoopbackCluster(folder, scheme, environ or {})
    try:
        yield cluster
    finally:
        cluster.end()
