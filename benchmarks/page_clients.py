"""Browsers with open status pages, as far as the daemon notices them: a process of its own."""

import asyncio
import os
import time
from multiprocessing.connection import Connection
from typing import NamedTuple

import aiohttp

from benchmarks.payload import model

OVERVIEWS = 10
"""How many of the pages show the overview, all the same; each of the others shows a deployment of
its own, which is the most work for the daemon."""

_OPEN_TIMEOUT_S = 60.0


class PagesSeen(NamedTuple):
    """What the pages have received."""

    loaded_s: float  # from when all were requested until all had their HTML and their charts
    events: int
    fewest: int  # of a page
    megabytes: float  # compressed


class _Page:
    """One page: it loads its HTML and its charts, then listens."""

    def __init__(self, path: str, events: str, series: str = "") -> None:
        self._loads = [each for each in (path, series) if each]
        self._events = events
        self.received = self.size = 0
        self.opened = asyncio.Event()

    async def load(self, session: aiohttp.ClientSession) -> None:
        for path in self._loads:
            async with session.get(path) as response:
                response.raise_for_status()
                await response.read()

    async def listen(self, session: aiohttp.ClientSession) -> None:
        async with session.get(self._events) as response:
            response.raise_for_status()
            async for chunk, _ in response.content.iter_chunks():
                self.size += len(chunk)
                # Each compressed event ends with this marker of zlib, and has it only there.
                self.received += chunk.count(b"\x00\x00\xff\xff")
                self.opened.set()


def read_pages(url: str, count: int, processor: int, control: Connection) -> None:
    """Open the pages, send their number when all are open, read them until anything is received,
    and send what was seen."""
    os.sched_setaffinity(0, {processor})
    asyncio.run(_read(url, count, control))


async def _read(url: str, count: int, control: Connection) -> None:
    pages = [_page(number) for number in range(count)]
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(
        url, connector=connector, timeout=timeout, auto_decompress=False
    ) as session:
        began = time.monotonic()
        async with asyncio.timeout(_OPEN_TIMEOUT_S):
            await asyncio.gather(*(page.load(session) for page in pages))  # as in an incident
            loaded_s = time.monotonic() - began
            listening = [asyncio.ensure_future(page.listen(session)) for page in pages]
            await asyncio.gather(*(page.opened.wait() for page in pages))
        before = [(page.received, page.size) for page in pages]
        control.send(time.monotonic())
        await asyncio.to_thread(control.recv)
        events = [page.received - had for page, (had, _) in zip(pages, before, strict=True)]
        size = sum(page.size - had for page, (_, had) in zip(pages, before, strict=True))
        control.send(PagesSeen(loaded_s, sum(events), min(events), size / 1e6))
        for each in listening:
            each.cancel()
        await asyncio.gather(*listening, return_exceptions=True)


def _page(number: int) -> _Page:
    if number < OVERVIEWS:
        return _Page("/", "/live")
    name = model(number, 1, 0).model_id
    own = f"/deployments/{name}"
    return _Page(own, f"/live{own}", f"/api/v1{own}/series")
