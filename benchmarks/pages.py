"""What do open status pages cost the daemon? `python -m benchmarks.pages`

The unmodified daemon runs in a process of its own, on one processor, against a made-up cluster on
another; there, too, are the readers of 50 pages. Run it on a machine with two processors that does
nothing else.
"""

import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import NamedTuple

import msgspec

from autoscaler.errors import UserError
from benchmarks.daemon_process import (
    OTHER_PROCESSOR,
    PINNED,
    compile_modules,
    made_up_cluster,
    processor_s,
    publish_section,
    sizes_mb,
)
from benchmarks.markdown import table, wrapped
from benchmarks.page_clients import OVERVIEWS, PagesSeen, read_pages
from benchmarks.watched_daemon import BEAT_S, HELD_S, Beats

DEPLOYMENTS, NODES, PAGES, SCRAPES, INTERVAL_S = 1_000, 3, 50, 10, 1
"""Pages: as many as the daemon lets listen at a time. Interval: a tenth of the default, so that the
pages change ten times as often."""

DURATION_S = 150.0  # without pages, and again with them: cycles enough for a 99th percentile
SETTLED_S = 20.0  # from the start until the measurement: all deployments are known
STARTS, HELPS = 5, 11

GOAL_LATE_S, GOAL_MB, GOAL_PAGES_MB, GOAL_START_S, GOAL_HELP_S = 0.005, 90, 130, 1.5, 0.1

CLUSTER_PORT, ADMIN_PORT = 19_202, 19_466
URL = f"http://127.0.0.1:{ADMIN_PORT}"
TIMEOUT_S = 60.0


class Resident(NamedTuple):
    """Memory of a process, in MB."""

    all_mb: float
    own_mb: float  # not from files: the heap, the stacks
    files_mb: float  # the interpreter and the libraries


class Period(NamedTuple):
    """A part of the run, on the monotonic clock."""

    began: float
    ended: float
    processor_s: float  # that the daemon took

    def of(self, at: Sequence[float], figures: Sequence[float]) -> list[float]:
        """The figures in it, by size."""
        pairs = zip(at, figures, strict=True)
        return sorted(figure for when, figure in pairs if self.began <= when <= self.ended)


class Measured(NamedTuple):
    """One daemon: first without pages, then with them."""

    ready_s: float
    quiet: Period
    paged: Period
    at_ready: Resident
    without: Resident
    with_pages: Resident
    peak_mb: float
    seen: PagesSeen
    scraped_mb: float  # each
    beats: Beats


def section(shortened: float = 1.0) -> str:
    """The delays, what held the event loop, the memory and the starts, in four tables.

    Args:
        shortened: the durations are divided by this.
    """
    compile_modules()
    with made_up_cluster(DEPLOYMENTS, NODES, CLUSTER_PORT):
        found = _measure(DURATION_S / shortened, SETTLED_S / shortened)
        starts = [found.ready_s, *(_start() for _ in range(STARTS - 1))]
    helps = [_help() for _ in range(HELPS)]
    return "\n\n".join(
        [_introduction(found), _delays(found), _held(found), _memory(found), _starts(starts, helps)]
    )


def _introduction(found: Measured) -> str:
    seen = found.seen
    return wrapped(
        f"The daemon on one processor, in a process of its own, polling {DEPLOYMENTS:,} "
        f"deployments on {NODES} nodes each every {INTERVAL_S} s. After {_seconds(found.quiet)} s "
        f"without a page, {PAGES} are opened in the same moment: {OVERVIEWS} show the overview, "
        "and each of the others a deployment of its own. They are read by another process. All "
        f"had their HTML and their charts after {seen.loaded_s:.1f} s. In the next "
        f"{_seconds(found.paged)} s they received {seen.events:,} events, a page {seen.fewest:,} "
        f"or more, in {seen.megabytes:.1f} MB. Meanwhile the metrics were scraped {SCRAPES} times, "
        f"{found.scraped_mb:.2f} MB each."
    )


def _seconds(period: Period) -> str:
    return f"{period.ended - period.began:.0f}"


def _periods(found: Measured) -> tuple[tuple[str, Period], ...]:
    return (("without pages", found.quiet), ("with pages", found.paged))


def _delays(found: Measured) -> str:
    beats, lines = found.beats, []
    for name, at, late_s in (
        (f"a callback of the event loop, due every {1000 * BEAT_S:.0f} ms", beats.at, beats.late_s),
        ("the start of a cycle", beats.cycle_at, beats.cycle_late_s),
    ):
        for which, period in _periods(found):
            late = period.of(at, late_s)
            lines.append([name, which, f"{len(late):,}", *_quantiles(late)])
    lines.append(["goal for a cycle", "with pages", "", "", f"{1000 * GOAL_LATE_S:.0f}", ""])
    heading = ["what is late, in ms", "", "measured", "p50", "p99", "most"]
    return table(heading, lines, left=2)


def _held(found: Measured) -> str:
    lines = []
    for which, period in _periods(found):
        held = period.of(found.beats.held_at, found.beats.held_s)
        above = sum(each > GOAL_LATE_S for each in held)
        cycles = len(period.of(found.beats.cycle_at, found.beats.cycle_late_s))
        used = f"{1000.0 * period.processor_s / cycles:.0f}" if cycles else "-"
        lines.append([which, used, f"{len(held):,}", f"{above:,}", *_quantiles(held)])
    note = wrapped(
        "What follows is time of the processor, which does not depend on other processes: of the "
        f"daemon for each cycle, and of those callbacks of the event loop that took "
        f"{1000 * HELD_S:g} ms or more."
    )
    heading = ["in ms", "for a cycle", "callbacks", f"> {1000 * GOAL_LATE_S:.0f} ms"]
    return "\n\n".join([note, table([*heading, "p50", "p99", "most"], lines)])


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
        with _period(process.pid) as quiet:
            time.sleep(duration_s)
        without = _resident(process.pid)
        with _pages() as seen:
            sizes = []
            with _period(process.pid) as paged:
                for _ in range(SCRAPES):
                    time.sleep(duration_s / SCRAPES)
                    sizes.append(len(_get("/metrics")))
            with_pages, peak_mb = _resident(process.pid), sizes_mb(process.pid)["VmHWM"]
        process.terminate()
        process.wait(TIMEOUT_S)
        beats = msgspec.json.decode(_beats(Path(folder)).read_bytes(), type=Beats)
    return Measured(
        ready_s=ready_s,
        quiet=quiet[0],
        paged=paged[0],
        at_ready=at_ready,
        without=without,
        with_pages=with_pages,
        peak_mb=peak_mb,
        seen=seen[0],
        scraped_mb=max(sizes) / 1e6,
        beats=beats,
    )


@contextmanager
def _period(pid: int) -> Iterator[list[Period]]:
    """The block; after it, as the only entry."""
    began, before_s = time.monotonic(), processor_s(pid)
    found: list[Period] = []
    yield found
    found.append(Period(began, time.monotonic(), processor_s(pid) - before_s))


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
    sizes = sizes_mb(pid)
    own, files = sizes["RssAnon"], sizes["RssFile"] + sizes["RssShmem"]
    return Resident(sizes["VmRSS"], own, files)


def main(arguments: list[str]) -> None:
    publish_section(section, "pages", __doc__, arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
