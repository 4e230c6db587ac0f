"""Which mutants a fork of a session can contain: those of functions, whose code it replaces."""

import pytest

from benchmarks.mutant_runner import replaceable

BEFORE = """
from dataclasses import dataclass

LIMIT = 3

@dataclass(frozen=True)
class Load:
    rate: float = 1.0

    def served(self, seconds: float) -> float:
        return min(self.rate * seconds, LIMIT)

def doubled(values, times=2):
    return [times * each for each in values]
"""


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ("rate * seconds", "rate + seconds", ["Load.served"]),
        ("times * each", "times + each", ["doubled"]),
        ("self.rate * seconds, LIMIT", "self.rate, LIMIT", ["Load.served"]),  # it ends elsewhere
        ("LIMIT = 3", "LIMIT = 4", None),
        ("rate: float = 1.0", "rate: float = 2.0", None),
        ("frozen=True", "frozen=False", None),
        ("times=2", "times=3", None),
    ],
)
def test_only_the_code_of_functions_is_replaced(
    old: str, new: str, names: list[str] | None
) -> None:
    found = replaceable(BEFORE, BEFORE.replace(old, new))
    assert (None if found is None else [name for name, _ in found]) == names
