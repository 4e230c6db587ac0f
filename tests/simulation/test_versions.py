import os
from pathlib import Path

import pytest

from autoscaler.simulation.version_facts import First, facts_of, release_of
from autoscaler.simulation.versions import VersionBehaviour, behaviour_of

DOCUMENT = Path(__file__).parents[2] / "docs/emulator.md"

EVERY = [
    "8.6",
    "8.8",
    "8.12",
    "8.15",
    "8.16",
    "8.18",
    "8.19",
    "9.0",
    "9.1",
    "9.2",
    "9.3",
    "9.4",
    "9.5",
]


@pytest.mark.parametrize("version", EVERY)
def test_a_minor_means_its_first_patch(version):
    assert behaviour_of(version).number == f"{version}.0"
    assert behaviour_of(f"{version}.0") == behaviour_of(version)


def test_a_full_number_is_kept():
    assert behaviour_of("8.19.4").number == "8.19.4"
    assert behaviour_of("8.19.4").major == 8


@pytest.mark.parametrize("fact", facts_of(VersionBehaviour), ids=lambda fact: fact.name)
def test_each_change_begins_with_the_releases_that_the_table_names(fact):
    before = fact.before
    for first, value in fact.changes:
        for release in first.releases:
            assert fact.of(release) == value
        if first.releases[0].patch:
            earlier = first.releases[0]._replace(patch=first.releases[0].patch - 1)
            assert fact.of(earlier) == before
        before = value
    assert getattr(behaviour_of("9.5.9"), fact.name) == before


def test_a_change_of_several_minors_is_in_no_other_of_that_time():
    first = First("8.18.8, 8.19.5, 9.0.8, 9.1.5, 9.2")
    having = ["8.18.8", "8.19.5", "9.0.9", "9.1.5", "9.2", "9.3.1", "10.0"]
    lacking = ["8.17.20", "8.18.7", "8.19.4", "9.0", "9.1.4"]
    assert [first.reached(release_of(version)) for version in having] == [True] * len(having)
    assert not any(first.reached(release_of(version)) for version in lacking)


def test_the_documentation_has_the_table():
    """`WRITE_EXPECTED=1 pytest` of this test writes it again."""
    begin, end = "<!-- versions: begin -->\n", "<!-- versions: end -->"
    text = DOCUMENT.read_text()
    before, rest = text.split(begin)
    after = rest.split(end)[1]
    expected = before + begin + _table() + end + after
    if os.environ.get("WRITE_EXPECTED"):
        DOCUMENT.write_text(expected)
    assert DOCUMENT.read_text() == expected


def _table() -> str:
    rows = ["| behaviour | versions | source |", "| --- | --- | --- |"]
    for fact in facts_of(VersionBehaviour):
        says = f"{fact.says}. {fact.note}" if fact.note else fact.says
        rows.append(f"| {says} | {fact.versions} | {fact.source} |")
    return "\n".join([*rows, ""])


def test_serverless_is_the_newest_version_with_differences():
    serverless, newest = behaviour_of("serverless"), behaviour_of("9.5")
    assert serverless.serverless
    assert (serverless.number, serverless.major) == (newest.number, 9)
    assert (serverless.reported_number, newest.reported_number) == ("8.11.0", "9.5.0")
    assert serverless.scale_to_zero_s == 86_400.0


@pytest.mark.parametrize("version", ["", "8", "latest", "8.19.4-SNAPSHOT", "7.17", "8.5", "8.99"])
def test_an_unknown_version_is_refused_by_name(version):
    with pytest.raises(ValueError, match=r"8\.19") as refusal:
        behaviour_of(version)
    assert version in str(refusal.value)
