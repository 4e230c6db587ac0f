"""Why a policy takes more hours than the oracle: what chance, the rate and the policy itself cost.

Its hours over the oracle's are the product of three ratios of hours on the same pair:

    chance   rate oracle / oracle         the single requests are not known
    rate     rate follower / rate oracle  the rate to come is not known, only what usually follows
    policy   policy / rate follower       all else
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from autoscaler.backtest.results.comparison import (
    MINUTE_RATE_ORACLE,
    ORACLE,
    RATE_FOLLOWER,
    RATE_ORACLE,
    SLO_TARGET,
    Aggregate,
    Pair,
)
from autoscaler.core.values import Value

REFERENCES = (ORACLE, RATE_ORACLE, RATE_FOLLOWER)


class HoursSplit(Value, frozen=True, kw_only=True):
    """The hours of one policy with default settings as a multiple of the oracle's, and the factors
    of this multiple. Geometric means over the pairs on which the policy and all references meet the
    SLO."""

    policy: str
    met: int  # of the pairs below, those on which the policy meets the SLO: the ones that count
    pairs: int  # on which all references meet the SLO and the policy was tried
    hours: float  # chance x rate x policy
    chance: float
    rate: float
    policy_factor: float
    hours_of_minute_rates: float | None  # multiple of the hours of the rate oracle by the minute


def hours_splits(
    aggregates: Iterable[Aggregate], *, targets: Mapping[str, float] | None = None
) -> tuple[HoursSplit, ...]:
    """The split of each policy that meets the SLO on some pair with all references, by name; not of
    the references themselves. None without references.

    Args:
        targets: SLO targets by scenario; `SLO_TARGET` for those absent.
    """
    tried: dict[str, dict[Pair, Aggregate]] = {}
    for each in aggregates:
        if each.default and each.slo_target is None:
            tried.setdefault(each.policy, {})[each.pair] = each
    hours = {
        policy: {
            pair: each.allocation_hours.value
            for pair, each in by_pair.items()
            if each.meets((targets or {}).get(each.scenario, SLO_TARGET))
            and each.allocation_hours.value > 0.0
        }
        for policy, by_pair in tried.items()
    }
    common = set.intersection(*(set(hours.get(name, ())) for name in REFERENCES))
    return tuple(
        _split(policy, [pair for pair in sorted(tried[policy]) if pair in common], hours)
        for policy in sorted(tried)
        if policy not in (*REFERENCES, MINUTE_RATE_ORACLE) and common.intersection(hours[policy])
    )


def _split(
    policy: str, pairs: Sequence[Pair], hours: Mapping[str, Mapping[Pair, float]]
) -> HoursSplit:
    met = [pair for pair in pairs if pair in hours[policy]]

    def ratio(one: str, other: str) -> float:
        return math.exp(fmean(math.log(hours[one][pair] / hours[other][pair]) for pair in met))

    by_minutes = all(pair in hours.get(MINUTE_RATE_ORACLE, ()) for pair in met)
    return HoursSplit(
        policy=policy,
        met=len(met),
        pairs=len(pairs),
        hours=ratio(policy, ORACLE),
        chance=ratio(RATE_ORACLE, ORACLE),
        rate=ratio(RATE_FOLLOWER, RATE_ORACLE),
        policy_factor=ratio(policy, RATE_FOLLOWER),
        hours_of_minute_rates=ratio(policy, MINUTE_RATE_ORACLE) if by_minutes else None,
    )
