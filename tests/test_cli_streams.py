"""Standard streams that are closed, full, or of an encoding that lacks characters."""

import io
import subprocess
import sys

import pytest

from autoscaler.cli.streams import prepare_streams

COMMANDS = (["--help"], ["no-such-command"], ["check"])


def run(arguments, redirection):
    """The exit code of a command in a shell, and what it wrote to standard error."""
    command = f"exec {sys.executable} -m autoscaler {' '.join(arguments)} {redirection}"
    found = subprocess.run(command, shell=True, capture_output=True, check=False)
    return found.returncode, found.stderr.decode()


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]], ids=" ".join)
def test_a_full_disk_is_one_sentence(arguments):
    assert run(arguments, "> /dev/full") == (
        1,
        "autoscaler: the output cannot be written: No space left on device\n",
    )


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_two_full_disks_end_a_command(arguments):
    assert run(arguments, "> /dev/full 2> /dev/full") == (1, "")


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_closed_streams_change_nothing(arguments):
    code, shown = run(arguments, "> /dev/null")
    assert run(arguments, ">&-") == (code, shown)
    assert run(arguments, "<&- >&- 2>&-") == (code, "")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_an_encoding_that_lacks_a_character(encoding, monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding))
    prepare_streams()
    print("5 → 7", flush=True)
    assert written.getvalue() == b"5 \\u2192 7\n"
