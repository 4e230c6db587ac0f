"""docs/configuration.md is the one that the schema gives."""

import json
import subprocess
import sys

from tests.documents.blocks import ROOT

PAGE = (ROOT / "docs/configuration.md").read_text()


def test_it_is_current():
    """Made by `python tools/configuration_page.py > docs/configuration.md`."""
    made = subprocess.run(
        [sys.executable, "tools/configuration_page.py"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert made == PAGE


def test_it_has_every_key_of_every_table():
    schema = json.loads((ROOT / "deploy/config.schema.json").read_text())
    for table in (schema, *schema["$defs"].values()):
        for key, field in table["properties"].items():
            if "$ref" not in field and key != "rules":
                assert f"| `{key}` | " in PAGE, key
