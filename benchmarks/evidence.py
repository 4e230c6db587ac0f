"""The rows of several result files, combined."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from autoscaler.backtest.results.comparison import SLO_TARGET, Pair, aggregates
from autoscaler.backtest.results.file import Fact, Results
from autoscaler.backtest.results.rows import ResultRow
from autoscaler.backtest.results.summary import summarise
from autoscaler.errors import UserError


class Evidence(Struct, frozen=True, kw_only=True):
    """All rows, and those of each comparison."""

    rows: tuple[ResultRow, ...]
    by_default: tuple[ResultRow, ...]  # at default settings, with all seeds
    swept: tuple[ResultRow, ...]  # at all settings, with the seeds of the sweep
    targets: Mapping[str, float]  # SLO targets by scenario
    pairs: frozenset[Pair]  # feasible ones
    infeasible: tuple[Pair, ...]  # pairs on which no policy meets the SLO


def combined(results: Sequence[Results]) -> Evidence:
    """Combine result files.

    Raises:
        UserError: the files have no rows, or are inconsistent.
    """
    rows, targets = merged(each.rows for each in results), targets_of(results)
    if not rows:
        raise UserError(
            "these files contain no runs; name files written by `autoscaler backtest --json`"
        )
    by_default = tuple(row for row in rows if row.default)
    # Settings are compared on the same requests, to exclude random differences.
    seeds = _swept_seeds(rows)
    found = aggregates(by_default)
    infeasible = summarise(found, targets=targets).infeasible
    return Evidence(
        rows=rows,
        by_default=by_default,
        swept=tuple(row for row in rows if row.seed in seeds) or rows,
        targets=targets,
        pairs=frozenset(each.pair for each in found).difference(infeasible),
        infeasible=infeasible,
    )


def _swept_seeds(rows: Iterable[ResultRow]) -> set[int]:
    """The seeds with which all policies that have several settings were swept."""
    by_policy: dict[str, set[int]] = defaultdict(set)
    for row in rows:
        if not row.default:
            by_policy[row.policy].add(row.seed)
    return set.intersection(*by_policy.values()) if by_policy else set()


def merged(groups: Iterable[Iterable[ResultRow]]) -> tuple[ResultRow, ...]:
    """The rows of all groups, each run once.

    Raises:
        UserError: the same run has different results.
    """
    runs: dict[tuple[str, str, str, str, int], ResultRow] = {}
    for row in (row for rows in groups for row in rows):
        key = row.trace, row.scenario, row.policy, row.setting, row.seed
        known = runs.setdefault(key, row)
        if replace(known, elapsed_s=row.elapsed_s) != row:
            raise UserError(
                f"the files have different results for {row.policy} on "
                f"{row.trace}, {row.scenario}, seed {row.seed}; create all of them with the same "
                "version and traces"
            )
    return tuple(runs.values())


def targets_of(results: Iterable[Results]) -> dict[str, float]:
    """The SLO targets by scenario.

    Raises:
        UserError: the files have different scenarios of the same name.
    """
    known: dict[str, Mapping[str, Fact]] = {}
    for each in results:
        for name, facts in each.scenarios.items():
            if known.setdefault(name, facts) != facts:
                raise UserError(
                    f"the files have different scenarios named {name}; create all of them with "
                    "the same one"
                )
    return {name: float(facts.get("slo_target") or SLO_TARGET) for name, facts in known.items()}
