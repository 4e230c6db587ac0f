"""The last samples and their mean."""

from autoscaler.core.values import Value


class Window(Value, frozen=True):
    """So many of the last samples, oldest first, and their sum."""

    samples: tuple[int, ...] = ()
    total: int = 0

    def after(self, samples: tuple[int, ...], most: int) -> "Window":
        """The window once it has seen more, holding `most` samples at most."""
        kept = self.samples + samples
        left = len(kept) - most
        total = self.total + sum(samples)
        if left <= 0:
            return Window(kept, total)
        return Window(kept[left:], total - sum(kept[:left]))

    @property
    def mean(self) -> float:
        """Of at least one sample."""
        return self.total / len(self.samples)
