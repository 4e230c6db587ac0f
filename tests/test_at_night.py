"""At 3 a.m.: each situation is shown by the page, a metric, an alert and `explain`."""

import os
import re
import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace

from autoscaler.simulation.loads import Spike
from autoscaler.simulation.scenario import Account, ScenarioNode, SecuritySettings
from tests.at_night import PLACES, QUIET_S, Situation, row, seen
from tests.test_alerting import (
    HEALTHY,
    RESTLESS,
    TWO_SMALL_NODES,
    adaptive_enabled,
    broken_configuration,
    failing,
    lost_node,
    of,
    second_writer,
)

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed"),
]

RISING = Spike(base_per_s=20.0, peak_per_s=200.0, after_s=QUIET_S, for_s=86_400.0)


def revoke(setup):
    """The role loses the privilege, as the load rises."""
    setup.emulator.emulation.security.roles["scaling"] = ["monitor_ml", "monitor"]


SITUATIONS = [
    Situation(
        "A deployment is at its maximum",
        "AutoscalerAtMaximum",
        "limited to .* bounds are",
        r'^autoscaler_decision_reason.*reason="bounds".* 1',
        "but bounds are",
        of(load=RISING),
    ),
    Situation(
        "The cluster is full",
        "AutoscalerNoCapacity",
        "limited to .* fit on the nodes",
        r'^autoscaler_decision_reason.*reason="fit".* 1',
        "fit on the nodes",
        replace(
            of(number_of_allocations=1, load=RISING),
            nodes=[ScenarioNode(name="ml-1", processors=3)],
        ),
    ),
    Situation(
        "Adaptive allocations were enabled",
        "AutoscalerNotInControl",
        "adaptive allocations",
        r"autoscaler_managed\{.*adaptive_enabled.* 0",
        "adaptive allocations",
        HEALTHY,
        adaptive_enabled,
        minutes=25.0,
    ),
    Situation(
        "A node is lost",
        "AutoscalerAllocationsMissing",
        "running",
        r"^autoscaler_missing_allocations\{.* [1-9]",
        "running",
        TWO_SMALL_NODES,
        lost_node,
    ),
    Situation(
        "A privilege is missing",
        "AutoscalerForbidden",
        "manage_ml",
        r"^autoscaler_updates_total.*forbidden.* [1-9]",
        "manage_ml",
        replace(
            of(load=RISING),
            security=SecuritySettings(
                accounts=[Account(username="scaler", password="secret", roles=["scaling"])],
                roles={"scaling": ["manage_ml", "monitor"]},
            ),
        ),
        revoke,
        variables={
            "AUTOSCALER_ELASTICSEARCH__USERNAME": "scaler",
            "AUTOSCALER_ELASTICSEARCH__PASSWORD": "secret",
        },
    ),
    Situation(
        "A second writer",
        "AutoscalerSecondWriter",
        "second writer",
        r"^autoscaler_second_writer.* 1",
        "second autoscaler",
        HEALTHY,
        meanwhile=second_writer,
        minutes=20.0,
        variables={"AUTOSCALER_RULES": RESTLESS},
    ),
    Situation(
        "The statistics cannot be read",
        "AutoscalerNoData",
        "503",
        r"^autoscaler_elasticsearch_up\b.* 0",
        "Not observed",
        HEALTHY,
        failing("*_stats*", status=503),
    ),
    Situation(
        "A changed configuration is refused",
        "AutoscalerConfigReloadFailed",
        "previous",
        r"^autoscaler_config_last_reload_successful\b.* 0",
        "not reloaded",
        HEALTHY,
        broken_configuration,
    ),
]


PAGE = Path(__file__).parents[1] / "docs" / "troubleshooting.md"
BEGIN, END = "<!-- at-night: begin -->", "<!-- at-night: end -->"
HEAD = (
    "| situation | page | metric | alert | `explain` |",
    "| --- | --- | --- | --- | --- |",
)

SOON_S = 180.0
"""Seconds after which the page, the metric and `explain` show every situation."""


def documented():
    """The rows of the table, by situation."""
    table = PAGE.read_text().partition(BEGIN)[2].partition(END)[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")]
    assert tuple(rows[:2]) == HEAD
    return {each.split(" | ")[0].removeprefix("| "): each for each in rows[2:]}


def without_figures(text):
    """Figures of a simulation may differ with the version of numpy; what is said may not."""
    return re.sub(r"\d+(\.\d+)?", "#", text)


def write(line, title):
    rows = documented() | {title: line}
    before, _, rest = PAGE.read_text().partition(BEGIN)
    known = [rows[each.title] for each in SITUATIONS if each.title in rows]
    table = "\n".join([*HEAD, *known])
    PAGE.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{rest.partition(END)[2]}")


def test_the_table_has_all_situations():
    assert list(documented()) == [each.title for each in SITUATIONS]


@pytest.mark.deep
@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda each: each.title)
async def test_each_place_shows_it(situation, tmp_path):
    found = await seen(situation, tmp_path)
    assert set(found) == set(PLACES)
    assert max(found[place].after_s for place in PLACES if place != "alert") <= SOON_S
    line = row(situation, found)
    if os.environ.get("WRITE_EXPECTED"):
        write(line, situation.title)
    assert without_figures(documented()[situation.title]) == without_figures(line)
