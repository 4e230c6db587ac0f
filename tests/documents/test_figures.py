"""Figures and names in the documents are those of the benchmarks and of the program."""

import re

import pytest

from autoscaler.adapters.prometheus import DaemonMetrics, PrometheusRecorder
from autoscaler.core.decision import OutcomeKind
from autoscaler.core.values import Reason
from tests.documents.blocks import PRESENT, ROOT
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


@pytest.mark.parametrize("path", PRESENT, ids=lambda path: path.name)
def test_metrics_that_a_page_names_exist(path):
    """Or they are the beginning of names, which ends with an underscore."""
    collectors = (PrometheusRecorder(FakeClock()), DaemonMetrics(FakeClock(), "1"))
    known = {family.name for collector in collectors for family in collector.describe()}
    named = set(re.findall(r"`((?:autoscaler|elasticsearch)_[a-z_]+)", path.read_text()))
    whole = {name.removesuffix("_total") for name in named if not name.endswith("_")}
    assert whole - known == set()


class TestTroubleshooting:
    PAGE = (ROOT / "docs/troubleshooting.md").read_text()
    SYMPTOMS = re.findall(
        r"^## (?!By message|At 3 a\.m\.)(.*)\n((?:(?!## ).*\n)*)", PAGE, re.MULTILINE
    )

    @pytest.mark.parametrize(("symptom", "text"), SYMPTOMS)
    def test_a_symptom_has_a_page_a_metric_and_a_command(self, symptom, text):
        assert re.search(r"^- \*\*Page\*\*: .", text, re.MULTILINE)
        assert re.search(r"^- \*\*Metric\*\*: [^*]*`", text, re.MULTILINE)
        assert re.search(r"^- \*\*Command\*\*: `autoscaler ", text, re.MULTILINE)
        assert f"[{symptom}](#" in self.PAGE

    def test_what_the_page_says_is_in_the_program(self):
        sources = [path.read_text() for path in (ROOT / "autoscaler").rglob("*.py")]
        quoted = [
            " ".join(part.split())
            for _, text in self.SYMPTOMS
            for shown in re.findall(r"^- \*\*Page\*\*((?:.|\n(?!-|\n))*)", text, re.MULTILINE)
            for words in re.findall(r'"([^"]+)"', shown)
            for part in words.split("…")
            if part.strip()
        ]
        assert quoted
        assert [part for part in quoted if not any(part in source for source in sources)] == []

    def test_its_reasons_and_outcomes_exist(self):
        for head, known in (("autoscaler_decision_reason", Reason), ("outcome", OutcomeKind)):
            _, _, rest = self.PAGE.partition(f"\n| `{head}` | do |\n")
            table, _, _ = rest.partition("\n\n")
            named = {
                code
                for row in table.splitlines()
                for code in re.findall(r"`(\w+)`", row.split("|")[1])
            }
            assert named
            assert named <= set(map(str, known))
