"""What `make` says when it cannot set up its environment: one sentence, and it fails."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def said(tmp_path):
    """Runs make for a new environment; the sentence it says, make's own lines left out."""

    def make(python: str, **variables: str) -> str:
        venv = tmp_path / "venv"
        command = ["make", "--no-print-directory", f"{venv}/runtime"]
        command += [f"VENV={venv}", f"PYTHON={python}"]
        environment = {**os.environ, "LC_ALL": "C", "MAKEFLAGS": "", **variables}
        ran = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert ran.returncode != 0
        assert ran.stdout == ""
        assert not (venv / "runtime").exists()
        lines = [line for line in ran.stderr.splitlines() if not line.startswith("make")]
        assert len(lines) == 1, ran.stderr
        return lines[0].replace(str(venv), ".venv")

    return make


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("version", ["2.7", "3.9", "3.10", "3.14"])
def test_an_unsupported_python_is_named_with_those_that_are_supported(said, tmp_path, version):
    python = script(tmp_path / "python", f"echo {version}")
    assert said(python) == (
        f"'{python}' is Python {version}, which is not supported: install Python 3.11, 3.12 or"
        " 3.13, or name one with make PYTHON=/path/to/python."
    )


@pytest.mark.parametrize("text", ["", "echo pyenv: command not found >&2; exit 127"])
def test_an_interpreter_that_does_not_run_is_named(said, tmp_path, text):
    missing = tmp_path / "python"
    python = script(missing, text) if text else str(missing)
    assert said(python) == (
        f"Cannot run '{python}': install Python 3.11, 3.12 or 3.13,"
        " or name an interpreter with make PYTHON=/path/to/python."
    )


@pytest.mark.parametrize("module", ["venv", "ensurepip"])
def test_without_the_venv_module_its_package_is_named(said, tmp_path, module):
    # What precedes the standard library in the search path stands for a missing module.
    (tmp_path / f"{module}.py").write_text("raise ModuleNotFoundError")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert said(sys.executable, PYTHONPATH=str(tmp_path)) == (
        f"'{sys.executable}' (Python {version}) has no venv module: install it"
        f" (on Debian and Ubuntu: apt install python{version}-venv),"
        " or name another interpreter with make PYTHON=/path/to/python."
    )


def test_without_a_network_it_says_so_and_how_to_name_a_mirror(said):
    with socket.socket() as closed:  # bound, and nothing listens
        closed.bind(("127.0.0.1", 0))
        index = f"http://127.0.0.1:{closed.getsockname()[1]}/simple"
        sentence = said(
            sys.executable,
            PIP_CONFIG_FILE=os.devnull,
            PIP_FIND_LINKS="",
            PIP_INDEX_URL=index,
            PIP_NO_CACHE_DIR="1",
            PIP_RETRIES="1",
        )
    assert sentence == (
        "Cannot install requirements-build.lock requirements.lock into .venv: pip cannot reach a"
        " package index; connect to the network, or name a mirror with PIP_INDEX_URL, and run make"
        " again (details: .venv/pip.log)."
    )
