"""Writes the files of this directory, from the definition below: `python deploy/slo/generate.py`.

sloth.yml    the SLO for Sloth (prometheus/v1)
openslo.yml  the SLO for OpenSLO (openslo/v1)
rules.yml    the recording and alerting rules, with the names and labels that Sloth gives them

Sloth and OpenSLO have one objective for each SLO, here the default one of the autoscaler. In the
rules, the objective of each deployment is its own, from autoscaler_slo_target_ratio.
"""

from pathlib import Path
from typing import NamedTuple

OBJECTIVE_PERCENT = 99.0
"""Of Sloth and OpenSLO: the default target of the policy slo."""

PERIOD_DAYS = 30
"""Of the error budget."""

MIN_LATE_REQUESTS = 10
"""Late requests within the longer window of a pair that an alert requires. One late request among
ten is no reason to wake anyone."""

MAX_LATE_RATIO = 0.95
"""Fraction of late requests that is too many with any target: with one of 0.9, no fraction is 14.4
times the error budget."""

BY = "job, cluster, deployment"
LATE = "autoscaler_slo_late_requests_total"
REQUESTS = "autoscaler_slo_requests_total"
TARGET = "autoscaler_slo_target_ratio"
LABELS = {
    "sloth_id": "autoscaler-queue-wait",
    "sloth_service": "autoscaler",
    "sloth_slo": "queue-wait",
}
DESCRIPTION = (
    "Requests that do not wait longer than their SLO allows. Computed from the queues that each "
    "poll shows, and from failed requests; not measured."
)


class BurnRate(NamedTuple):
    """Two windows and a multiple of the error budget that both have to exceed.

    Source: Google, The Site Reliability Workbook, chapter 5, table 5-8.
    """

    short: str
    long: str
    factor: float


class Alert(NamedTuple):
    name: str
    severity: str
    sloth_severity: str  # page or ticket
    summary: str
    description: str
    burn_rates: tuple[BurnRate, BurnRate]


ALERTS = (
    Alert(
        "AutoscalerSloBurnsFast",
        "critical",
        "page",
        "{{ $labels.deployment }} uses up its error budget of a month within days.",
        "{{ $value | humanizePercentage }} of its requests are late. `autoscaler explain "
        "{{ $labels.deployment }}` names what limits it.",
        (BurnRate("5m", "1h", 14.4), BurnRate("30m", "6h", 6.0)),
    ),
    Alert(
        "AutoscalerSloBurns",
        "warning",
        "ticket",
        "{{ $labels.deployment }} uses up its error budget too fast.",
        "{{ $value | humanizePercentage }} of its requests are late, for hours. Compare "
        "autoscaler_preventable_late_ratio: if it is low, more allocations change little.",
        (BurnRate("2h", "1d", 3.0), BurnRate("6h", "3d", 1.0)),
    ),
)
WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")

HEAD = "# Written by generate.py: change that, and run it again.\n"


def of_window(metric: str, window: str) -> str:
    return f"sum by ({BY}) (rate({metric}[{window}]))"


def sloth() -> str:
    windowed = {metric: of_window(metric, "{{.window}}") for metric in (LATE, REQUESTS)}
    page, ticket = ALERTS
    return f"""{HEAD}version: prometheus/v1
service: {LABELS["sloth_service"]}
slos:
  - name: {LABELS["sloth_slo"]}
    objective: {OBJECTIVE_PERCENT}
    description: >-
      {DESCRIPTION}
    sli:
      events:
        error_query: {windowed[LATE]}
        total_query: ({windowed[REQUESTS]}) > 0
    alerting:
      name: {page.name}
      annotations:
        runbook_url: {runbook(page)}
      page_alert:
        labels:
          severity: {page.severity}
      ticket_alert:
        labels:
          severity: {ticket.severity}
"""


def openslo() -> str:
    documents = [
        f"""apiVersion: openslo/v1
kind: Service
metadata:
  name: {LABELS["sloth_service"]}
spec:
  description: Scales the trained-model deployments of Elasticsearch.
""",
        f"""apiVersion: openslo/v1
kind: SLO
metadata:
  name: {LABELS["sloth_slo"]}
spec:
  description: >-
    {DESCRIPTION}
  service: {LABELS["sloth_service"]}
  indicator:
    metadata:
      name: {LABELS["sloth_slo"]}-late-requests
    spec:
      ratioMetric:
        counter: true
        bad:
          metricSource:
            type: Prometheus
            spec:
              query: sum by ({BY}) ({LATE})
        total:
          metricSource:
            type: Prometheus
            spec:
              query: sum by ({BY}) ({REQUESTS})
  timeWindow:
    - duration: {PERIOD_DAYS}d
      isRolling: true
  budgetingMethod: Occurrences
  objectives:
    - displayName: the default target
      target: {OBJECTIVE_PERCENT / 100.0}
""",
    ]
    return HEAD + "---\n".join(documents)


def rules() -> str:
    window = f"{PERIOD_DAYS}d"
    groups = [
        ("sli", [error_ratio(each) for each in (*WINDOWS, window)]),
        ("objective", objectives(window)),
        ("alerts", [alert(each) for each in ALERTS]),
    ]
    text = "".join(
        [
            f"  - name: {LABELS['sloth_id']}-{name}\n    rules:\n{''.join(body)}"
            for name, body in groups
        ]
    )
    return f"{HEAD}groups:\n{text}"


def error_ratio(window: str) -> str:
    expression = f"""{of_window(LATE, window)}
/ ({of_window(REQUESTS, window)} > 0)"""
    return record("slo:sli_error:ratio_rate" + window, expression, {"sloth_window": window})


def objectives(window: str) -> list[str]:
    on, selected = f"on ({BY})", selector({})
    budget = f"slo:error_budget:ratio{selected}"

    def burnt(of: str) -> str:
        return f"""slo:sli_error:ratio_rate{of}{selected}
/ {on} {budget}"""

    return [
        record("slo:objective:ratio", f"max by ({BY}) ({TARGET})"),
        record("slo:error_budget:ratio", f"1 - max by ({BY}) ({TARGET})"),
        record("slo:time_period:days", f"vector({PERIOD_DAYS})"),
        record("slo:current_burn_rate:ratio", burnt("5m")),
        record("slo:period_burn_rate:ratio", burnt(window)),
        record(
            "slo:period_error_budget_remaining:ratio",
            f"1 - slo:period_burn_rate:ratio{selected}",
        ),
        record("sloth_slo_info", "vector(1)", {"sloth_spec": "prometheus/v1"}),
    ]


def record(name: str, expression: str, labels: dict[str, str] | None = None) -> str:
    return f"""      - record: {name}
        expr: |
{indented(expression, 10)}
        labels:
{labelled(LABELS | (labels or {}), 10)}
"""


def alert(each: Alert) -> str:
    expression = "\nor\n".join([burning(pair) for pair in each.burn_rates])
    return f"""      - alert: {each.name}
        expr: |
{indented(expression, 10)}
        labels:
{labelled(LABELS | {"severity": each.severity, "sloth_severity": each.sloth_severity}, 10)}
        annotations:
          runbook_url: {runbook(each)}
          summary: "{each.summary}"
          description: >-
            {each.description}
"""


def burning(pair: BurnRate) -> str:
    burnt = f"{pair.factor} * slo:error_budget:ratio{selector({})}"
    budget = f"on ({BY}) clamp_max({burnt}, {MAX_LATE_RATIO})"
    late = f"max by ({BY}) (increase({LATE}[{pair.long}])) >= {MIN_LATE_REQUESTS}"
    ratios = [
        f"(slo:sli_error:ratio_rate{window}{selector({})} > {budget})"
        for window in (pair.short, pair.long)
    ]
    return "(\n" + indented("\nand ".join([*ratios, f"on ({BY}) ({late})"]), 2) + "\n)"


def selector(labels: dict[str, str]) -> str:
    pairs = {"sloth_id": LABELS["sloth_id"], **labels}
    return "{" + ", ".join([f'{name}="{value}"' for name, value in pairs.items()]) + "}"


def runbook(each: Alert) -> str:
    return f"docs/runbook.md#{each.name.lower()}"


def labelled(labels: dict[str, str], by: int) -> str:
    return indented("\n".join([f"{name}: {value}" for name, value in labels.items()]), by)


def indented(text: str, by: int) -> str:
    return "\n".join([" " * by + line for line in text.split("\n")])


def files() -> dict[str, str]:
    """The text of each file by its name."""
    return {"sloth.yml": sloth(), "openslo.yml": openslo(), "rules.yml": rules()}


if __name__ == "__main__":
    for name, text in files().items():
        Path(__file__).with_name(name).write_text(text)
