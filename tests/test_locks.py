"""Each lock is complete: pip installs it on every supported Python without resolving anything.

What a distribution requires is read from its metadata, for which it must be installed. A line for
other interpreters only, such as an older numpy for Python 3.11, is not installed here; `make smoke`
runs these tests with each interpreter, and each reads all lines that apply to it.
"""

import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RUNTIME = PROJECT["project"]["dependencies"]
EXTRAS = PROJECT["project"]["optional-dependencies"]
LOCKED = {
    "requirements.lock": RUNTIME,
    "requirements-backtest.lock": [*RUNTIME, *EXTRAS["backtest"]],
    "requirements-dev.lock": [*RUNTIME, *EXTRAS["backtest"], *EXTRAS["otel"], *EXTRAS["dev"]],
    "requirements-build.lock": [
        *PROJECT["build-system"]["requires"],
        *PROJECT["dependency-groups"]["build"],
    ],
}
"""What each lock is made from."""
THIS_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
PYTHONS = ("3.11", "3.12", "3.13")
pytestmark = pytest.mark.parametrize("lock", LOCKED)


def lines_of(lock: str) -> list[Requirement]:
    """Each line is one distribution in one version; the hashes are left out."""
    text = (ROOT / lock).read_text()
    return [Requirement(line) for line in re.findall(r"^(\w.*?) *\\?$", text, re.MULTILINE)]


def applies(requirement: Requirement, python: str, extras: set[str] = frozenset()) -> bool:
    """Whether the requirement holds for `python` on this platform, with any of the extras."""
    marker = requirement.marker
    versions = {"python_version": python, "python_full_version": f"{python}.0"}
    environment = {**default_environment(), **versions}
    return marker is None or any(
        marker.evaluate({**environment, "extra": extra}) for extra in ("", *extras)
    )


def requirements_of(line: Requirement, python: str) -> list[Requirement]:
    """What the installed distribution requires under `python`, its locked extras included."""
    stated = map(Requirement, metadata.requires(line.name) or [])
    return [requirement for requirement in stated if applies(requirement, python, line.extras)]


def meets(line: Requirement, requirement: Requirement) -> bool:
    (version,) = line.specifier
    return (
        canonicalize_name(line.name) == canonicalize_name(requirement.name)
        and requirement.specifier.contains(version.version)
        and requirement.extras <= line.extras
    )


def test_it_pins_every_line_with_a_hash_and_names_no_address(lock):
    text = (ROOT / lock).read_text()
    lines = lines_of(lock)
    assert {next(iter(line.specifier)).operator for line in lines} == {"=="}
    assert all(line.url is None for line in lines)
    assert len(re.findall(r"^\w.* \\\n    --hash=sha256:", text, re.MULTILINE)) == len(lines)
    assert "://" not in text


def test_what_is_installed_is_what_is_locked(lock):
    locked = {
        line.name: f"=={metadata.version(line.name)}"
        for line in lines_of(lock)
        if applies(line, THIS_PYTHON)
    }
    assert locked == {
        line.name: str(line.specifier) for line in lines_of(lock) if applies(line, THIS_PYTHON)
    }


@pytest.mark.parametrize("python", PYTHONS)
def test_it_has_one_version_of_each_distribution(lock, python):
    names = [line.name for line in lines_of(lock) if applies(line, python)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("python", PYTHONS)
def test_every_requirement_is_met_by_a_line(lock, python):
    lines = [line for line in lines_of(lock) if applies(line, python)]
    required = [(lock, Requirement(text)) for text in LOCKED[lock]]
    for line in lines:
        if applies(line, THIS_PYTHON):
            required += [(line.name, each) for each in requirements_of(line, python)]
    missing = [
        f"{name} requires {requirement}"
        for name, requirement in required
        if canonicalize_name(requirement.name) != "autoscaler"
        and not any(meets(line, requirement) for line in lines)
    ]
    assert missing == []
    assert len(required) > len(LOCKED[lock])
