"""Three processes for one cluster, of which the one that leads is suspended and woken."""

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONFIG = """
poll_interval = "1s"
state = "none"
[elasticsearch]
hosts = ["{url}"]
[leadership]
lease = "elasticsearch"
ttl = "3s"
[server]
port = 0
[logging]
format = "json"
[[rules]]
name = "all"
max_allocations = 16
"""


@contextmanager
def process(*arguments, **options):
    """A command, which is killed at the end of the block."""
    command = [sys.executable, "-m", "autoscaler", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, text=True, **options) as started:
        try:
            yield started
        finally:
            started.kill()


class Daemons:
    """Daemons with one configuration, and the lines that they log."""

    def __init__(self, stack, path, count):
        self._lines = queue.SimpleQueue()
        self._processes = [
            stack.enter_context(process("run", "--config", path, stderr=subprocess.PIPE))
            for _ in range(count)
        ]
        for index in range(count):
            threading.Thread(target=self._read, args=(index,), daemon=True).start()

    def _read(self, index):
        for text in self._processes[index].stderr:
            self._lines.put((index, json.loads(text)))

    def signal(self, index, signum):
        self._processes[index].send_signal(signum)

    def until(self, event, *, of=None, other_than=None):
        """The lines up to the first with this event, and the daemon that has logged it."""
        lines = []
        while True:
            index, line = self._lines.get()
            lines.append((index, line))
            if line["event"] == event and index != other_than and of in (None, index):
                return index, lines


@pytest.mark.timeout(600)
def test_a_leader_that_is_suspended_is_replaced_and_changes_nothing_when_it_is_woken(tmp_path):
    with ExitStack() as stack:
        emulator = stack.enter_context(process("emulate", "--port", "0", stdout=subprocess.PIPE))
        url = re.search(r"http://\S+", emulator.stdout.readline())[0]
        path = tmp_path / "config.toml"
        path.write_text(CONFIG.format(url=url))
        daemons = Daemons(stack, path, 3)

        first, _ = daemons.until("leadership.acquired")
        daemons.until("update.accepted", of=first)
        daemons.signal(first, signal.SIGSTOP)
        second, lines = daemons.until("leadership.acquired", other_than=first)
        assert "update.accepted" not in [
            line["event"] for index, line in lines if index not in (first, second)
        ]

        daemons.signal(first, signal.SIGCONT)
        _, lines = daemons.until("leadership.lost", of=first)
        daemons.signal(second, signal.SIGTERM)
        third, more = daemons.until("leadership.acquired", other_than=second)
        # What the suspended leader had logged before is in the lines up to the second term.
        woken = [line["event"] for index, line in lines + more if index == first != third]
        assert "update.accepted" not in woken
