"""What documents show of configurations, programs and requests works as they say."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import trustme
from click.testing import CliRunner
from elasticsearch8 import Elasticsearch

from autoscaler.cli import main
from autoscaler.config import load
from autoscaler.emulator import serve
from autoscaler.simulation.scenario import scenario_of
from tests.deploy.tools import installed, objects_of
from tests.documents.blocks import BLOCKS, DOCUMENTS, ROOT, Block, in_language, prose, the_block

CHECKED = {"sh", "toml", "yaml", "python", "console"}
NOT_CHECKED = {
    "text": "a drawing, a formula, or what a program has printed",
}
"""Languages that are not executed, each with the reason."""

ELSEWHERE = {
    ("docs/writing-a-policy.md", "toml"): "tests/test_writing_a_policy.py",
    ("docs/writing-a-policy.md", "python"): "tests/test_writing_a_policy.py",
}
"""Blocks that another test installs and runs."""

SCENARIOS = {"docs/emulator.md", "docs/backtest.md"}
"""Documents whose TOML is a scenario of the emulator."""

SCENARIO = """
[[nodes]]
name = "ml-1"
[[models]]
model_id = "e5-small"
[[deployments]]
model_id = "e5-small"
[[deployments]]
model_id = "e5-small"
deployment_id = "elser-search"
"""


def test_every_block_has_a_language_that_is_checked_or_a_reason():
    """And a fence at the margin, or the tests would not find it."""
    assert {block.language for block in BLOCKS} <= CHECKED | set(NOT_CHECKED)
    assert [path.name for path in DOCUMENTS if "```" in prose(path)] == []


def checked(*languages: str) -> list[Block]:
    return [
        block
        for block in in_language(*languages)
        if (block.document, block.language) not in ELSEWHERE
    ]


def with_files(text: str, folder: Path) -> str:
    """A configuration whose files are in a folder: secrets, and certificates of an authority."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    files = re.findall(r'"([/\w.-]*/[\w.-]+|\w+_key|\w+\.crt)"', text)
    for number, file in enumerate(files):
        path = folder / f"{number}-{Path(file).name}"
        text = text.replace(f'"{file}"', f'"{path}"')
        match path.suffix:
            case ".key":
                certificate.private_key_pem.write_to_path(path)
            case ".crt" if "ca" in path.stem:
                authority.cert_pem.write_to_path(path)
            case ".crt":
                certificate.cert_chain_pems[0].write_to_path(path)
            case _:
                path.write_text(f"secret-of-{path.name}-that-is-long-enough")
                path.chmod(0o600)
    return text


@pytest.mark.parametrize("block", checked("toml"), ids=str)
def test_toml(block: Block, tmp_path: Path):
    """A configuration is loaded, and a scenario read, with what the document leaves out."""
    if block.document in SCENARIOS:
        given = tomllib.loads(block.text)
        scenario_of(tomllib.loads(SCENARIO) | given, folder=tmp_path)
        return
    path = tmp_path / "config.toml"
    path.write_text(with_files(block.text, tmp_path))
    given = tomllib.loads(block.text)
    environment = {}
    if "elasticsearch" not in given:
        environment["AUTOSCALER_ELASTICSEARCH__HOSTS"] = "https://localhost:9200"
    if "defaults" not in given:
        environment["AUTOSCALER_DEFAULTS__MAX_ALLOCATIONS"] = "8"
    assert len(load(path, environment).rules) == len(given.get("rules", []))


@installed
@pytest.mark.parametrize("block", checked("yaml"), ids=str)
def test_yaml(block: Block):
    (found,) = objects_of(block.text)
    assert isinstance(found, dict)


@pytest.mark.parametrize("block", checked("console"), ids=str)
def test_console(block: Block):
    """A request, and the JSON of its body."""
    request, _, body = block.text.partition("\n")
    method, path = request.split()
    assert method in {"GET", "POST", "PUT", "DELETE"}
    assert path.startswith("/")
    json.loads(body)


def test_the_first_real_cluster(tmp_path, monkeypatch):
    """The steps of README: observe, dry run, one deployment, all."""
    monkeypatch.chdir(tmp_path)
    _, _, body = the_block("README.md", "POST /_security/api_key").text.partition("\n")
    privileges = json.loads(body)["role_descriptors"]["autoscaler"]["cluster"]
    configuration = the_block("README.md", "ca_certs = ").text
    roles = {"reader": privileges, "scaler": ["monitor", "manage_ml"]}
    accounts = [{"username": name, "roles": [name], "api_key": f"{name}:key"} for name in roles]
    scenario = tomllib.loads(SCENARIO) | {"security": {"accounts": accounts, "roles": roles}}

    def checked_as(name: str) -> str:
        Path("api_key").write_text(f"{name}:key")
        ran = CliRunner().invoke(main, ["check", "--config", "config.toml"])
        assert ran.exit_code == 0, ran.output
        return ran.output

    with serve(scenario=scenario, load=False) as cluster:
        here = configuration.replace("https://localhost:9200", cluster.url)
        ours = "".join(line for line in here.splitlines(keepends=True) if "ca_certs" not in line)
        Path("config.toml").write_text(ours)
        assert "observe only" in checked_as("reader")
        assert checked_as("scaler").count("dry run") == 2
        connection, _, _ = ours.replace("dry_run = true", "#").partition("[[rules]]")
        one = the_block("README.md", 'name = "first"').text
        Path("config.toml").write_text(connection + one)
        assert [
            line.split()[0] for line in checked_as("scaler").splitlines() if "dry run" in line
        ] == ["e5-small"]
        Path("config.toml").write_text(connection + one.replace("dry_run = true", ""))
        last = checked_as("scaler")
    assert "dry run" not in last
    assert "observe only" not in last


def test_a_test_of_another_program(tmp_path):
    """The fixture of an emulated cluster, used as the document shows."""
    lines = the_block("docs/emulator.md", "pytest_plugins").text
    plugins, _, test = lines.partition("\n")
    (tmp_path / "conftest.py").write_text(plugins)
    (tmp_path / "test_it.py").write_text("import my_program\n" + test)
    (tmp_path / "my_program.py").write_text(
        "from urllib.request import urlopen\n\n\n"
        "def run_once(url):\n"
        "    assert urlopen(url).status == 200\n"
    )
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", "."],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "1 passed" in ran.stdout


def test_a_program_that_uses_an_emulated_cluster():
    """With the official client, as the document shows."""
    text = the_block("docs/emulator.md", "client.ml.start_trained").text
    exec(compile(text, "docs/emulator.md", "exec"), {"Elasticsearch": Elasticsearch})
