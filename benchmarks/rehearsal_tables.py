"""The rehearsals as tables: coverage of the intervals, and refusals."""

import statistics
from collections.abc import Callable, Sequence

from msgspec import Struct

from autoscaler.replay.estimates import Spread, count_interval_of, interval_of
from autoscaler.replay.judge import HOURS_INFLATION, LATE_INFLATION, LEAST_LATE_REQUESTS
from benchmarks.families import family_of, rank_of
from benchmarks.markdown import table, wrapped

POLICIES = ("fixed", "adaptive", "slo")

FAILED_FRACTIONS = (
    (0.0, 0.05, "at most 5% failed"),
    (0.05, 0.5, "5 to 50% failed"),
    (0.5, 2.0, "more"),
)
"""Rehearsals by the fraction of the attempts that failed under what ran."""

WORLD_NAMES = {
    "honest": "as the simulation of a replay",
    "load": "service times depend on the load",
    "node": "one node is slow",
}

FACTORS = tuple(round(0.5 + 0.1 * step, 1) for step in range(36))

CHOSEN_COVERAGE = 0.95
"""Coverage for which a factor is chosen: that which the intervals state."""


class RehearsalRow(Struct, frozen=True, kw_only=True):
    """One rehearsal: the prediction without any factor, and what then happened."""

    world: str
    number: int
    trace: str
    ran: str
    tried: str
    refusals: tuple[str, ...]
    nodes: int = 0  # that served what ran
    failed: float = 0.0  # fraction of the attempts of what ran
    hours: Spread | None = None
    late: Spread | None = None
    requests: float = 0.0
    true_hours: float = 0.0
    true_late: float = 0.0
    true_requests: float = 0.0

    @property
    def family(self) -> str:
        return family_of(self.trace)


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


def with_open_hours(rows: Sequence[RehearsalRow]) -> list[RehearsalRow]:
    """Without fixed allocations, whose hours are known before."""
    return [row for row in rows if row.tried != "fixed"]


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
            "The factors of the program were chosen on these rehearsals, so that the table above "
            "flatters them. What can be expected of other loads is below: each family of loads in "
            f"turn is left out, the smallest factor with a coverage of {CHOSEN_COVERAGE:.0%} is "
            "chosen on all others, and tried on it. Hours that are known before, those of fixed "
            "allocations, are left out. The factors of the program are not below the largest ones "
            "that are chosen so."
        ),
        _left_out_table(judged),
        wrapped("Verdicts that were refused, by world and by what ran:"),
        _refusals_table(rows),
    ]
    return "\n\n".join(parts)


def _coverage_table(judged: Sequence[RehearsalRow]) -> str:
    lines = []
    groups = [
        ("all", judged),
        ("without hours known before", with_open_hours(judged)),
        *((f"{each} ran", [row for row in judged if row.ran == each]) for each in POLICIES),
        *((f"{each} predicted", [row for row in judged if row.tried == each]) for each in POLICIES),
        *(
            (name, [row for row in judged if low <= row.failed < high])
            for low, high, name in FAILED_FRACTIONS
        ),
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


def _left_out_table(judged: Sequence[RehearsalRow]) -> str:
    """Factors and coverage by leaving out one family, and the coverage of all left out."""
    quantities = ((with_open_hours(judged), covers_hours), (judged, covers_attainment))
    lines = []
    for family in sorted({row.family for row in judged}, key=rank_of):
        cells = [family]
        for rows, covers in quantities:
            tried, covered, factor = left_out(rows, covers, family)
            cells += [f"{factor:g}", f"{covered} of {tried}"]
        lines.append(cells)
    total = ["all that were left out"]
    for rows, covers in quantities:
        found = [left_out(rows, covers, family) for family in {row.family for row in rows}]
        tried, covered = sum(each[0] for each in found), sum(each[1] for each in found)
        total += ["", f"{covered} of {tried}: {covered / max(1, tried):.1%}"]
    lines.append(total)
    head = ["left out", "factor, hours", "covered", "factor, attainment", "covered"]
    return table(head, lines)


def left_out(rows: Sequence[RehearsalRow], covers: Covers, family: str) -> tuple[int, int, float]:
    """The rehearsals of a family, how many of them are covered, and the factor of the others."""
    factor = chosen_factor([row for row in rows if row.family != family], covers)
    tried = [row for row in rows if row.family == family]
    return len(tried), sum(covers(row, factor) for row in tried), factor


def _refusals_table(rows: Sequence[RehearsalRow]) -> str:
    lines = []
    groups = [
        (name, [row for row in rows if row.world == each]) for each, name in WORLD_NAMES.items()
    ]
    failing = [row for row in groups[0][1] if row.failed > FAILED_FRACTIONS[0][1]]
    groups.insert(1, ("the same, more than 5% failed", failing))
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
