"""Several files of results, put together."""

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from autoscaler.backtest.results.comparison import SLO_SHARE, Pair, aggregates
from autoscaler.backtest.results.file import Fact, Results
from autoscaler.backtest.results.rows import ResultRow
from autoscaler.backtest.results.summary import summarise
from autoscaler.errors import UserError


class Evidence(Struct, frozen=True, kw_only=True):
    """All rows, and which of them answer which question."""

    rows: tuple[ResultRow, ...]
    shipped: tuple[ResultRow, ...]  # at default settings, with all seeds
    swept: tuple[ResultRow, ...]  # at all settings, with the seeds with which all were tried
    shares: Mapping[str, float]  # of requests that must not miss, by scenario
    pairs: frozenset[Pair]  # that can be held
    hopeless: tuple[Pair, ...]  # the others


def gathered(results: Sequence[Results]) -> Evidence:
    """What the files say together.

    Raises:
        UserError: they hold nothing, or do not go together.
    """
    rows, shares = merged(each.rows for each in results), shares_of(results)
    if not rows:
        raise UserError("there are no runs in these files; name results of `autoscaler backtest`")
    shipped = tuple(row for row in rows if row.default)
    # All settings on the same requests, or chance would tell them apart as well.
    seeds = {row.seed for row in rows if not row.default}
    by_default = aggregates(shipped)
    hopeless = summarise(by_default, shares=shares).infeasible
    return Evidence(
        rows=rows,
        shipped=shipped,
        swept=tuple(row for row in rows if row.seed in seeds) or rows,
        shares=shares,
        pairs=frozenset(each.pair for each in by_default).difference(hopeless),
        hopeless=hopeless,
    )


def merged(groups: Iterable[Iterable[ResultRow]]) -> tuple[ResultRow, ...]:
    """The rows of all groups, each run once.

    Raises:
        UserError: the same run had another result.
    """
    runs: dict[tuple[str, str, str, str, int], ResultRow] = {}
    for row in (row for rows in groups for row in rows):
        key = row.trace, row.scenario, row.policy, row.setting, row.seed
        known = runs.setdefault(key, row)
        if replace(known, elapsed_s=row.elapsed_s) != row:
            raise UserError(
                f"the files disagree about {row.policy} on {row.trace}, {row.scenario}, seed "
                f"{row.seed}; make all of them with the same program and the same traces"
            )
    return tuple(runs.values())


def shares_of(results: Iterable[Results]) -> dict[str, float]:
    """The share of requests that must not miss, by scenario.

    Raises:
        UserError: files mean different things by the same name.
    """
    known: dict[str, Mapping[str, Fact]] = {}
    for each in results:
        for name, facts in each.scenarios.items():
            if known.setdefault(name, facts) != facts:
                raise UserError(
                    f"the files mean different scenarios by {name}; make all of them with the same"
                )
    return {name: float(facts.get("slo_target") or SLO_SHARE) for name, facts in known.items()}
