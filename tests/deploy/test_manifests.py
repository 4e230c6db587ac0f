"""The folders of deploy/kubernetes."""

import json
import re
import shutil

import pytest

from autoscaler.config import load
from tests.deploy.tools import (
    CUSTOM,
    DEPLOY,
    RELEASES,
    ROOT,
    Object,
    configuration_of,
    installed,
    kustomized,
    objects_of,
    problems_of,
    the,
    variables_of_the_image,
)

FOLDERS = ("base", "replicas", "sidecar", "eck")
pytestmark = installed


@pytest.fixture(scope="module")
def rendered() -> dict[str, str]:
    return {folder: kustomized(DEPLOY / "kubernetes" / folder) for folder in FOLDERS}


@pytest.fixture(scope="module")
def objects(rendered) -> dict[str, list[Object]]:
    return {folder: objects_of(text) for folder, text in rendered.items()}


def pod_of(objects: list[Object]) -> Object:
    (workload,) = [each for each in objects if each["kind"] in {"Deployment", "StatefulSet"}]
    return workload["spec"]["template"]


def daemon_of(objects: list[Object]) -> Object:
    containers = pod_of(objects)["spec"]["containers"]
    (daemon,) = [each for each in containers if each["name"] == "autoscaler"]
    return daemon


@pytest.mark.parametrize("folder", FOLDERS)
class TestEachFolder:
    @pytest.mark.parametrize("release", RELEASES)
    def test_each_kubectl_renders_the_same(self, folder, rendered, release):
        assert kustomized(DEPLOY / "kubernetes" / folder, release) == rendered[folder]

    def test_it_meets_the_published_schemas(self, folder, rendered, tmp_path):
        assert problems_of(rendered[folder], tmp_path / "rendered.yaml") == ""

    def test_the_daemon_is_not_root_and_writes_to_its_volume_only(self, folder, objects):
        daemon, pod = daemon_of(objects[folder]), pod_of(objects[folder])["spec"]
        assert daemon["securityContext"]["readOnlyRootFilesystem"]
        assert daemon["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        user = {**pod["securityContext"], **daemon["securityContext"]}
        assert (user["runAsNonRoot"], user["runAsUser"]) == (True, 65532)
        writable = [mount for mount in daemon["volumeMounts"] if not mount.get("readOnly")]
        assert [mount["mountPath"] for mount in writable] == ["/var/lib/autoscaler"]

    def test_only_prometheus_reaches_the_daemon(self, folder, objects):
        policies = [each for each in objects[folder] if each["kind"] == "NetworkPolicy"]
        peers = [
            rule["from"]
            for policy in policies
            for rule in policy["spec"].get("ingress", [])
            if {"protocol": "TCP", "port": 9464} in rule["ports"]
        ]
        wanted = {"key": "app.kubernetes.io/name", "operator": "In", "values": ["prometheus"]}
        assert peers == [[{"namespaceSelector": {}, "podSelector": {"matchExpressions": [wanted]}}]]

    def test_what_selects_pods_selects_those_of_the_folder(self, folder, objects):
        labels = pod_of(objects[folder])["metadata"]["labels"].items()
        for each in objects[folder]:
            spec = each.get("spec", {})
            selectors = [spec["podSelector"]] if "podSelector" in spec else []
            if each["kind"] in {"PodDisruptionBudget", "Deployment", "StatefulSet"}:
                selectors.append(spec["selector"])
            for selector in selectors:
                assert selector["matchLabels"].items() <= labels, each["kind"]

    def test_its_configuration_begins_with_a_dry_run_and_reads_mounted_files(
        self, folder, objects, tmp_path
    ):
        text = configuration_of(objects[folder])
        directory = "/run/secrets/autoscaler"
        mounted = {mount["mountPath"] for mount in daemon_of(objects[folder])["volumeMounts"]}
        assert {"/etc/autoscaler", directory} <= mounted
        assert directory in text
        for name in set(re.findall(rf'^\w+ = "{directory}/(.+)"$', text, re.MULTILINE)):
            (tmp_path / name).write_text("c2VzYW1l")
        path = tmp_path / "config.toml"
        path.write_text(text.replace(directory, str(tmp_path)))
        config = load(path, variables_of_the_image())
        assert config.dry_run
        assert config.rules

    def test_probes_use_the_paths_and_the_port_of_the_server(self, folder, objects):
        daemon = daemon_of(objects[folder])
        assert daemon["ports"] == [{"name": "metrics", "containerPort": 9464}]
        probes = {
            name: daemon[f"{name}Probe"]["httpGet"]
            for name in ("liveness", "readiness")
            if f"{name}Probe" in daemon
        }
        assert probes["liveness"] == {"path": "/healthz", "port": "metrics"}
        assert probes.get("readiness") in ({"path": "/readyz", "port": "metrics"}, None)

    def test_a_token_of_the_api_server_is_mounted_for_the_lease_only(self, folder, objects):
        leases = 'lease = "kubernetes"' in configuration_of(objects[folder])
        assert pod_of(objects[folder])["spec"]["automountServiceAccountToken"] is leases


def test_the_role_of_replicas_permits_the_lease_and_nothing_else(objects):
    lease = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"]}
    assert the("Role", objects["replicas"])["rules"] == [
        {**lease, "resourceNames": ["autoscaler"], "verbs": ["get", "update"]},
        {**lease, "verbs": ["create"]},
    ]


def test_a_drained_node_does_not_take_all_replicas_at_once(objects):
    budget = the("PodDisruptionBudget", objects["replicas"])
    replicas = the("Deployment", objects["replicas"])["spec"]["replicas"]
    assert budget["spec"]["maxUnavailable"] < replicas


def test_the_role_beside_eck_is_that_of_endpoints_and_the_patch_names_what_is_created(objects):
    role = json.loads((DEPLOY / "elasticsearch/endpoints.json").read_text())
    folder = DEPLOY / "kubernetes/eck"
    (roles,) = objects_of((folder / "roles.yml").read_text())
    assert roles == {"autoscaler": {"cluster": role["cluster"]}}
    (patch,) = objects_of((folder / "elasticsearch.yaml").read_text())
    auth = patch["spec"]["auth"]
    assert auth["roles"] == [{"secretName": the("Secret", objects["eck"])["metadata"]["name"]}]
    volumes = pod_of(objects["eck"])["spec"]["volumes"]
    (sources,) = [each["projected"]["sources"] for each in volumes if "projected" in each]
    assert auth["fileRealm"] == [{"secretName": sources[0]["secret"]["name"]}]
    created = (folder / "kustomization.yaml").read_text()
    assert (
        f"secret generic {sources[0]['secret']['name']} --type=kubernetes.io/basic-auth" in created
    )


def test_the_component_adds_a_monitor_of_the_pods_and_their_port(tmp_path):
    for folder in ("base", "sidecar"):
        text = (
            "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"
            f"resources: [../{folder}]\ncomponents: [../monitoring]\n"
        )
        copy = tmp_path / folder
        shutil.copytree(DEPLOY / "kubernetes", copy)
        (copy / "with").mkdir()
        (copy / "with/kustomization.yaml").write_text(text)
        found = objects_of(kustomized(copy / "with"))
        assert {each["kind"] for each in found} & CUSTOM == {"PodMonitor"}
        spec = the("PodMonitor", found)["spec"]
        (expression,) = spec["selector"]["matchExpressions"]
        assert pod_of(found)["metadata"]["labels"][expression["key"]] in expression["values"]
        (endpoint,) = spec["podMetricsEndpoints"]
        assert endpoint["port"] in {port["name"] for port in daemon_of(found)["ports"]}


def test_the_claim_of_the_documents_takes_the_place_of_the_volume_of_the_pod(tmp_path):
    text = (ROOT / "docs/operations.md").read_text()
    (snippet,) = re.findall(r"```yaml\n(# kustomization.yaml.*?)```", text, re.DOTALL)
    shutil.copytree(DEPLOY / "kubernetes/base", tmp_path / "base")
    folder = tmp_path / "with-claim"
    folder.mkdir()
    (folder / "kustomization.yaml").write_text(snippet)
    (folder / "claim.yaml").write_text(CLAIM)
    rendered = kustomized(folder)
    assert problems_of(rendered, tmp_path / "rendered.yaml") == ""
    found = objects_of(rendered)
    (state,) = [
        mount
        for mount in daemon_of(found)["volumeMounts"]
        if mount["mountPath"] == "/var/lib/autoscaler"
    ]
    (volume,) = [each for each in pod_of(found)["spec"]["volumes"] if each["name"] == state["name"]]
    claim = the("PersistentVolumeClaim", found)
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]


CLAIM = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: autoscaler-state}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 64Mi}}
"""
