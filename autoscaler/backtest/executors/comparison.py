"""Which workers would compute other results than this program, or none."""

from collections.abc import Iterator, Mapping, Sequence

from autoscaler.backtest.program import ABSENT, Program

Packages = Mapping[str, str | None]
"""Versions by the name of the package, as Dask reports them; None: not installed."""

REQUIRED = ("python", "autoscaler", "numba", "numpy")
"""What a worker needs before it can be asked for its program."""


def difference_of_packages(worker: Packages, here: Packages) -> str | None:
    """Why a worker cannot be used, by the versions that Dask reports; None: it may be.

    >>> difference_of_packages({"python": "3.12.1"}, {"python": "3.11.7"})
    'it runs python 3.12.1, and this is python 3.11.7'
    """
    for name in REQUIRED:
        theirs, ours = worker.get(name), here.get(name)
        if theirs == ours:
            continue
        if theirs is None:
            return f"{name} is not installed there"
        return f"it runs {name} {theirs}, and this is {name} {ours}"
    return None


def difference_of_programs(worker: Program, here: Program) -> str | None:
    """Why a worker would compute other results than this program; None: it would not."""
    for name, theirs, ours in _facts(worker, here):
        if theirs == ours:
            continue
        if theirs == ABSENT:
            return f"{name} is not installed there"
        return f"it runs {name} {theirs}, and this is {name} {ours}"
    if worker.source != here.source:
        return f"it runs other modules of autoscaler {here.version} than this program"
    if worker.policies != here.policies:
        return "other policies are installed there"
    return None


def _facts(worker: Program, here: Program) -> Iterator[tuple[str, str, str]]:
    yield "Python", worker.python, here.python
    yield "autoscaler", worker.version, here.version
    for name, ours in here.packages.items():
        yield name, worker.packages.get(name, ABSENT), ours
    yield "on the architecture", worker.machine, here.machine


def unusable_text(reasons: Mapping[str, str], addresses: Sequence[str]) -> str:
    """A sentence about the workers that cannot be used, by address."""
    first, reason = next(iter(reasons.items()))
    others = len(reasons) - 1
    more = "" if not others else f", and {others} more of {len(addresses)} cannot be used"
    return (
        f"the worker {first} cannot be used: {reason}{more}; install the same version of this "
        "program with the same requirements on all workers, and restart them"
    )
