"""Processes that share no disk, of which the one that leads is killed: the next one continues with
the state that is in the cluster."""

import json
import os
import queue
import random
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from contextlib import ExitStack, contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONFIG = """
poll_interval = "1s"
min_poll_interval = "1s"
state = "elasticsearch"
[elasticsearch]
hosts = ["{url}"]
[leadership]
lease = "elasticsearch"
ttl = "3s"
[server]
port = 0
[logging]
format = "json"
level = "debug"
[[rules]]
name = "all"
max_allocations = 16
"""
KILLS = int(os.environ.get("KILLS", "2"))
"""`KILLS=1000 python -m pytest --timeout 0 tests/test_failovers.py` for more."""


@contextmanager
def process(*arguments, **options):
    """A command, which is killed at the end of the block."""
    command = [sys.executable, "-m", "autoscaler", *map(str, arguments)]
    environment = {**os.environ, "AUTOSCALER_STATE": "elasticsearch", "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, text=True, **options) as started:
        try:
            yield started
        finally:
            started.kill()


class Daemons:
    """Daemons with one configuration, and the lines that all of them log."""

    def __init__(self, path):
        self._path = path
        self._lines = queue.SimpleQueue()
        self._stacks = {}
        self._processes = {}

    def start(self):
        """Returns the number of the new daemon."""
        number = len(self._stacks)
        self._stacks[number] = stack = ExitStack()
        options = {"stderr": subprocess.PIPE}
        daemon = stack.enter_context(process("run", "--config", self._path, **options))
        self._processes[number] = daemon
        threading.Thread(target=self._read, args=(number, daemon), daemon=True).start()
        return number

    def _read(self, number, daemon):
        for text in daemon.stderr:
            try:
                line = json.loads(text)
            except ValueError:  # the last one of a process that is killed may be incomplete
                line = {"event": "no log line", "message": text}
            self._lines.put((number, line))

    def next(self):
        """The next line, and the daemon that has logged it."""
        return self._lines.get()

    def kill(self, number):
        self._processes[number].send_signal(signal.SIGKILL)
        self._stacks[number].close()

    def close(self):
        for stack in self._stacks.values():
            stack.close()


def test_the_next_leader_takes_no_update_of_the_former_one_for_that_of_another_client(tmp_path):
    """Killed after any line of its log. No number changes because of it, and every leader but the
    first one begins with the state of the one before."""
    dice, events = random.Random(KILLS), Counter()
    with process("emulate", "--port", "0", stdout=subprocess.PIPE) as emulator:
        url = re.search(r"http://\S+", emulator.stdout.readline())[0]
        path = tmp_path / "config.toml"
        path.write_text(CONFIG.format(url=url))
        daemons = Daemons(path)
        try:
            running = {daemons.start(), daemons.start()}
            for kill in range(KILLS):
                leader, left = None, None
                while left != 0:
                    number, line = daemons.next()
                    if number not in running:
                        continue  # written before its end
                    events[line["event"]] += 1
                    if line["event"] == "state.opened":
                        leader = number
                        left = dice.randint(3, 30) if kill else 40  # the first saves a state
                        known = re.search(r": (\d+) deployment", line["message"])[1]
                        assert kill == 0 or known != "0", line
                    elif number == leader:
                        left -= 1
                daemons.kill(leader)
                running = (running - {leader}) | {daemons.start()}
        finally:
            daemons.close()
    for event in (
        "no log line",
        "deployment.changed",
        "state.unusable",
        "state.not_restored",
        "state.not_saved",
    ):
        assert events[event] == 0, events
    assert events["update.accepted"] > 0
