"""Long computations in the event loop, in parts between which it responds to others."""

import asyncio
from collections.abc import Generator
from itertools import islice, repeat
from typing import TypeVar

Result = TypeVar("Result")

PARTS_AT_ONCE = 20
"""Parts that are computed without an interruption. 20: a deployment that begins takes half a
millisecond to plan, and a request that waits for 10 ms is not noticed. A fixed number and not a
duration, so that equal loads are interrupted equally."""


def others_first() -> Generator[None, None, None]:
    """Let others have a turn here, in a computation that has long parts."""
    yield from repeat(None, PARTS_AT_ONCE)


async def in_parts(parts: Generator[None, None, Result]) -> Result:
    """The result of a computation that yields between its parts."""
    results: list[Result] = []

    def computation() -> Generator[None, None, None]:
        results.append((yield from parts))

    remaining = computation()
    while True:
        for _ in islice(remaining, PARTS_AT_ONCE):
            pass
        if results:
            return results[0]
        await asyncio.sleep(0)
