"""The daemon as a process that is killed, and the one that follows it."""

import json
import os
import random
import re
import signal
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONFIG = """
poll_interval = "1s"
min_poll_interval = "1s"
state_dir = "state"
[elasticsearch]
hosts = ["{url}"]
[server]
port = 0
[logging]
format = "json"
level = "debug"
[[rules]]
name = "all"
max_allocations = 16
"""


@contextmanager
def process(*arguments, **options):
    """A command, which is killed at the end of the block."""
    command = [sys.executable, "-m", "autoscaler", *map(str, arguments)]
    environment = {**os.environ, "AUTOSCALER_STATE": "sqlite"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **options) as started:
        try:
            yield started
        finally:
            started.kill()


@pytest.fixture
def configuration(tmp_path):
    """The path of a configuration, for an emulated cluster with loads that one allocation cannot
    serve."""
    with process("emulate", "--port", "0", stdout=subprocess.PIPE) as emulator:
        url = re.search(r"http://\S+", emulator.stdout.readline())[0]
        path = tmp_path / "config.toml"
        path.write_text(CONFIG.format(url=url))
        yield path


def logged(daemon, until):
    """The lines that a daemon logs, up to the first that meets a condition."""
    lines = []
    for text in daemon.stderr:
        lines.append(json.loads(text))
        if until(lines[-1]):
            return lines
    raise AssertionError(lines[-3:])


def test_its_last_update_is_not_taken_for_that_of_another_client(configuration):
    """Killed before the cycle of the update has ended, it has not saved the response."""
    with process("run", "--config", configuration, stderr=subprocess.PIPE) as daemon:
        name = logged(daemon, lambda line: line["event"] == "update.accepted")[-1]["deployment"]
        daemon.send_signal(signal.SIGKILL)
    decisions = 0

    def decided_thrice(line):
        nonlocal decisions
        decisions += line.get("deployment") == name and "steps" in line
        return decisions == 3

    with process("run", "--config", configuration, stderr=subprocess.PIPE) as daemon:
        lines = logged(daemon, decided_thrice)
    events = [line["event"] for line in lines]
    assert "state.opened" in events
    assert "deployment.changed" not in events
    texts = [line["message"] for line in lines if line.get("deployment") == name]
    assert not any("first observation" in text for text in texts), texts


KILLS = int(os.environ.get("KILLS", "3"))
"""`KILLS=1000 python -m pytest --timeout 0 tests/test_kills.py` for more."""


def test_killed_after_any_line_of_its_log(configuration):
    """Each start finds the state, and no daemon takes an update of an earlier one for that of
    another client."""
    dice, events = random.Random(KILLS), Counter()
    for _ in range(KILLS):
        lines = dice.randint(5, 30)
        with process("run", "--config", configuration, stderr=subprocess.PIPE) as daemon:
            for _ in range(lines):
                events[json.loads(daemon.stderr.readline())["event"]] += 1
            daemon.send_signal(signal.SIGKILL)
    assert events["state.opened"] == KILLS
    for event in ("deployment.changed", "state.unusable", "state.not_restored", "state.not_saved"):
        assert events[event] == 0, events
    assert events["update.accepted"] > 0
