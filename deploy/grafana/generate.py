"""Writes the dashboards of this directory: `python deploy/grafana/generate.py`.

panels      panels, variables and dashboards, from a few words each
fleet       all deployments
deployment  one deployment
daemon      the autoscaler itself
"""

import json
import sys
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import daemon  # noqa: E402 because it is beside this file
import deployment  # noqa: E402
import fleet  # noqa: E402


def files() -> dict[str, str]:
    """The text of each file by its name."""
    dashboards = {
        "fleet.json": fleet.fleet(),
        "deployment.json": deployment.one_deployment(),
        "daemon.json": daemon.daemon(),
    }
    return {name: text_of(each.build()) for name, each in dashboards.items()}


def text_of(built) -> str:
    """The JSON, with numbered panels: links to a panel need a number that stays."""
    document = json.loads(JSONEncoder(sort_keys=True, indent=2).encode(built))
    for number, panel in enumerate(document["panels"], start=1):
        panel["id"] = number
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    for name, text in files().items():
        (HERE / name).write_text(text)
