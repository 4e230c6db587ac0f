"""Tells a host that hangs from a cluster that is slow, while a request waits for its response.

Statistics may take seconds to collect, and a second request for them would only add to the work. So
a host that has not responded for a moment is sent a request that costs it nothing. A host that
responds to that is busy; one that does not is left, and the next one is tried.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

PATIENCE_FRACTION = 0.2
"""Fraction of the time-out after which it is checked whether the host hangs: 2 s of the default. As
long again is left for the check, so that three hosts may hang before the time is up."""

CHECK_FRACTION = 0.1
"""Fraction of the time-out within which a host must respond to the check: 1 s of the default."""

Response = TypeVar("Response")


class HostHangs(Exception):
    """The host responds to nothing."""


async def unless_hung(
    request: Coroutine[Any, Any, Response],
    check: Callable[[], Awaitable[object]],
    timeout_s: float,
) -> Response:
    """The response to the request, however long it takes if the host responds to the check.

    Args:
        check: sends a request that costs the host nothing; any response will do.
        timeout_s: that of the request.

    Raises:
        HostHangs: there was no response to either. The request is cancelled.
    """
    sent = asyncio.ensure_future(request)
    try:
        await asyncio.wait([sent], timeout=timeout_s * PATIENCE_FRACTION)
        if not sent.done() and await _hangs(sent, check, timeout_s * CHECK_FRACTION):
            raise HostHangs
        return await sent
    finally:
        sent.cancel()
        await asyncio.gather(sent, return_exceptions=True)


async def _hangs(
    sent: "asyncio.Future[Response]", check: Callable[[], Awaitable[object]], timeout_s: float
) -> bool:
    """Whether neither the request nor the check gets a response within this time."""
    checked = asyncio.ensure_future(check())
    both: list[asyncio.Future[Any]] = [sent, checked]
    try:
        await asyncio.wait(both, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        return not sent.done() and (not checked.done() or checked.exception() is not None)
    finally:  # also if the caller gives up meanwhile
        checked.cancel()
        await asyncio.gather(checked, return_exceptions=True)
