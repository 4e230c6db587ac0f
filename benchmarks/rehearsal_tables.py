"""The rehearsals as tables: coverage of the intervals, and refusals."""

import statistics
from collections.abc import Callable, Sequence

from msgspec import Struct

from autoscaler.replay.estimates import Spread, count_interval_of, interval_of
from autoscaler.replay.judge import HOURS_INFLATION, LATE_INFLATION, LEAST_LATE_REQUESTS
from benchmarks.markdown import table, wrapped

POLICIES = ("fixed", "adaptive", "slo")

FAMILIES = ("functions", "clients")

WORLD_NAMES = {
    "honest": "as the simulation of a replay",
    "load": "service times depend on the load",
    "node": "one node is slow",
}

FACTORS = tuple(round(0.5 + 0.1 * step, 1) for step in range(36))

CHOSEN_COVERAGE = 0.97
"""Coverage for which a factor is chosen on the loads of one family. More than 95 %, because the
loads on which it is chosen flatter it."""


class RehearsalRow(Struct, frozen=True, kw_only=True):
    """One rehearsal: the prediction without any factor, and what then happened."""

    world: str
    number: int
    trace: str
    ran: str
    tried: str
    refusals: tuple[str, ...]
    nodes: int = 0  # that served what ran
    hours: Spread | None = None
    late: Spread | None = None
    requests: float = 0.0
    true_hours: float = 0.0
    true_late: float = 0.0
    true_requests: float = 0.0

    @property
    def family(self) -> str:
        return "functions" if "fn" in self.trace else "clients"


Covers = Callable[[RehearsalRow, float], bool]
"""Whether the interval of a row covers the truth, with a factor."""


def covers_hours(row: RehearsalRow, factor: float) -> bool:
    assert row.hours is not None, "a rehearsal of the honest world has a prediction"
    found = interval_of(row.hours, inflation=factor)
    return found.low - 1e-9 <= row.true_hours <= found.high + 1e-9


def covers_attainment(row: RehearsalRow, factor: float) -> bool:
    """The fraction of late requests, which is 1 minus the attainment."""
    assert row.late is not None, "a rehearsal of the honest world has a prediction"
    found = count_interval_of(row.late, LEAST_LATE_REQUESTS, inflation=factor)
    true = row.true_late / row.true_requests
    return found.low / row.requests <= true <= found.high / row.requests


def coverage(rows: Sequence[RehearsalRow], covers: Covers, factor: float) -> float:
    return sum(covers(row, factor) for row in rows) / max(1, len(rows))


def chosen_factor(rows: Sequence[RehearsalRow], covers: Covers) -> float:
    """The smallest factor with enough coverage."""
    return next((f for f in FACTORS if coverage(rows, covers, f) >= CHOSEN_COVERAGE), FACTORS[-1])


def section_of(rows: Sequence[RehearsalRow]) -> str:
    """What is published."""
    honest = [row for row in rows if row.world == "honest"]
    judged = [row for row in honest if not row.refusals and row.hours is not None]
    parts = [
        wrapped(
            f"Of {len(honest)} rehearsals, {len(judged)} had a verdict. Coverage of the 95% "
            f"intervals of these, with the factors {HOURS_INFLATION:g} (hours) and "
            f"{LATE_INFLATION:g} (attainment) of the program, and the median widths:"
        ),
        _coverage_table(judged),
        wrapped(
            f"Factors by cross-validation: the smallest with a coverage of {CHOSEN_COVERAGE:.0%} "
            "on the loads of one family, tried on those of the other. Those of the program are at "
            "least the ones that the functions suggest, which have more rehearsals."
        ),
        _cross_validation(judged),
        wrapped("Verdicts that were refused, by world and by what ran:"),
        _refusals_table(rows),
    ]
    return "\n\n".join(parts)


def _coverage_table(judged: Sequence[RehearsalRow]) -> str:
    lines = []
    groups = [
        ("all", judged),
        *((f"{each} ran", [row for row in judged if row.ran == each]) for each in POLICIES),
        *((f"{each} predicted", [row for row in judged if row.tried == each]) for each in POLICIES),
        *((each, [row for row in judged if row.family == each]) for each in FAMILIES),
    ]
    for name, group in groups:
        lines.append(
            [
                name,
                str(len(group)),
                f"{coverage(group, covers_hours, HOURS_INFLATION):.1%}",
                f"{coverage(group, covers_attainment, LATE_INFLATION):.1%}",
                f"±{_median([_hours_width(row) for row in group]):.1%}",
                f"±{100.0 * _median([_late_width(row) for row in group]):.2f} points",
            ]
        )
    head = ["rehearsals", "count", "hours", "attainment", "width, hours", "width, attainment"]
    return table(head, lines)


def _failures(row: RehearsalRow) -> bool:
    return any("of the requests failed" in sentence for sentence in row.refusals)


def _hours_width(row: RehearsalRow) -> float:
    assert row.hours is not None, "the row was judged"
    found = interval_of(row.hours, inflation=HOURS_INFLATION)
    return (found.high - found.low) / 2.0 / max(found.value, 1e-9)


def _late_width(row: RehearsalRow) -> float:
    assert row.late is not None, "the row was judged"
    found = count_interval_of(row.late, LEAST_LATE_REQUESTS, inflation=LATE_INFLATION)
    return (found.high - found.low) / 2.0 / max(row.requests, 1.0)


def _median(values: Sequence[float]) -> float:
    return statistics.median(values) if values else 0.0


def _cross_validation(judged: Sequence[RehearsalRow]) -> str:
    lines = []
    for chosen_on, tried_on in (("functions", "clients"), ("clients", "functions")):
        ours = [row for row in judged if row.family == chosen_on]
        others = [row for row in judged if row.family == tried_on]
        for name, covers in (("hours", covers_hours), ("attainment", covers_attainment)):
            factor = chosen_factor(ours, covers)
            lines.append(
                [
                    f"{name}: {chosen_on}, {tried_on}",
                    f"{factor:g}",
                    f"{coverage(ours, covers, factor):.1%}",
                    f"{coverage(others, covers, factor):.1%}",
                ]
            )
    return table(["chosen on, tried on", "factor", "coverage there", "coverage here"], lines)


def _refusals_table(rows: Sequence[RehearsalRow]) -> str:
    lines = []
    groups = [
        (name, [row for row in rows if row.world == each]) for each, name in WORLD_NAMES.items()
    ]
    at_most = [row for row in groups[0][1] if not _failures(row)]
    groups.insert(1, ("the same, at most 5% failed", at_most))
    several = [row for row in groups[-1][1] if row.nodes > 1]
    groups.append(("the same, more than one node served", several))
    for name, group in groups:
        cells = []
        for ran in POLICIES:
            part = [row for row in group if row.ran == ran]
            cells.append(f"{sum(bool(row.refusals) for row in part)} of {len(part)}")
        refused = sum(bool(row.refusals) for row in group)
        lines.append(
            [name, *cells, f"{refused} of {len(group)}", f"{refused / max(1, len(group)):.1%}"]
        )
    head = ["world", "fixed ran", "adaptive ran", "slo ran", "all", "refused"]
    return table(head, lines)
