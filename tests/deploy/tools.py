"""helm, kubectl and kubernetes-validate, which `make build/deploy/installed` installs.

Of helm and kubectl there are an old and a new release: v30 has helm 3.17 and kubectl 1.30, and v35
has helm 4.1 and kubectl 1.35.
"""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm/autoscaler"
_INSTALLED = ROOT / "build/deploy"
_READ_YAML = "import json, sys, yaml; json.dump(list(yaml.safe_load_all(sys.stdin)), sys.stdout)"
VERSIONS = ("1.25", "1.29", "1.32", "1.35", "1.37")
"""Of Kubernetes: the oldest and the newest whose schemas are installed, and some between them."""
RELEASES = ("v30", "v35")
NEWEST = "v35"
CUSTOM = {"PodMonitor", "ServiceMonitor", "PrometheusRule"}
"""Kinds that the Prometheus operator defines, so that Kubernetes has no schema of them."""

installed = pytest.mark.skipif(
    not (_INSTALLED / "installed").exists(),
    reason="`make build/deploy/installed` has not run; it needs npm",
)

Object = dict[str, Any]
"""An object of Kubernetes, as its YAML says."""


def run(tool: str, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """One of the tools, by its path in the installation."""
    command = [str(_INSTALLED / tool), *arguments]
    return subprocess.run(
        command, cwd=ROOT, input=stdin, capture_output=True, text=True, check=False
    )


def output_of(tool: str, *arguments: str, stdin: str = "") -> str:
    """Standard output of a tool, which must succeed."""
    ran = run(tool, *arguments, stdin=stdin)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def helm(*arguments: str, release: str = NEWEST) -> subprocess.CompletedProcess[str]:
    """helm, of one of `RELEASES`."""
    return run(f"{release}/helm/helm", *arguments)


def kustomized(folder: Path, release: str = NEWEST) -> str:
    """The objects of a folder. kubectl must not warn of anything."""
    ran = run(f"{release}/kubectl/kubectl", "kustomize", str(folder))
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout


def templated(*arguments: str, name: str = "autoscaler", release: str = NEWEST) -> str:
    """The objects of the chart, installed under a name."""
    ran = helm("template", name, str(CHART), *arguments, release=release)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def objects_of(rendered: str) -> list[Object]:
    """What YAML says."""
    found = json.loads(output_of("bin/python", "-c", _READ_YAML, stdin=rendered))
    return [each for each in found if each is not None]


def the(kind: str, objects: list[Object]) -> Object:
    """The only object of its kind."""
    (found,) = [each for each in objects if each["kind"] == kind]
    return found


def configuration_of(objects: list[Object]) -> str:
    """The text of config.toml."""
    return str(the("ConfigMap", objects)["data"]["config.toml"])


def variables_of_the_image() -> dict[str, str]:
    """Those for the program, with which a container runs."""
    text = (DEPLOY / "Dockerfile").read_text()
    return dict(re.findall(r"\b(AUTOSCALER_\w+)=(\S+)", text))


def problems_of(rendered: str, path: Path) -> str:
    """What the published schemas of each version find wrong."""
    path.write_text(rendered)
    versions = [word for version in VERSIONS for word in ("-k", version)]
    ran = run("bin/kubernetes-validate", "--strict", "--quiet", "--no-warn", *versions, str(path))
    return "" if ran.returncode == 0 else ran.stdout + ran.stderr
