"""What do open status pages cost the daemon? `python -m benchmarks.pages`

The unmodified daemon runs in a process of its own, on one processor, against a made-up cluster on
another; there, too, are the readers of 50 pages. Run it on a machine with two processors that does
nothing else.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import NamedTuple

import msgspec

from autoscaler.errors import UserError
from benchmarks.frontier import publish
from benchmarks.load_cluster import serve
from benchmarks.markdown import table, wrapped
from benchmarks.page_clients import OVERVIEWS, PagesSeen, read_pages
from benchmarks.watched_daemon import BEAT_S, Beats

DEPLOYMENTS, NODES, PAGES, SCRAPES, INTERVAL_S = 1_000, 3, 50, 3, 2
"""Pages: as many as the daemon lets listen at a time. Interval: a fifth of the default, so that the
pages change five times as often."""

DURATION_S = 60.0  # without pages, and again with them
SETTLED_S = 20.0  # from the start until the measurement: all deployments are known
STARTS, HELPS = 5, 11

GOAL_LATE_S, GOAL_MB, GOAL_PAGES_MB, GOAL_START_S, GOAL_HELP_S = 0.005, 90, 130, 1.5, 0.1

DAEMON_PROCESSOR, OTHER_PROCESSOR = 0, 1
PINNED = ("taskset", "--cpu-list", str(DAEMON_PROCESSOR))
CLUSTER_PORT, ADMIN_PORT = 19_202, 19_466
URL = f"http://127.0.0.1:{ADMIN_PORT}"
TIMEOUT_S = 60.0


class Resident(NamedTuple):
    """Memory of a process, in MB."""

    all_mb: float
    own_mb: float  # not from files: the heap, the stacks
    files_mb: float  # the interpreter and the libraries


class Measured(NamedTuple):
    """One daemon: first without pages, then with them."""

    ready_s: float
    quiet: tuple[float, float]  # from and to, on the monotonic clock
    paged: tuple[float, float]
    at_ready: Resident
    without: Resident
    with_pages: Resident
    peak_mb: float
    seen: PagesSeen
    scraped_mb: float  # each
    beats: Beats


def section(shortened: float = 1.0) -> str:
    """The delays, the memory and the starts, in three tables.

    Args:
        shortened: the durations are divided by this.
    """
    with _cluster():
        found = _measure(DURATION_S / shortened, SETTLED_S / shortened)
        starts = [found.ready_s, *(_start() for _ in range(STARTS - 1))]
    helps = [_help() for _ in range(HELPS)]
    return "\n\n".join(
        [_introduction(found), _delays(found), _memory(found), _starts(starts, helps)]
    )


def _introduction(found: Measured) -> str:
    return wrapped(
        f"The daemon on one processor, in a process of its own, polling {DEPLOYMENTS:,} "
        f"deployments on {NODES} nodes each every {INTERVAL_S} s. After {_seconds(found.quiet)} s "
        f"without a page, {PAGES} are open for {_seconds(found.paged)} s: {OVERVIEWS} show the "
        "overview, and each of the others a deployment of its own. They are read by another "
        f"process, and received {found.seen.events:,} events, a page {found.seen.fewest} or more, "
        f"in {found.seen.megabytes:.1f} MB. Meanwhile the metrics were scraped {SCRAPES} times, "
        f"{found.scraped_mb:.2f} MB each."
    )


def _seconds(period: tuple[float, float]) -> str:
    return f"{period[1] - period[0]:.0f}"


def _delays(found: Measured) -> str:
    beats, lines = found.beats, []
    for name, at, late_s in (
        (f"a callback of the event loop, due every {1000 * BEAT_S:.0f} ms", beats.at, beats.late_s),
        ("the start of a cycle", beats.cycle_at, beats.cycle_late_s),
    ):
        for which, period in (("without pages", found.quiet), ("with pages", found.paged)):
            late = sorted(
                each for due, each in zip(at, late_s, strict=True) if period[0] <= due <= period[1]
            )
            lines.append([name, which, f"{len(late):,}", *_quantiles(late)])
    lines.append(["goal for a cycle", "with pages", "", "", f"{1000 * GOAL_LATE_S:.0f}", ""])
    heading = ["what is late, in ms", "", "measured", "p50", "p99", "most"]
    return table(heading, lines, left=2)


def _quantiles(late_s: Sequence[float]) -> list[str]:
    """The median, the 99th percentile and the maximum of what is sorted, in ms."""
    if not late_s:
        return ["-"] * 3
    last = len(late_s) - 1
    return [f"{1000.0 * late_s[round(q * last)]:.2f}" for q in (0.5, 0.99, 1.0)]


def _memory(found: Measured) -> str:
    lines = [
        [name, f"{size.all_mb:.1f}", f"{size.own_mb:.1f}", f"{size.files_mb:.1f}", goal]
        for name, size, goal in (
            ("when ready", found.at_ready, ""),
            ("without pages", found.without, f"{GOAL_MB}"),
            ("with pages and scrapes", found.with_pages, ""),
        )
    ]
    lines.append(["at most", f"{found.peak_mb:.1f}", "", "", f"{GOAL_PAGES_MB}"])
    return table(["resident, in MB", "all", "its own", "of libraries", "goal"], lines)


def _starts(starts: Sequence[float], helps: Sequence[float]) -> str:
    lines = [
        ["from the start to ready", f"{len(starts)}", *_spread(starts), f"{GOAL_START_S:.1f}"],
        ["`autoscaler --help`", f"{len(helps)}", *_spread(helps), f"{GOAL_HELP_S:.1f}"],
    ]
    return table(["in seconds", "runs", "median", "most", "goal"], lines)


def _spread(seconds: Sequence[float]) -> list[str]:
    return [f"{median(seconds):.3f}", f"{max(seconds):.3f}"]


def _measure(duration_s: float, settled_s: float) -> Measured:
    """
    Raises:
        UserError: the daemon ends early, or a page cannot be opened.
    """
    with tempfile.TemporaryDirectory() as folder, _daemon(Path(folder)) as (process, ready_s):
        at_ready = _resident(process.pid)
        time.sleep(settled_s)
        quiet_from = time.monotonic()
        time.sleep(duration_s)
        quiet, without = (quiet_from, time.monotonic()), _resident(process.pid)
        with _pages() as seen:
            paged_from, sizes = time.monotonic(), []
            for _ in range(SCRAPES):
                time.sleep(duration_s / (SCRAPES + 1))
                sizes.append(len(_get("/metrics")))
            time.sleep(max(0.0, paged_from + duration_s - time.monotonic()))
            paged = (paged_from, time.monotonic())
            with_pages, peak_mb = _resident(process.pid), _peak_mb(process.pid)
        process.terminate()
        process.wait(TIMEOUT_S)
        beats = msgspec.json.decode(_beats(Path(folder)).read_bytes(), type=Beats)
    return Measured(
        ready_s=ready_s,
        quiet=quiet,
        paged=paged,
        at_ready=at_ready,
        without=without,
        with_pages=with_pages,
        peak_mb=peak_mb,
        seen=seen[0],
        scraped_mb=max(sizes) / 1e6,
        beats=beats,
    )


def _start() -> float:
    """Seconds from the start of a daemon until it is ready."""
    with tempfile.TemporaryDirectory() as folder, _daemon(Path(folder)) as (_, ready_s):
        return ready_s


def _help() -> float:
    began = time.perf_counter()
    subprocess.run(
        [*PINNED, sys.executable, "-m", "autoscaler", "--help"], check=True, capture_output=True
    )
    return time.perf_counter() - began


def _beats(folder: Path) -> Path:
    return folder / "beats.json"


@contextmanager
def _daemon(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
    """The daemon, when it is ready, and the seconds until then.

    Raises:
        UserError: it ends, or is not ready in time.
    """
    environ = os.environ | {
        "AUTOSCALER_ELASTICSEARCH__HOSTS": f'["http://127.0.0.1:{CLUSTER_PORT}"]',
        "AUTOSCALER_SERVER__PORT": str(ADMIN_PORT),
        "AUTOSCALER_STATE_DIR": str(folder / "state"),
        "AUTOSCALER_POLL_INTERVAL": f"{INTERVAL_S}s",
        "AUTOSCALER_MIN_POLL_INTERVAL": f"{INTERVAL_S}s",
        "AUTOSCALER_RULES": '[{"name": "all", "min_allocations": 10, "max_allocations": 32}]',
    }
    command = [*PINNED, sys.executable, "-m", "benchmarks.watched_daemon", str(_beats(folder))]
    with (folder / "log").open("wb") as log:
        began = time.monotonic()
        process = subprocess.Popen(command, env=environ, stderr=log)
    try:
        while not _is_ready():
            if process.poll() is not None or time.monotonic() > began + TIMEOUT_S:
                end = (folder / "log").read_text()[-2_000:]
                raise UserError(f"the daemon is not ready: {end}")
            time.sleep(0.005)
        yield process, time.monotonic() - began
    finally:
        process.kill()
        process.wait()


def _is_ready() -> bool:
    try:
        _get("/readyz")
    except OSError:  # urllib's errors are
        return False
    return True


def _get(path: str) -> bytes:
    with urllib.request.urlopen(f"{URL}{path}", timeout=TIMEOUT_S) as response:
        return bytes(response.read())


@contextmanager
def _cluster() -> Iterator[None]:
    """The made-up cluster."""
    process = get_context("spawn").Process(
        target=serve, args=(DEPLOYMENTS, NODES, CLUSTER_PORT, OTHER_PROCESSOR), daemon=True
    )
    process.start()
    until = time.monotonic() + TIMEOUT_S
    try:
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{CLUSTER_PORT}/received"):
                    break
            except urllib.error.URLError as error:
                if time.monotonic() > until:
                    raise UserError(f"the made-up cluster does not respond: {error}") from error
                time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.join()


@contextmanager
def _pages() -> Iterator[list[PagesSeen]]:
    """The pages, when all are open; after the block, what they have received."""
    own, other = get_context("spawn").Pipe()
    process = get_context("spawn").Process(
        target=read_pages, args=(URL, PAGES, OTHER_PROCESSOR, other), daemon=True
    )
    process.start()
    other.close()
    seen: list[PagesSeen] = []
    try:
        own.recv()
        yield seen
        own.send(None)
        seen.append(own.recv())
    except EOFError as error:
        raise UserError("the pages cannot be opened; see above") from error
    finally:
        process.terminate()
        process.join()


def _resident(pid: int) -> Resident:
    sizes = _status(pid)
    own, files = sizes["RssAnon"], sizes["RssFile"] + sizes["RssShmem"]
    return Resident(sizes["VmRSS"], own, files)


def _peak_mb(pid: int) -> float:
    return _status(pid)["VmHWM"]


def _status(pid: int) -> dict[str, float]:
    """The sizes of a process, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    pairs = [line.split(":", 1) for line in lines if line.endswith(" kB")]
    return {name: int(size.split()[0]) / 1024.0 for name, size in pairs}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__)
    parser.add_argument("--document", type=Path, help="replace the section of this file as well")
    parser.add_argument("--shorten", type=float, default=1.0, help="divide the durations by this")
    chosen = parser.parse_args(arguments)
    try:
        publish(partial(section, chosen.shorten), "pages", chosen.document)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main(sys.argv[1:])
