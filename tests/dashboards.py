"""The dashboards of deploy/grafana, as their files have them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

DIRECTORY = Path(__file__).parents[1] / "deploy/grafana"


class PanelQuery(NamedTuple):
    """A query of a panel, with values for the variables."""

    panel: str
    name: str  # of its series
    expr: str

    def __str__(self) -> str:
        return f"{self.panel}: {self.name or self.expr}"


def dashboards() -> dict[str, dict[str, Any]]:
    """By the name of the file."""
    return {path.name: json.loads(path.read_text()) for path in sorted(DIRECTORY.glob("*.json"))}


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """Without the rows, which only have a title."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def queries(dashboard: dict[str, Any], *, deployment: str) -> Iterator[PanelQuery]:
    """All of them, annotations included."""
    for panel in panels(dashboard):
        for target in panel["targets"]:
            yield PanelQuery(
                panel["title"],
                target.get("legendFormat", ""),
                _filled(target["expr"], deployment),
            )
    for annotation in dashboard["annotations"].get("list", ()):
        yield PanelQuery("annotation", annotation["name"], _filled(annotation["expr"], deployment))


def _filled(expr: str, deployment: str) -> str:
    """The expression as Grafana sends it."""
    for variable, value in (
        ("$job", ".*"),
        ("$deployment", deployment),
        ("$__rate_interval", "1m"),
    ):
        expr = expr.replace(variable, value)
    return expr
