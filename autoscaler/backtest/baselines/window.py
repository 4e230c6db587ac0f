"""The last samples and their mean."""

from autoscaler.core.values import Value


class Window(Value, frozen=True):
    """The last samples, oldest first, and their sum."""

    samples: tuple[int, ...] = ()
    total: int = 0

    def after(self, samples: tuple[int, ...], length: int) -> "Window":
        """The window with more samples, cut to the last `length`."""
        kept = self.samples + samples
        excess = len(kept) - length
        total = self.total + sum(samples)
        if excess <= 0:
            return Window(kept, total)
        return Window(kept[excess:], total - sum(kept[:excess]))

    @property
    def mean(self) -> float:
        """The mean of at least one sample."""
        return self.total / len(self.samples)
