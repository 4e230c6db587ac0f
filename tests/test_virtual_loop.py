"""Of the loop that other tests run on: only what happens on it decides how its time passes."""

import asyncio
import threading

from tests.virtual_loop import run_in_virtual_time


def test_the_end_of_a_loop_waits_for_no_thread(monkeypatch):
    """Time would pass while the thread had yet to run, more of it on a busy machine."""

    async def play():
        await asyncio.to_thread(int)
        monkeypatch.setattr(threading.Thread, "start", None)

    run_in_virtual_time(play())
