"""Tables of the factors of the hours: of each policy, and of one policy by family of traces."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from autoscaler.backtest.results.comparison import (
    MINUTE_RATE_ORACLE,
    ORACLE,
    RATE_FOLLOWER,
    RATE_ORACLE,
    Aggregate,
    Pair,
)
from autoscaler.backtest.results.hours_split import HoursSplit, hours_splits
from autoscaler.backtest.results.quantities import attainment
from autoscaler.backtest.results.summary import default_summaries
from benchmarks.evidence import Evidence
from benchmarks.families import family_of, rank_of
from benchmarks.markdown import table, wrapped

SPLIT = """
The hours of a policy as a multiple of the oracle's are the product of three factors: what it costs
not to know the single requests (*chance*: {rate} ÷ {oracle}), not to know the rate to come either,
but only what usually follows the present one (*rate*: {follower} ÷ {rate}), and all else (*policy*:
the policy ÷ {follower}). [backtest.md]({link}) defines them. They are geometric means over the
pairs on which the policy and all three references meet the SLO, so a policy that meets it only on
easy pairs is compared on these alone. The last column is its hours as a multiple of those of
{minute}, on the same pairs.
"""

FAMILIES = """
`{ours}` by family of traces, whose numbers rise with burstiness. The first three figures are of all
feasible pairs of the family, the others of those on which `{ours}` and the references meet the SLO.
"""


def split_text() -> str:
    """What the factors are."""
    names = {
        "rate": RATE_ORACLE,
        "oracle": ORACLE,
        "follower": RATE_FOLLOWER,
        "minute": MINUTE_RATE_ORACLE,
    }
    quoted = {key: f"`{name}`" for key, name in names.items()}
    link = "backtest.md#the-rate-oracles-and-the-rate-follower"
    return wrapped(SPLIT.format(**quoted, link=link))


def families_text(ours: str) -> str:
    """What the figures of families are."""
    return wrapped(FAMILIES.format(ours=ours))


def split_table(splits: Iterable[HoursSplit]) -> str:
    """A line for each policy: the largest part of the pairs first, then the cheapest."""
    ordered = sorted(splits, key=lambda each: (-each.met / each.pairs, each.hours))
    headings = ["policy", "SLO met", f"hours, × {ORACLE}", "chance", "rate", "policy"]
    return table(
        [*headings, f"hours, × {MINUTE_RATE_ORACLE}"],
        [[each.policy, f"{each.met} of {each.pairs}", *_factors(each)] for each in ordered],
    )


def _factors(split: HoursSplit | None) -> list[str]:
    if split is None:
        return ["-"] * 5
    factors = split.hours, split.chance, split.rate, split.policy_factor
    minute = split.hours_of_minute_rates
    return [*(f"{each:.2f}" for each in factors), "-" if minute is None else f"{minute:.2f}"]


def family_table(ours: str, evidence: Evidence, found: Sequence[Aggregate]) -> str:
    """A line for each family of traces, about the policy `ours`."""
    by_family: dict[str, set[Pair]] = defaultdict(set)
    for trace, scenario in evidence.pairs:
        by_family[family_of(trace)].add((trace, scenario))
    lines = []
    for family in sorted(by_family, key=rank_of):
        pairs = by_family[family]
        own = [row for row in evidence.by_default if row.policy in (ours, ORACLE)]
        summaries = default_summaries(own, pairs, targets=evidence.targets)
        summary = next((each for each in summaries if each.policy == ours), None)
        if summary is None:
            continue
        splits = hours_splits(
            [each for each in found if each.pair in pairs], targets=evidence.targets
        )
        lines.append(
            [
                family,
                f"{summary.met} of {summary.pairs}",
                attainment(summary.worst_violation_fraction),
                f"{summary.relative_hours.value:.2f}" if summary.relative_hours else "-",
                *_factors(next((each for each in splits if each.policy == ours), None))[1:],
            ]
        )
    headings = ["family", "SLO met", "worst, %", "hours", "chance", "rate", "policy"]
    return table([*headings, f"hours, × {MINUTE_RATE_ORACLE}"], lines)
