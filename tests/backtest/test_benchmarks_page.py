"""The page of benchmarks: every measured figure is written by the command that measures it."""

import re
from pathlib import Path

import pytest

from benchmarks.frontier import inserted, markers

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "benchmarks.md"
TEXT = PAGE.read_text()

SETS = ("shapes", "wide")
OF_SETS = [f"{each}{kind}" for each in SETS for kind in ("", "-sweep", "-ablation", "-tuning")]
SECTIONS = [
    "cycle",
    "memory",
    "pages",
    "recording",
    "load",
    "soak",
    "plant",
    "executors",
    "rehearsals",
    "rollout",
    "shadows",
    "steady",
    "goals",
    *OF_SETS,
    "modes",
]

MEASURED = re.compile(r"\d ?×|\d of \d|\d%|\d ms\b|\d MB\b|\d h\b")


@pytest.mark.parametrize("section", SECTIONS)
def test_each_section_can_be_written(section):
    begin, end = markers(section)
    assert f"{begin}\n\nnew\n\n{end}" in inserted(TEXT, "new", section, PAGE)


@pytest.mark.parametrize("section", ["goals", *OF_SETS])
def test_a_command_writes_each_section(section):
    commands = (ROOT / "Makefile").read_text()
    assert re.search(rf" (goals|default|sweep|--section|\$\(DOCUMENT\)) {section}\b", commands)


def test_there_are_no_other_sections():
    assert sorted(re.findall(r"<!-- (\S+): begin -->", TEXT)) == sorted(SECTIONS)


def test_the_text_between_the_sections_has_no_measured_figures():
    """It would go stale with the next measurement."""
    prose = re.sub(r"<!-- (\S+): begin -->.*?<!-- \1: end -->", "", TEXT, flags=re.DOTALL)
    assert [line for line in prose.splitlines() if MEASURED.search(line)] == []
