"""The stabilisation window: a change goes only as far as all recent recommendations agree."""

from autoscaler.core.values import Value

Recommendations = tuple[tuple[float, int], ...]
"""Instants and allocations."""


class Stabilisation(Value, frozen=True, kw_only=True):
    """Windows within which the lowest recommendation counts upwards, the highest downwards.

    Source: Kubernetes, `autoscaling/v2`, `stabilizationWindowSeconds`.
    """

    up_s: float
    down_s: float

    def apply(
        self, recommended: int, current: int, at: float, recent: Recommendations
    ) -> tuple[int, Recommendations]:
        """The allocations to set instead of `current`, and the recommendations with this one.

        A recommendation that is exactly as old as a window is no longer in it.

        >>> five_minutes = Stabilisation(up_s=0.0, down_s=300.0)
        >>> allocations, recent = five_minutes.apply(20, 4, 0.0, ())
        >>> allocations, recent = five_minutes.apply(4, allocations, 299.0, recent)
        >>> allocations, five_minutes.apply(4, allocations, 300.0, recent)[0]
        (20, 4)
        """
        oldest = at - max(self.up_s, self.down_s)
        kept = [each for each in recent if each[0] > oldest]
        lowest = highest = recommended
        for since, earlier in kept:
            if earlier > highest and at - since < self.down_s:
                highest = earlier
            elif earlier < lowest and at - since < self.up_s:
                lowest = earlier
        kept.append((at, recommended))
        return min(max(current, lowest), highest), tuple(kept)
