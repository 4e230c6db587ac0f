"""The compose file and what it mounts."""

import shutil
import subprocess
from pathlib import Path

import pytest

from autoscaler.config import load
from tests.deploy.tools import DEPLOY, installed, objects_of, run, variables_of_the_image

FOLDER = DEPLOY / "compose"
pytestmark = installed


@pytest.fixture(scope="module")
def services() -> dict:
    (file,) = objects_of((FOLDER / "compose.yaml").read_text())
    return file["services"]


def mounts(services: dict) -> list[tuple[str, str]]:
    """Source and target of each file and folder that is mounted."""
    volumes = [volume for service in services.values() for volume in service["volumes"]]
    return [tuple(each.split(":")[:2]) for each in volumes if each.startswith(".")]


def test_it_meets_the_published_schema():
    schema, file = "build/deploy/compose.schema.json", FOLDER / "compose.yaml"
    ran = run("bin/python", "-c", _VALIDATE, schema, str(file))
    assert (ran.returncode, ran.stderr) == (0, "")
    broken = file.read_text().replace("read_only:", "readonly:")
    assert run("bin/python", "-c", _VALIDATE, schema, "/dev/stdin", stdin=broken).returncode == 1


_VALIDATE = """
import json, sys, yaml, jsonschema
jsonschema.validate(yaml.safe_load(open(sys.argv[2])), json.load(open(sys.argv[1])))
"""


def test_images_are_named_by_version_and_ports_are_of_this_machine_only(services):
    for name, service in services.items():
        assert ":" in service["image"] or "build" in service, name
        assert not service["image"].endswith(":latest"), name
        assert all(port.startswith("127.0.0.1:") for port in service["ports"]), name


def test_what_is_mounted_and_built_is_in_the_repository(services):
    for source, _ in mounts(services):
        assert (FOLDER / source).exists(), source
    build = services["autoscaler"]["build"]
    assert (FOLDER / build["context"] / build["dockerfile"]).is_file()


def test_the_daemon_accepts_its_configuration_and_begins_with_a_dry_run(services):
    password = {"AUTOSCALER_ELASTICSEARCH__PASSWORD": "secret"}
    environ = {
        **variables_of_the_image(),
        **services["autoscaler"]["environment"],
        **password,
    }
    config = load(FOLDER / "autoscaler/config.toml", environ)
    assert config.dry_run
    assert [host.split(":")[1] for host in config.connection.hosts] == ["//elasticsearch"]
    assert "autoscaler" in config.server.allowed_hosts


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_prometheus_accepts_its_configuration_with_the_rules_where_they_are_mounted(
    services, tmp_path
):
    targets = dict(map(reversed, mounts(services)))
    root = Path("/etc/prometheus")
    for target in (root / "prometheus.yml", root / "alerts", root / "slo"):
        (tmp_path / target.name).symlink_to((FOLDER / targets[str(target)]).resolve())
    command = ["promtool", "check", "config", str(tmp_path / "prometheus.yml")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "2 rule files found" in ran.stdout


def test_grafana_finds_prometheus_and_the_folder_of_the_dashboards(services):
    (sources,) = objects_of((FOLDER / "grafana/datasources.yml").read_text())
    assert sources["datasources"][0]["url"] == "http://prometheus:9090"
    (provided,) = objects_of((FOLDER / "grafana/dashboards.yml").read_text())
    path = provided["providers"][0]["options"]["path"]
    assert ("../grafana", path) in mounts(services)
