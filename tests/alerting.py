"""What the rules of deploy/ say of a daemon's metrics: Prometheus' own engine decides.

A daemon is scraped in virtual time. `promtool test rules` gets its series, and evaluates the rules
over them as a server would have.
"""

import json
import math
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).parents[1]
RULES = (ROOT / "deploy/prometheus/rules.yml", ROOT / "deploy/slo/rules.yml")
TARGET = {"job": "autoscaler", "instance": "autoscaler:9464"}

Labels = tuple[tuple[str, str], ...]


class Scrapes:
    """The samples of a target, scraped at equal intervals."""

    def __init__(self, interval_s: int = 15) -> None:
        self.interval_s = interval_s
        self._count = 0
        self._series: dict[Labels, list[str]] = {}

    def add(self, text: str) -> None:
        """The response to the next scrape."""
        present = dict(self._samples(text))
        for labels in present.keys() - self._series.keys():
            self._series[labels] = ["_"] * self._count
        for labels, values in self._series.items():
            value = present.get(labels)
            # As a server does, a series that has vanished is marked once.
            gone = "stale" if values and values[-1] not in ("_", "stale") else "_"
            values.append(gone if value is None else _text(value))
        self._count += 1

    def miss(self) -> None:
        """The next scrape fails."""
        self.add("")

    def alerts(self, directory: Path) -> set[str]:
        """The names of the alerts that fired at any time."""
        fired = (
            f'count by (alertname) (count_over_time(ALERTS{{alertstate="firing"}}[{self._length}]))'
        )
        return set(re.findall(r'alertname="(\w+)"', self._evaluated(fired, directory)))

    def firing_since(self, alert: str, directory: Path) -> float | None:
        """Seconds from the first scrape until an alert first fired; None: it never did."""
        firing = f'ALERTS{{alertname="{alert}", alertstate="firing"}}'
        first = f"min(min_over_time(timestamp({firing})[{self._length}:{self.interval_s}s]))"
        found = re.search(r"\s(\S+)$", self._evaluated(first, directory).rstrip('" '))
        return None if found is None or found[1] == "nil" else float(found[1])

    @property
    def _length(self) -> str:
        return f"{self._count * self.interval_s}s"

    def _evaluated(self, expression: str, directory: Path) -> str:
        """What Prometheus' engine finds at the end, as promtool prints it."""
        # promtool compares, and prints what it found where that differs from what it expected.
        expected = [{"labels": '{alertname="none"}', "value": 0}]
        test = {
            "interval": f"{self.interval_s}s",
            "input_series": [
                {"series": _notation(labels), "values": " ".join(values)}
                for labels, values in self._series.items()
            ],
            "promql_expr_test": [
                {"expr": expression, "eval_time": self._length, "exp_samples": expected}
            ],
        }
        path = directory / "alerts.json"
        path.write_text(
            json.dumps(
                {
                    "rule_files": [str(rules) for rules in RULES],
                    "evaluation_interval": "1m",
                    "tests": [test],
                }
            )
        )
        ran = subprocess.run(
            ["promtool", "test", "rules", str(path)], capture_output=True, text=True, check=False
        )
        output = ran.stdout + ran.stderr
        got = re.search(r"^\s*got:(.*)", output, re.MULTILINE)
        assert got is not None, output
        return got[1]

    @staticmethod
    def _samples(text: str) -> Iterator[tuple[Labels, float]]:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                yield _labels(sample.name, sample.labels), sample.value


def _labels(name: str, labels: Mapping[str, str]) -> Labels:
    return tuple(sorted({"__name__": name, **labels, **TARGET}.items()))


def _notation(labels: Labels) -> str:
    pairs = [f"{name}={json.dumps(value)}" for name, value in labels]
    return "{" + ", ".join(pairs) + "}"


def _text(value: float) -> str:
    return "NaN" if math.isnan(value) else repr(value).replace("inf", "Inf")
