"""The stream of log lines: no reader, and no flood of lines, stops the program."""

import fcntl
import io
import json
import logging
import os
import subprocess
import sys

import pytest
import structlog

from autoscaler.adapters.logs import QueuedStream, configure
from autoscaler.adapters.logs.output import MAX_QUEUED_BYTES
from autoscaler.adapters.logs.rates import (
    BURST,
    KINDS_AT_ONCE,
    MAX_KINDS,
    PERIOD_S,
    RateLimit,
)

pytestmark = pytest.mark.usefixtures("logging_restored")


@pytest.fixture
def pipe():
    """A pipe with room for 4 KiB."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    yield reader, writer
    os.close(writer)
    os.close(reader)


def read_all(reader, size):
    """So many bytes, or all until the end."""
    found = b""
    while len(found) < size and (part := os.read(reader, size - len(found))):
        found += part
    return found


class TestQueuedStream:
    def test_lines_are_written_in_their_order(self, pipe):
        reader, writer = pipe
        expected = "".join(f"line {n}\n" for n in range(5_000)).encode()
        with QueuedStream(writer) as stream:
            for n in range(5_000):
                stream.write(f"line {n}\n")
            assert read_all(reader, len(expected)) == expected
        assert stream.dropped == 0

    @pytest.mark.parametrize("blocking", [True, False])
    def test_without_a_reader_lines_are_dropped_and_counted(self, pipe, blocking):
        reader, writer = pipe
        os.set_blocking(writer, blocking)
        line = "x" * 1023 + "\n"
        written = 3 * MAX_QUEUED_BYTES // len(line)
        stream = QueuedStream(writer)
        for _ in range(written):
            stream.write(line)  # returns, or the test never ends
        dropped = stream.dropped
        assert 0 < dropped < written
        # A reader that continues gets every line that was not dropped.
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 1 << 20)  # in fewer turns of the two threads
        kept = read_all(reader, (written - dropped) * len(line))
        assert kept == line.encode() * (written - dropped)
        stream.write("after\n")
        assert read_all(reader, 6) == b"after\n"
        stream.close()
        assert stream.dropped == dropped

    def test_lines_to_a_reader_that_has_ended_are_counted(self, pipe):
        reader, writer = os.pipe()
        os.close(reader)
        with QueuedStream(writer) as stream:
            stream.write("lost\n")
        os.close(writer)
        assert stream.dropped == 1

    def test_the_last_lines_are_written_at_the_end(self, pipe):
        reader, writer = pipe
        with QueuedStream(writer) as stream:
            stream.write("last\n")
        assert read_all(reader, 5) == b"last\n"
        stream.write("too late\n")
        assert stream.dropped == 1

    def test_a_text_that_is_not_unicode_is_no_error(self, pipe):
        reader, writer = pipe
        with QueuedStream(writer) as stream:
            stream.write("\udcff\n")
        assert read_all(reader, 7) == b"\\udcff\n"


SCRIPT = """
import os, structlog
from autoscaler.adapters.logs import QueuedStream, configure
with QueuedStream.of_standard_error() as stream:
    configure("json", "info", version="1", environ=os.environ, stream=stream)
    for number in range({lines}):
        structlog.get_logger("test").info("thing.done", deployment=number, long="x" * 2_000)
os.write(1, str(stream.dropped).encode())
"""


def test_a_process_whose_standard_error_is_not_read_ends(pipe):
    _, writer = pipe
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(lines=5_000)],
        stdout=subprocess.PIPE,
        stderr=writer,
        check=False,
    )
    assert ran.returncode == 0
    assert int(ran.stdout) > 0


UNRAISABLE = """
import os, threading, warnings
from autoscaler.adapters.logs import QueuedStream

class Broken:
    def __del__(self):
        raise RuntimeError("hostile\\x1b[2J")

with QueuedStream.of_standard_error() as stream, stream.as_standard_error():
    for number in range({times}):
        Broken()
        warnings.warn_explicit("hostile\\x1b[2J" + "x" * 10_000, UserWarning, "f", number)
os.write(1, str(stream.dropped).encode())
"""


def test_what_the_interpreter_writes_by_itself_blocks_nothing(pipe):
    _, writer = pipe
    script = UNRAISABLE.format(times=1_000)
    ran = subprocess.run(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=writer, check=False
    )
    assert ran.returncode == 0
    assert int(ran.stdout) > 0


def test_what_the_interpreter_writes_by_itself_acts_on_no_terminal():
    script = UNRAISABLE.format(times=1)
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    text = ran.stderr.decode()
    assert text.count(r"hostile\x1b[2J") == 2
    assert text.replace("\n", "").isprintable()


def test_a_process_whose_standard_error_is_closed_writes_to_no_other_file(tmp_path):
    script = f"""
import os
opened = os.open({str(tmp_path / "data")!r}, os.O_WRONLY | os.O_CREAT)
os.write(1, str(opened).encode())
{SCRIPT.format(lines=10)}
"""
    ran = subprocess.run(
        ["/bin/sh", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, script],
        stdout=subprocess.PIPE,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (0, b"20")  # the file has the number 2; none is dropped
    assert (tmp_path / "data").read_bytes() == b""


class Now:
    def __init__(self):
        self.at = 0.0

    def __call__(self):
        return self.at


class TestRates:
    def test_a_burst_and_then_an_even_rate(self):
        now = Now()
        rates = RateLimit(now)
        admitted = [rates.admit("a", "event") for _ in range(BURST + 40)]
        assert admitted == [0] * BURST + [None] * 40
        now.at += PERIOD_S / BURST
        assert [rates.admit("a", "event"), rates.admit("a", "event")] == [40, None]
        assert rates.suppressed == 41

    def test_kinds_do_not_share_a_rate(self):
        rates = RateLimit(Now())
        for _ in range(2 * BURST):
            rates.admit("a", "event")
        assert rates.admit("b", "event") == 0

    def test_a_kind_without_lines_for_a_period_has_its_burst_again(self):
        now = Now()
        rates = RateLimit(now)
        for _ in range(2):
            admitted = [rates.admit("a", "event") for _ in range(BURST + 1)]
            assert admitted[1:] == [0] * (BURST - 1) + [None]
            now.at += 10 * PERIOD_S

    def test_kinds_that_change_all_the_time_are_limited_together(self):
        """As deployments whose ids differ in each response are."""
        now = Now()
        rates = RateLimit(now)
        assert rates.admit("known", "event") == 0
        admitted = [rates.admit(kind, "event") for kind in range(2 * KINDS_AT_ONCE)]
        assert admitted.count(0) == KINDS_AT_ONCE - 1
        assert admitted[KINDS_AT_ONCE:] == [None] * KINDS_AT_ONCE
        assert rates.admit("known", "event") == 0
        assert rates.admit("other", "another event") == 0
        now.at += PERIOD_S
        later = [rates.admit(-kind, "event") for kind in range(1, 2 * BURST)]
        assert later[:BURST] == [KINDS_AT_ONCE + 1] + [0] * (BURST - 1)
        assert later[BURST:] == [None] * (BURST - 1)

    def test_the_memory_is_bounded(self):
        rates = RateLimit(Now())
        for kind in range(3 * MAX_KINDS):
            rates.admit(kind, kind % 100)
        assert len(rates._kinds) == MAX_KINDS


class TestLines:
    @staticmethod
    def written(log):
        """What is written of the lines that `log` logs, one second apart from a last one."""
        now, stream = Now(), io.StringIO()
        rates = configure("json", "info", version="1", environ={}, stream=stream, now=now)
        for number in range(1_000):
            log(number)
        now.at += PERIOD_S
        log(1_000)
        return [json.loads(line) for line in stream.getvalue().splitlines()], rates

    def test_lines_of_one_event_are_limited_and_the_next_has_their_number(self):
        logger = structlog.get_logger("test")
        lines, rates = self.written(lambda n: logger.info("thing.done", message=f"number {n}"))
        assert len(lines) == BURST + 1
        assert lines[-1]["message"] == "number 1000"
        assert [line.get("suppressed") for line in lines[-2:]] == [None, 1_000 - BURST]
        assert rates.suppressed == 1_000 - BURST

    def test_lines_of_a_library_are_limited_whatever_they_say(self):
        lines, _ = self.written(
            lambda n: logging.getLogger("aiohttp.server").error("socket %d at %x", n, n)
        )
        assert len(lines) == BURST + 1
        assert lines[-1]["suppressed"] == 1_000 - BURST

    def test_each_deployment_has_its_own_lines(self):
        logger = structlog.get_logger("test")
        lines, rates = self.written(lambda n: logger.info("thing.done", deployment=str(n)))
        assert len(lines) == 1_001
        assert rates.suppressed == 0
