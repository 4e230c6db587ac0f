"""The scripts that complete commands, run by the shells themselves."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from autoscaler.cli import main

BASH = """
source <(autoscaler completion bash)
COMP_WORDS=({words}) COMP_CWORD={last}
_autoscaler_completion autoscaler
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
VISIBLE = {name for name, command in main.commands.items() if not command.hidden}


@pytest.fixture
def environment(tmp_path) -> dict[str, str]:
    """With a program `autoscaler` in the path."""
    program = tmp_path / "autoscaler"
    program.write_text(
        f'#!{sys.executable}\nfrom autoscaler.cli import main\nmain(prog_name="autoscaler")\n'
    )
    program.chmod(0o755)
    root = Path(__file__).parents[1]
    path = f"{tmp_path}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(root), "HOME": str(tmp_path)}


def output_of(command: list[str], environment: dict[str, str]) -> list[str]:
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout.splitlines()


def test_bash_completes_commands_and_options(environment):
    def completed(*words: str) -> set[str]:
        script = BASH.format(words=" ".join(map(repr, words)), last=len(words) - 1)
        return set(output_of(["bash", "-c", script], environment))

    assert completed("autoscaler", "") == VISIBLE
    assert completed("autoscaler", "expl") == {"explain"}
    assert {"--json", "--config"} <= completed("autoscaler", "explain", "--")
    assert completed("autoscaler", "completion", "f") == {"fish"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_accepts_its_script(shell, environment, tmp_path):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    script = tmp_path / "script"
    script.write_text("\n".join(output_of(["autoscaler", "completion", shell], environment)))
    assert output_of([shell, "-n", str(script)], environment) == []


def test_another_shell_is_wrong_usage():
    result = CliRunner().invoke(main, ["completion", "tcsh"])
    assert result.exit_code == 2
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish'" in result.output
