"""The program that computes results: two equal ones compute the same, to the last bit."""

import hashlib
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path

from msgspec import Struct

import autoscaler
from autoscaler.config.policies import GROUP

COMPUTING = ("numpy", "numba", "llvmlite", "msgspec")
"""Packages whose version may change a result."""

ABSENT = "not installed"


class Program(Struct, frozen=True, kw_only=True):
    """What the results of a task depend on, beside the task."""

    python: str  # with the implementation
    machine: str  # the architecture
    version: str
    source: str  # a digest of the modules of this package; a checkout changes without its version
    policies: str  # a digest of the installed policies and their distributions
    packages: dict[str, str]  # versions by name


@cache
def this_program() -> Program:
    """The program of this process."""
    return Program(
        python=f"{platform.python_implementation()} {platform.python_version()}",
        machine=platform.machine(),
        version=autoscaler.__version__,
        source=_digest_of_source(),
        policies=_digest_of_policies(),
        packages={name: _version_of(name) for name in COMPUTING},
    )


def _digest_of_source() -> str:
    root, digest = Path(autoscaler.__file__).parent, hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def _digest_of_policies() -> str:
    installed = sorted(
        f"{point.name} {point.value} {point.dist.name} {point.dist.version}\n"
        for point in entry_points(group=GROUP)
        if point.dist is not None
    )
    return hashlib.sha256("".join(installed).encode()).hexdigest()


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ABSENT
