"""Labels that the samples of several families of metrics have."""

from collections.abc import Callable
from typing import Self

Labels = dict[str, str]


class SharedLabels(Labels):
    """The labels of one subject, made once for all families about it.

    What is made of them is kept with them, and no longer than they are: a scrape of a thousand
    deployments has ten thousand other labels, whose texts would take 14 MB.
    """

    __slots__ = ("_is_shown", "_shown", "text")

    def __init__(self, labels: Labels) -> None:
        super().__init__(labels)
        self.text: str | None = None  # as the text formats have it; None: not made yet
        self._is_shown = False
        self._shown: Self | None = None  # None: as they are

    def shown(self, make: Callable[[Labels], Labels]) -> Self:
        """What the function makes of them. It is called once."""
        if not self._is_shown:
            made = make(self)
            self._shown = None if made == self else type(self)(made)
            self._is_shown = True
        return self if self._shown is None else self._shown
