"""The table [report]: what an allocation-hour costs."""

import pytest

from autoscaler.cli.replay_source import written_config
from autoscaler.config import ConfigError, ReportSettings, load
from autoscaler.config.loader import report_settings
from tests.messages import without_lines

BASE = """
[elasticsearch]
hosts = ["https://es:9200"]
[report]
{table}
[[rules]]
name = "all"
max_allocations = 4
"""


@pytest.fixture
def configured(tmp_path):
    def configured(table=""):
        path = tmp_path / "config.toml"
        path.write_text(BASE.format(table=table))
        return load(path, {})

    return configured


def test_by_default_there_are_no_costs(configured):
    assert configured().report == ReportSettings()


def test_a_cost_may_have_a_unit_of_any_name(configured):
    table = 'cost_per_allocation_hour = 0.12\ncurrency = "Credits à 5 <b>"'
    assert configured(table).report == ReportSettings(
        cost_per_allocation_hour=0.12, currency="Credits à 5 <b>"
    )


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        (
            'currency = "EUR"',
            "report.currency: has no effect without cost_per_allocation_hour",
        ),
        ("cost_per_allocation_hour = 0", "report.cost_per_allocation_hour: must be"),
        ('cost_per_allocation_hour = 1\ncurrency = "\\n"', "report.currency: must be a text"),
    ],
)
def test_a_problem_is_a_sentence(configured, table, problem):
    with pytest.raises(ConfigError) as raised:
        configured(table)
    (found,) = raised.value.problems
    assert problem in without_lines(found)


def test_an_invalid_cost_is_one_problem(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(BASE.format(table='cost_per_allocation_hour = 0\ncurrency = "EUR"'))
    with pytest.raises(ConfigError) as raised:
        report_settings(written_config(path))
    assert len(raised.value.problems) == 1
