"""Distributions for tests: a module and its metadata in a folder, as an installer leaves them."""

import importlib
from pathlib import Path
from typing import Any


def install(
    folder: Path, monkeypatch: Any, source: str, *, name: str, points: str, version: str = "1.0"
) -> None:
    """A distribution `name` with one module of that name, and these entry points, one a line."""
    module = name.replace("-", "_")
    (folder / f"{module}.py").write_text(source)
    metadata = folder / f"{module}-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (metadata / "entry_points.txt").write_text(f"[autoscaler.policies]\n{points}\n")
    monkeypatch.syspath_prepend(folder)
    importlib.invalidate_caches()
