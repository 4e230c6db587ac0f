"""Commands in documents exist, with these options, and do what they can do here."""

import importlib
import re
import shutil
import subprocess
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import click
import pytest

from autoscaler.cli import main
from autoscaler.emulator import serve
from tests.deploy.tools import NEWEST, installed, output_of
from tests.documents.blocks import PRESENT, ROOT, Block, in_language, simple_commands, spans

SHELL = in_language("sh")

NOT_EXECUTED = {
    "docker": "there may be no Docker; tests/deploy and tests/test_deploy.py check the files",
    "pip": "needs a package index; `make smoke` installs from the same locks",
    "python3": "makes the environment for pip",
    "systemctl": "changes the machine; tests/test_deploy.py has systemd verify the unit",
    "install": "changes the machine; the files that it copies are looked up",
    "cd": "the folder is looked up",
    "umask": "of the command after it",
    "echo": "shown with the command in it",
    "openssl": "makes random text",
    "prometheus": "serves until it is stopped; tests/test_import_from_prometheus.py runs it",
    "python": "a module or a file, which is looked up; what it makes is compared elsewhere",
}
"""Programs whose commands are read and not run, each with the reason. `autoscaler` and `make` are
parsed by the program itself, and `dask` by distributed; the others are executed below."""

EXECUTED = {"autoscaler", "make", "promtool", "kubectl", "helm", "curl", "sed", "dask"}


def program_of(words: list[str]) -> str:
    return Path(words[0]).name


def commands_of(program: str) -> list[pytest.param]:
    return [
        pytest.param(words, id=f"{block}-{number}")
        for block in SHELL
        for number, words in enumerate(block.commands())
        if program_of(words) == program
    ]


def test_each_command_is_executed_or_has_a_reason():
    used = {program_of(words) for block in SHELL for words in block.commands()}
    assert used == EXECUTED | set(NOT_EXECUTED)


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_a_shell_can_read_it(block: Block):
    ran = subprocess.run(
        ["bash", "-n"], input=block.text, capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")


def parse(words: list[str]) -> None:
    """As the command line does, without running anything. Files that it names must exist."""
    context = click.Context(main, info_name="autoscaler")
    command: click.Command = main
    while isinstance(command, click.Group):
        name, found, words = command.resolve_command(context, words)
        assert found is not None
        context, command = found.make_context(name, list(words), parent=context), found


@pytest.mark.parametrize("words", commands_of("autoscaler"))
def test_options_of_the_program(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for word in words:
        if re.search(r"\.(toml|csv)$", word):
            Path(word).write_text("")
    if words[1] != "--version":
        parse([re.sub(r"^\.\./shared/.*", str(tmp_path), word) for word in words[1:]])


@pytest.mark.parametrize("words", commands_of("dask"))
def test_options_of_dask(words):
    command = importlib.import_module(f"distributed.cli.dask_{words[1]}").main
    command.make_context(words[1], words[2:])


@pytest.mark.parametrize("path", PRESENT, ids=lambda path: path.name)
def test_options_in_sentences(path):
    """Where a sentence names a command, its arguments may be missing."""
    for span in spans(path):
        for words in simple_commands(span) if "autoscaler " in span else ():
            if program_of(words) != "autoscaler" or words[1].startswith("--"):
                continue
            command = main.commands[words[1]]
            if isinstance(command, click.Group) and words[2:]:
                command = command.commands[words[2]]
            options = {"--help", *(option for each in command.params for option in each.opts)}
            assert {word for word in words if word.startswith("--")} <= options, span


@pytest.mark.parametrize("words", commands_of("make"))
def test_targets_of_make(words):
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {word for word in words[1:] if "=" not in word} <= targets
    variables = {word.partition("=")[0] for word in words[1:] if "=" in word}
    makefile = (ROOT / "Makefile").read_text()
    assert all(re.search(rf"^{name} [?:]?=", makefile, re.MULTILINE) for name in variables)


@pytest.mark.parametrize("path", PRESENT, ids=lambda path: path.name)
def test_targets_of_make_in_sentences(path):
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    used = {found[1] for span in spans(path) if (found := re.match(r"make ([a-z-]+)", span))}
    assert used <= targets


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
@pytest.mark.parametrize("words", commands_of("promtool"))
def test_promtool(words, tmp_path):
    folder = ROOT
    if "openmetrics" in words:
        folder = tmp_path
        (folder / words[words.index("openmetrics") + 1]).write_text("up 1 1769860800\n# EOF\n")
    subprocess.run(words, cwd=folder, check=True, capture_output=True)


@installed
@pytest.mark.parametrize("words", commands_of("kubectl"))
def test_kubectl(words):
    """What it would send to a cluster."""
    kubectl = f"{NEWEST}/kubectl/kubectl"
    match words[1:]:
        case ["create", "secret", *rest]:
            key = f"api_key={ROOT / 'LICENSE'}"
            rest = [word.replace("from-file=api_key", f"from-file={key}") for word in rest]
            local = ("--dry-run=client", "--output=yaml")
            assert "kind: Secret" in output_of(kubectl, "create", "secret", *rest, *local)
        case ["apply", "-k", folder]:
            assert "kind: Deployment" in output_of(kubectl, "kustomize", folder)
        case other:
            pytest.fail(f"not executed: {other}")


@installed
@pytest.mark.parametrize("words", commands_of("helm"))
def test_helm(words):
    """The objects that it would create."""
    assert words[1] == "install"
    assert "kind: Deployment" in output_of(f"{NEWEST}/helm/helm", "template", *words[2:])


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl():
    """The requests in the documents, one after the other, to an emulated cluster."""
    with serve(load=False) as cluster:
        for parameters in commands_of("curl"):
            (words,) = parameters.values
            here = [word.replace("localhost:9200", cluster.url) for word in words]
            ran = subprocess.run(
                [*here, "--fail-with-body"], capture_output=True, text=True, check=False
            )
            assert ran.returncode == 0, f"{parameters.id}: {ran.stdout}{ran.stderr}"


@pytest.mark.parametrize("words", commands_of("sed"))
def test_sed(words, tmp_path):
    """Addresses of the runbook in front of the sections."""
    (tmp_path / "rules.yml").write_text((ROOT / "deploy/prometheus/rules.yml").read_text())
    subprocess.run(words, cwd=tmp_path, check=True)
    urls = re.findall(r"runbook_url: (.*)", (tmp_path / "rules.yml").read_text())
    assert urls
    for url in urls:
        place = url.strip('"').removeprefix("https://git.example.com/autoscaler/blob/main/")
        assert place != url
        assert (ROOT / place.partition("#")[0]).is_file(), url


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_files_of_other_commands(block: Block):
    """Files and modules of the repository that a command names exist."""
    for words in block.commands():
        named = [word for word in words if re.match(r"(deploy|docs|requirements)\b", word)]
        assert [word for word in named if not (ROOT / word).exists()] == []
        modules = [word for before, word in pairwise(words) if before == "-m"]
        ours = [module for module in modules if module.startswith("benchmarks")]
        assert [module for module in ours if find_spec(module) is None] == []
