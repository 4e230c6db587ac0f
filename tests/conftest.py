"""What all tests share: traces if they are there, logging, Ctrl-C, no silent skips in CI."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import Phase, settings

# The duration of an example depends on the load of the machine; --timeout is the only limit.
settings.register_profile("without deadline", deadline=None)
settings.load_profile("without deadline")
# For tests of mutants: which example fails first does not matter, and smaller ones take minutes.
settings.register_profile(
    "first failure",
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
)

SHARED = Path(__file__).parents[2] / "shared"
NEEDS_SHARED = "needs the recorded traces and peers beside the repository"


def shared(path: str) -> Path:
    """A recorded file beside the repository; the test is skipped where it is absent."""
    found = SHARED / path
    if not found.exists():
        pytest.skip(f"{NEEDS_SHARED}: {path}")
    return found


@pytest.fixture
def logging_restored() -> Iterator[None]:
    """Logging is configured afterwards as it was before."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("asyncio").setLevel(logging.NOTSET)


def pytest_sessionstart() -> None:
    """A background shell has its commands ignore Ctrl-C, and they hand that on to all they start.
    The programs that tests interrupt shall not."""
    os.environ["AUTOSCALER_STATE"] = "none"  # no test writes to the state directory of the user
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Suspends the tracing of coverage while a test with the mark `untraced` runs. The mark
    `no_cover` of pytest-cov does not: in a worker of xdist, a second collector then resumes."""
    recorded = item.config.getoption("cov_context", None)  # by `benchmarks.covering_tests`
    if recorded or item.get_closest_marker("untraced") is None:
        return (yield)
    tracer, thread_tracer = sys.gettrace(), threading.gettrace()
    sys.settrace(None)
    threading.settrace(None)
    try:
        return (yield)
    finally:
        threading.settrace(thread_tracer)
        sys.settrace(tracer)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a skipped test is a failed one, unless it needs data that is not in the repository."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not os.environ.get("CI") or reporter is None:
        return
    skipped = [
        report
        for report in reporter.stats.get("skipped", [])
        if SHARED.exists() or NEEDS_SHARED not in str(report.longrepr)
    ]
    if skipped:
        reporter.write_line(f"{len(skipped)} tests were skipped, which CI does not allow", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
