"""What the benchmarks of a daemon in a process of its own share: the made-up cluster, the
processors, what the process takes, and the command line."""

import argparse
import compileall
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import autoscaler
from autoscaler.errors import UserError
from benchmarks.frontier import publish
from benchmarks.load_cluster import serve

DAEMON_PROCESSOR, OTHER_PROCESSOR = 0, 1
PINNED = ("taskset", "--cpu-list", str(DAEMON_PROCESSOR))
"""The beginning of the command of a daemon."""

START_TIMEOUT_S = 60.0


def compile_modules() -> None:
    """Compile the program, as an installation has it: this takes seconds of a start, and memory."""
    compileall.compile_dir(Path(autoscaler.__file__).parent, quiet=2)


@contextmanager
def made_up_cluster(deployments: int, nodes: int, port: int) -> Iterator[None]:
    """The cluster in a process of its own, from when it responds.

    Raises:
        UserError: it does not.
    """
    process = get_context("spawn").Process(
        target=serve, args=(deployments, nodes, port, OTHER_PROCESSOR), daemon=True
    )
    process.start()
    try:
        body_of(f"http://127.0.0.1:{port}/received", START_TIMEOUT_S)
        yield
    finally:
        process.terminate()
        process.join()


def body_of(url: str, timeout_s: float) -> bytes:
    """The body of a response of a server that may only be starting.

    Raises:
        UserError: nothing responds in the time that a start may take.
    """
    until = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=timeout_s) as response:
                return bytes(response.read())
        except (urllib.error.URLError, ConnectionError) as error:
            if time.monotonic() > until:
                raise UserError(f"nothing responds at {url}: {error}") from error
            time.sleep(0.1)


def sizes_mb(pid: int) -> dict[str, float]:
    """The sizes of a process by the names of proc(5), such as VmHWM: the most that was resident."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    pairs = [line.split(":", 1) for line in lines if line.endswith(" kB")]
    return {name: int(size.split()[0]) / 1024.0 for name, size in pairs}


def processor_s(pid: int) -> float:
    """Seconds of a processor that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def publish_section(
    section: Callable[[float], str], name: str, description: str | None, arguments: list[str]
) -> None:
    """Run a benchmark as a command.

    Args:
        section: returns its text; its argument divides the durations.
        name: of the section in the document, and of the module.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    parser.add_argument("--document", type=Path, help="replace the section of this file as well")
    parser.add_argument("--shorten", type=float, default=1.0, help="divide the durations by this")
    chosen = parser.parse_args(arguments)
    try:
        publish(partial(section, chosen.shorten), name, chosen.document)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
