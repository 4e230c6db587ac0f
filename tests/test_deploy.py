"""The files in deploy/ fit the program, as far as that can be checked offline."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from autoscaler.adapters.prometheus import DaemonMetrics, PrometheusRecorder
from autoscaler.config import load
from autoscaler.connection import ApiKey
from tests.fakes import FakeClock

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
MANIFESTS = sorted(DEPLOY.glob("kubernetes/*/*.yaml"))


def needs(tool: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(tool) is None, reason=f"{tool} is not installed")


def output_of(*command: str) -> str:
    """Standard output and error of a command, which must succeed."""
    ran = subprocess.run(command, cwd=DEPLOY, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


@pytest.mark.parametrize("path", sorted(DEPLOY.glob("kubernetes/*/config.toml")), ids=str)
def test_shipped_configurations_load_and_begin_with_a_dry_run(path, tmp_path):
    key = tmp_path / "api_key"
    key.write_text("c2VzYW1l")
    config = load(path, {"AUTOSCALER_ELASTICSEARCH__API_KEY_FILE": str(key)})
    assert config.dry_run
    assert config.rules


class TestAlerts:
    @needs("promtool")
    def test_they_are_valid(self):
        output_of("promtool", "check", "rules", "prometheus/rules.yml")

    @needs("promtool")
    def test_they_fire_as_their_tests_expect(self):
        output_of("promtool", "test", "rules", "prometheus/rules_test.yml")

    def test_every_alert_is_tested(self):
        alerts = re.findall(r"- alert: (\w+)", (DEPLOY / "prometheus/rules.yml").read_text())
        tested = (DEPLOY / "prometheus/rules_test.yml").read_text()
        assert alerts
        assert [alert for alert in alerts if f"alertname: {alert}" not in tested] == []

    @pytest.mark.parametrize("name", ["rules.yml", "rules_test.yml"])
    def test_their_metrics_exist(self, name):
        collectors = (PrometheusRecorder(FakeClock()), DaemonMetrics(FakeClock(), "1"))
        known = {
            family.name + ("_total" if family.type == "counter" else "")
            for collector in collectors
            for family in collector.describe()
        }
        text = (DEPLOY / "prometheus" / name).read_text()
        named = set(re.findall(r"\b(?:autoscaler|elasticsearch)_[a-z_]+", text))
        assert named
        assert named <= known


class TestKubernetes:
    @needs("kubectl")
    @pytest.mark.parametrize("name", ["base", "sidecar"])
    def test_the_manifests_render(self, name):
        rendered = output_of("kubectl", "kustomize", f"kubernetes/{name}")
        assert "readOnlyRootFilesystem: true" in rendered
        assert "runAsNonRoot: true" in rendered
        assert "config.toml: |" in rendered

    @needs("kubectl")
    @pytest.mark.parametrize("name", ["base", "sidecar"])
    def test_only_prometheus_reaches_the_daemon(self, name):
        rendered = output_of("kubectl", "kustomize", f"kubernetes/{name}")
        (policy,) = [each for each in rendered.split("\n---\n") if "kind: NetworkPolicy" in each]
        assert "- Ingress" in policy
        rules = policy.partition("  ingress:\n")[2].partition("\n  podSelector:")[0]
        (scraped,) = [each for each in rules.split("- from:") if "port: 9464" in each]
        assert re.search(r"values:\s+- prometheus\s", scraped)
        assert "matchLabels" not in scraped
        # The pods that the policy is for are those of the manifest.
        app = re.search(r"\n  podSelector:\n    matchLabels:\n      (\S+: \S+)", policy)[1]
        (pods,) = re.findall(r"kind: (?:Deployment|StatefulSet)(?:.|\n)*", rendered)
        assert f"matchLabels:\n      {app}\n" in pods

    @pytest.mark.parametrize("path", MANIFESTS, ids=str)
    def test_no_pod_has_the_token_of_a_service_account(self, path):
        text = path.read_text()
        pods = len(re.findall(r"^ *containers:", text, re.MULTILINE))
        assert (
            len(re.findall(r"^ *automountServiceAccountToken: false", text, re.MULTILINE)) == pods
        )

    def test_the_role_of_replicas_permits_the_lease_and_nothing_else(self):
        text = (DEPLOY / "kubernetes/replicas/role.yaml").read_text()
        assert set(re.findall(r"resources: \[(.+)\]", text)) == {"leases"}
        verbs = re.findall(r"verbs: \[(.+)\]", text)
        assert sorted(", ".join(verbs).split(", ")) == ["create", "get", "update"]
        named = "resourceNames: [autoscaler]\n    verbs: [get, update]"
        assert named in text, "the default name of the lease"

    def test_probes_use_the_paths_and_the_port_of_the_server(self):
        text = "\n".join(path.read_text() for path in MANIFESTS)
        assert set(re.findall(r"path: (/\S+)", text)) == {"/healthz", "/readyz"}
        assert set(re.findall(r"name: metrics\n\s+(?:containerPort|port): (\d+)", text)) == {"9464"}

    def test_the_paths_of_the_configuration_are_mounted(self):
        for directory in ("base", "sidecar"):
            folder = DEPLOY / "kubernetes" / directory
            manifests = "\n".join(path.read_text() for path in folder.glob("*.yaml"))
            assert "mountPath: /run/secrets/autoscaler" in manifests
            assert "mountPath: /etc/autoscaler" in manifests
            assert '"/run/secrets/autoscaler/api_key"' in (folder / "config.toml").read_text()


class TestTheImage:
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

    def test_its_variables_are_settings(self, tmp_path):
        text = self.UNIT.read_text().replace("%d", str(tmp_path))
        (tmp_path / "api_key").write_text("c2VzYW1l")
        variables = dict(re.findall(r"^Environment=(AUTOSCALER_\w+)=(\S+)$", text, re.MULTILINE))
        hosts = {"AUTOSCALER_ELASTICSEARCH__HOSTS": "https://es:9200"}
        assert load(None, {**hosts, **variables}).connection.auth == ApiKey(tmp_path / "api_key")
