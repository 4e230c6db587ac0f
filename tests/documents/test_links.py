"""Links between documents lead to a file, and to a heading that it has."""

import re
from pathlib import Path

import pytest

from tests.documents.blocks import DOCUMENTS, ROOT, prose

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def anchors_of(path: Path) -> set[str]:
    """As a forge makes them from headings."""
    headings = [heading.lower() for heading in _HEADING.findall(prose(path))]
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links(path: Path):
    for link in _LINK.findall(prose(path)):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in anchors_of(target), link


def test_readme_is_two_screens():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120
