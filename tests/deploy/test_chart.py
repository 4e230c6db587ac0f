"""The Helm chart. `WRITE_EXPECTED=1 pytest tests/deploy` writes the files in `expected` and the
part of the values' schema that describes the configuration."""

import json
import os
import re
import shlex
import tomllib

import pytest
import trustme

from autoscaler import __version__
from autoscaler.config import load
from tests.deploy.tools import (
    CHART,
    CUSTOM,
    DEPLOY,
    NEWEST,
    RELEASES,
    ROOT,
    configuration_of,
    helm,
    installed,
    objects_of,
    problems_of,
    templated,
    the,
    variables_of_the_image,
)

CASES = sorted(path.name.removesuffix("-values.yaml") for path in CHART.glob("ci/*-values.yaml"))
EXPECTED = ROOT / "tests/deploy/expected"
WRITE = bool(os.environ.get("WRITE_EXPECTED"))
IMAGE = variables_of_the_image()
HOSTS = "config.elasticsearch.hosts={https://es:9200}"


def of_case(case: str, name: str = "autoscaler", release: str = NEWEST) -> str:
    values = str(CHART / f"ci/{case}-values.yaml")
    return templated("--values", values, name=name, release=release)


def refusal(*settings: str) -> str:
    """Why helm does not render the chart with these settings."""
    arguments = [word for setting in settings for word in ("--set", setting)]
    ran = helm("template", "autoscaler", str(CHART), *arguments)
    assert ran.returncode == 1
    return ran.stderr


def test_it_has_the_version_of_the_program():
    text = (CHART / "Chart.yaml").read_text()
    assert re.findall(r"^(?:version|appVersion): (\S+)$", text, re.MULTILINE) == [__version__] * 2


def test_the_schema_of_its_values_describes_the_configuration_of_the_program():
    path = CHART / "values.schema.json"
    schema = json.loads(path.read_text())
    configuration = json.loads((DEPLOY / "config.schema.json").read_text())
    tables = configuration.pop("$defs")
    current = {**schema, "$defs": {"Configuration": configuration, **tables}}
    if WRITE:
        path.write_text(json.dumps(current, indent=2) + "\n")
    assert json.loads(path.read_text()) == current, "WRITE_EXPECTED=1 pytest tests/deploy"


@installed
@pytest.mark.parametrize("case", CASES)
class TestEachCase:
    def test_helm_lint_finds_nothing(self, case):
        values = str(CHART / f"ci/{case}-values.yaml")
        ran = helm("lint", "--strict", str(CHART), "--values", values)
        assert ran.returncode == 0, ran.stdout
        assert "1 chart(s) linted, 0 chart(s) failed" in ran.stdout
        assert "[WARNING]" not in ran.stdout

    @pytest.mark.parametrize("release", RELEASES)
    def test_each_helm_renders_it_as_expected(self, case, release):
        path = EXPECTED / f"{case}.yaml"
        rendered = of_case(case, release=release)
        if WRITE:
            path.write_text(rendered)
        assert rendered == path.read_text()

    def test_it_meets_the_published_schemas(self, case, tmp_path):
        assert problems_of(of_case(case), tmp_path / "rendered.yaml") == ""

    def test_the_daemon_accepts_the_configuration(self, case, tmp_path):
        text = configuration_of(objects_of(of_case(case)))
        directory = "/run/secrets/autoscaler"
        for name in re.findall(rf'"{directory}/(.+)"', text):
            (tmp_path / name).write_text("a token of 16 characters or more")
        certificate = trustme.CA().issue_cert("autoscaler")
        certificate.cert_chain_pems[0].write_to_path(tmp_path / "tls.crt")
        certificate.private_key_pem.write_to_path(tmp_path / "tls.key")
        path = tmp_path / "config.toml"
        path.write_text(text.replace(directory, str(tmp_path)))
        assert load(path, IMAGE).rules


@installed
@pytest.mark.parametrize(
    "page", ["docs/operations.md", "deploy/kubernetes/monitoring/kustomization.yaml"]
)
def test_the_commands_of_the_documents_render_it(page):
    text = (ROOT / page).read_text().replace("\n#", "\n").replace("\\\n", " ")
    commands = re.findall(r"^ *helm (?:install|template) (.+)$", text, re.MULTILINE)
    assert commands
    for command in commands:
        ran = helm("template", *shlex.split(command))
        assert ran.returncode == 0, ran.stderr
        assert objects_of(ran.stdout)


@installed
def test_a_package_of_it_contains_the_files_that_it_links(tmp_path):
    ran = helm("package", str(CHART), "--destination", str(tmp_path))
    assert ran.returncode == 0, ran.stderr
    package = str(tmp_path / f"autoscaler-{__version__}.tgz")
    settings = ("--set", HOSTS, "--set", "monitoring.alerts=true")
    ran = helm("template", "autoscaler", package, *settings)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == templated(*settings)


@installed
class TestItsObjects:
    def test_the_service_monitor_selects_the_service_and_its_port(self):
        objects = objects_of(of_case("replicas"))
        spec, service = the("ServiceMonitor", objects)["spec"], the("Service", objects)
        labels = service["metadata"]["labels"].items()
        assert spec["selector"]["matchLabels"].items() <= labels
        assert spec["endpoints"] == [{"port": service["spec"]["ports"][0]["name"]}]

    def test_the_pod_monitor_selects_the_pods_and_their_port(self):
        objects = objects_of(of_case("everything"))
        pod = the("Deployment", objects)["spec"]["template"]
        spec = the("PodMonitor", objects)["spec"]
        assert spec["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
        (endpoint,) = spec["podMetricsEndpoints"]
        assert endpoint["port"] == pod["spec"]["containers"][0]["ports"][0]["name"]
        assert endpoint["authorization"]["credentials"]["key"] == "server_token"

    @pytest.mark.parametrize(
        ("name", "file"), [("autoscaler", "prometheus"), ("autoscaler-slo", "slo")]
    )
    def test_the_alerts_are_those_of_the_repository(self, name, file):
        copy = "https://git.example.com/autoscaler/"
        settings = ("monitoring.alerts=true", f"monitoring.runbooks={copy}", HOSTS)
        rendered = templated(*(word for each in settings for word in ("--set", each)))
        text = (DEPLOY / file / "rules.yml").read_text()
        (rules,) = objects_of(text.replace("runbook_url: docs/", f"runbook_url: {copy}docs/"))
        assert copy in json.dumps(rules)
        (found,) = [
            each["spec"]
            for each in objects_of(rendered)
            if each["kind"] == "PrometheusRule" and each["metadata"]["name"] == name
        ]
        assert found == rules

    def test_the_dashboards_are_those_of_the_repository(self):
        objects = objects_of(templated("--set", HOSTS, "--set", "monitoring.dashboards=true"))
        (found,) = [each for each in objects if "dashboards" in each["metadata"]["name"]]
        files = DEPLOY.glob("grafana/*.json")
        assert found["data"] == {path.name: path.read_text() for path in files}

    @pytest.mark.parametrize("case", CASES)
    def test_probes_and_monitors_use_tls_where_the_server_does(self, case):
        objects = objects_of(of_case(case))
        tls = "[server.tls]" in configuration_of(objects)
        (daemon,) = the("Deployment", objects)["spec"]["template"]["spec"]["containers"]
        probes = [daemon[f"{name}Probe"]["httpGet"] for name in ("liveness", "readiness")]
        assert {probe.get("scheme", "HTTP") for probe in probes} == {"HTTPS" if tls else "HTTP"}
        for each in objects:
            if each["kind"] in CUSTOM:
                spec = each["spec"]
                (endpoint,) = spec.get("endpoints") or spec["podMetricsEndpoints"]
                assert endpoint.get("scheme", "http") == ("https" if tls else "http")

    def test_without_the_operator_of_prometheus_none_of_its_kinds_is_rendered(self):
        objects = objects_of(of_case("single"))
        assert {each["kind"] for each in objects} & CUSTOM == set()

    @pytest.mark.parametrize("case", CASES)
    def test_a_token_of_the_api_server_is_mounted_for_a_lease_object_only(self, case):
        objects = objects_of(of_case(case))
        roles = {each["kind"] for each in objects} & {"Role", "RoleBinding", "ServiceAccount"}
        pod = the("Deployment", objects)["spec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is (case == "replicas")
        assert bool(roles) is (case == "replicas")

    def test_the_role_permits_the_lease_of_the_configuration_and_nothing_else(self):
        objects = objects_of(of_case("replicas", name="eu"))
        (named, create) = the("Role", objects)["rules"]
        lease = configuration_of(objects).partition("[leadership]")[2].partition("[[rules]]")[0]
        assert f'name = "{named["resourceNames"][0]}"' in lease
        assert (named["verbs"], create["verbs"]) == (["get", "update"], ["create"])
        assert named["resources"] == create["resources"] == ["leases"]

    def test_it_may_connect_to_the_ports_of_the_hosts_only(self):
        hosts = "{https://a:9243,http://user@b,https://[::1]:9200/path,https://c}"
        objects = objects_of(templated("--set", f"config.elasticsearch.hosts={hosts}"))
        elasticsearch, names = the("NetworkPolicy", objects)["spec"]["egress"]
        assert [each["port"] for each in elasticsearch["ports"]] == [9243, 80, 9200, 443]
        assert {each["port"] for each in names["ports"]} == {53}

    def test_a_text_among_the_values_stays_a_text(self, tmp_path):
        name = 'a"\n[server]\nport = 1.0\n# {{ .Release.Name }} \u202e'
        path = tmp_path / "values.yaml"
        rule = json.dumps([{"name": name}])
        path.write_text(f"config: {{elasticsearch: {{hosts: ['https://es']}}, rules: {rule}}}")
        text = configuration_of(objects_of(templated("--values", str(path))))
        assert tomllib.loads(text)["rules"] == [{"name": name}]

    def test_two_releases_in_one_namespace_do_not_meet(self):
        def names(name: str) -> set[tuple[str, str]]:
            objects = objects_of(of_case("replicas", name=name))
            return {(each["kind"], each["metadata"]["name"]) for each in objects}

        assert names("eu") & names("us") == set()

    def test_a_long_name_of_a_release_is_still_one_of_an_object(self, tmp_path):
        assert problems_of(of_case("replicas", name="x" * 53), tmp_path / "x.yaml") == ""
        objects = objects_of(of_case("replicas", name="x" * 53))
        assert max(len(each["metadata"]["name"]) for each in objects) <= 63


@installed
class TestWhatIsRefused:
    def test_no_address(self):
        assert "set hosts, the addresses of the cluster, or cloud_id" in refusal()

    def test_keys_that_do_not_exist(self):
        assert "'dryrun' not allowed" in refusal(HOSTS, "config.dryrun=true")
        assert "'replica' not allowed" in refusal(HOSTS, "replica=2")
        assert "/hosts" in refusal("config.elasticsearch.hosts={ftp://es:9200}")

    @pytest.mark.parametrize(
        "key",
        [
            "elasticsearch.api_key",
            "elasticsearch.password",
            "elasticsearch.bearer_token",
            "server.token",
        ],
    )
    def test_secrets_among_the_values(self, key):
        assert "readable in a ConfigMap" in refusal(HOSTS, f"config.{key}=c2VzYW1l")

    @pytest.mark.parametrize("lease", ["none", "file"])
    def test_replicas_without_a_lease_between_them(self, lease):
        found = refusal(HOSTS, "replicas=2", f"config.leadership.lease={lease}")
        assert "several need a lease" in found

    def test_a_port_that_nothing_can_know(self):
        assert "name a port" in refusal(HOSTS, "config.server.port=0")

    def test_replicas_with_a_volume_of_one(self):
        assert "one uses it" in refusal(HOSTS, "replicas=2", "claim.enabled=true")
