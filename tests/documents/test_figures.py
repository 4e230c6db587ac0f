"""Figures and names in the documents are those of the benchmarks and of the program."""

import re

import pytest

from autoscaler.adapters.prometheus import DaemonMetrics, PrometheusRecorder
from tests.documents.blocks import ROOT
from tests.fakes import FakeClock


def row_of(text: str, policy: str) -> list[str]:
    """The cells of the first row of a table that begins with a policy."""
    (found, *_) = re.findall(rf"^\| {policy} .*$", text, re.MULTILINE)
    return [cell.strip() for cell in found.strip("|").split("|")]


@pytest.mark.parametrize("policy", ["slo", "keda", "hpa", "adaptive-9"])
def test_the_answers_have_the_figures_of_the_benchmarks(policy):
    page = (ROOT / "docs/benchmarks.md").read_text()
    expected = [policy]
    for section in ("shapes", "wide"):
        _, _, rest = page.partition(f"<!-- {section}: begin -->")
        _, met, _, _, hours, *_ = row_of(rest, policy)
        expected += [met, hours]
    assert row_of((ROOT / "docs/faq.md").read_text(), policy) == expected


@pytest.mark.parametrize("name", ["faq.md"])
def test_metrics_that_a_page_names_exist(name):
    collectors = (PrometheusRecorder(FakeClock()), DaemonMetrics(FakeClock(), "1"))
    known = {family.name for collector in collectors for family in collector.describe()}
    text = (ROOT / "docs" / name).read_text()
    named = set(re.findall(r"`((?:autoscaler|elasticsearch)_[a-z_]+)", text))
    assert named
    assert {metric.removesuffix("_total") for metric in named} <= known
