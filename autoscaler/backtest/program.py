"""The program that computes results: two equal ones compute the same, to the last bit."""

import hashlib
import platform
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.machinery import all_suffixes
from importlib.metadata import PackageNotFoundError, entry_points, version
from importlib.util import find_spec
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
    policies: str  # a digest of the installed policies, their distributions and their modules
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
    root = Path(autoscaler.__file__).parent
    return _digest_of_files(root, root.rglob("*.py"))


def _digest_of_policies() -> str:
    """A policy that is being written, in a checkout, changes without its version."""
    installed = sorted(
        f"{point.name} {point.value} {point.dist.name} {point.dist.version} "
        f"{_digest_of_module(point.module)}\n"
        for point in entry_points(group=GROUP)
        if point.dist is not None
    )
    return hashlib.sha256("".join(installed).encode()).hexdigest()


def _digest_of_module(name: str) -> str:
    """Of the outermost package around a module that is no mere namespace, or else of the module."""
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        try:
            spec = find_spec(".".join(parts[:depth]))
        except (ImportError, ValueError):
            break
        if spec is None:
            break
        if spec.has_location and spec.origin is not None:
            origin = Path(spec.origin)
            files = [origin] if spec.submodule_search_locations is None else _modules(origin.parent)
            return _digest_of_files(origin.parent, files)
    return ABSENT


def _modules(folder: Path) -> Iterator[Path]:
    suffixes = tuple(all_suffixes())
    for path in folder.rglob("*"):
        if path.name.endswith(suffixes) and path.parent.name != "__pycache__" and path.is_file():
            yield path


def _digest_of_files(root: Path, paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(paths):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ABSENT
