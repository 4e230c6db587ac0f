"""The hour blocks of a gradual rollout: in which of the listed hours the rule acts.

The listed hours, from one day to the next, are divided into groups of adjacent ones, and in each
group a fixed number of them, drawn by a hash, is active. So both kinds of blocks have the same mix
of hours and days over time (permuted blocks: Lachin, Matts and Wei, Controlled Clinical Trials 9,
1988), and which hours are active follows from the deployment's seed alone: it is the same for every
instance that reads the state, and after every restart.
"""

import hashlib
from fractions import Fraction
from functools import lru_cache

from autoscaler.core.values import Value

HOUR_S = 3_600.0
DAY_HOURS = 24

MAX_GROUP = 12
"""Hours of a group at most. 12: with more, one kind of block could be missing for a day."""


class RolloutHours(Value, frozen=True, kw_only=True):
    """In which hours the rule may act, and in how many of them it does."""

    hours: tuple[int, ...]  # of the local day, 0 to 23, rising
    timezone: str  # an IANA name
    share: float  # of the hours, in (0, 1)
    settings: str  # identifies the settings of the rule: another value is another rule

    @property
    def group(self) -> Fraction:
        """Active hours of a group, and the hours of it.

        >>> RolloutHours(hours=(9,), timezone="UTC", share=0.5, settings="").group
        Fraction(1, 2)
        """
        return Fraction(self.share).limit_denominator(MAX_GROUP)


def block_at(at: float, utc_offset_s: float) -> int:
    """The number of the local hour that contains an instant. The hour that occurs twice when clocks
    go back is one block.

    Args:
        at: Unix seconds.
        utc_offset_s: of local time, at that instant.
    """
    return int((at + utc_offset_s) // HOUR_S)


def is_listed(hours: RolloutHours, block: int) -> bool:
    """Whether a block is among the hours of the rollout."""
    return block % DAY_HOURS in hours.hours


def is_active(hours: RolloutHours, block: int, seed: int) -> bool:
    """Whether the rule acts in a block.

    >>> hours = RolloutHours(hours=(9, 10, 11, 12), timezone="UTC", share=0.5, settings="")
    >>> [sum(is_active(hours, block + i, seed=7) for i in (0, 1)) for block in (9, 11, 33, 35)]
    [1, 1, 1, 1]
    >>> is_active(hours, 8, seed=7)
    False
    """
    day, hour = divmod(block, DAY_HOURS)
    if hour not in hours.hours:
        return False
    share = hours.group
    index = day * len(hours.hours) + hours.hours.index(hour)
    group, place = divmod(index, share.denominator)
    ranked = sorted(range(share.denominator), key=lambda each: _drawn(seed, group, each))
    return place in ranked[: share.numerator]


MAX_AHEAD = 31 * DAY_HOURS
"""Hours in which the next active block is searched. 31 days: with one hour of the day, there is at
least one in each group of 12."""


@lru_cache(maxsize=16_384)  # it is the same for each deployment until the hour ends
def next_active(hours: RolloutHours, block: int, seed: int) -> int | None:
    """The next block after this one in which the rule acts; None: there is none soon.

    >>> hours = RolloutHours(hours=(9,), timezone="UTC", share=0.9, settings="")
    >>> next_active(hours, 24, seed=7) % 24
    9
    """
    following = range(block + 1, block + 1 + MAX_AHEAD)
    return next((each for each in following if is_active(hours, each, seed)), None)


def begin_of(block: int, utc_offset_s: float) -> float:
    """When a block begins, in Unix seconds, while local time keeps its offset.

    >>> begin_of(block_at(7200.0, 3600.0), 3600.0)
    7200.0
    """
    return block * HOUR_S - utc_offset_s


def seed_of(deployment_id: str, at: float) -> int:
    """The seed of a rollout that begins at an instant: below 2**63, so that any store can keep it.

    The instant is known to the microsecond only afterwards, so that the active hours cannot be
    known before the rollout begins.
    """
    digest = hashlib.blake2b(f"{deployment_id} {at!r}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def _drawn(seed: int, group: int, place: int) -> bytes:
    return hashlib.blake2b(f"{seed} {group} {place}".encode(), digest_size=8).digest()
