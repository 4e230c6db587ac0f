"""Moving only as far as all recent recommendations agree."""

from autoscaler.core.values import Value

Recommendations = tuple[tuple[float, int], ...]
"""When, and how many allocations."""


class Stabilisation(Value, frozen=True, kw_only=True):
    """How long a recommendation is remembered: upwards the lowest counts, downwards the highest.

    Source: Kubernetes, `autoscaling/v2`, `stabilizationWindowSeconds`.
    """

    up_s: float
    down_s: float

    def apply(
        self, recommended: int, current: int, at: float, recent: Recommendations
    ) -> tuple[int, Recommendations]:
        """The number to go to from `current`, and the recommendations with this one added.

        One that is exactly as old as a window is no longer in it.

        >>> five_minutes = Stabilisation(up_s=0.0, down_s=300.0)
        >>> number, recent = five_minutes.apply(20, 4, 0.0, ())
        >>> number, recent = five_minutes.apply(4, number, 299.0, recent)
        >>> number, five_minutes.apply(4, number, 300.0, recent)[0]
        (20, 4)
        """
        oldest = at - max(self.up_s, self.down_s)
        kept = [each for each in recent if each[0] > oldest]
        lowest = highest = recommended
        for since, number in kept:
            if number > highest and at - since < self.down_s:
                highest = number
            elif number < lowest and at - since < self.up_s:
                lowest = number
        kept.append((at, recommended))
        return min(max(current, lowest), highest), tuple(kept)
