"""The end of the process waits for no thread, and the threads do all else that an executor does."""

import asyncio
import gc
import subprocess
import sys
import threading
import weakref
from concurrent.futures import CancelledError

import pytest

from autoscaler import threads
from autoscaler.threads import AbandonableThreads, without_collector


@pytest.fixture
def executor():
    found = AbandonableThreads(2, "test")
    yield found
    found.shutdown()


def test_a_call_has_its_result_or_its_exception(executor):
    assert executor.submit(divmod, 7, 2).result() == (3, 1)
    assert executor.submit(int, "11", base=2).result() == 3
    with pytest.raises(ZeroDivisionError):
        executor.submit(divmod, 7, 0).result()


def test_calls_wait_for_a_thread(executor):
    begun, go_on = threading.Barrier(3), threading.Event()

    def blocked():
        begun.wait()
        go_on.wait()
        return threading.get_ident()

    busy = [executor.submit(blocked) for _ in range(2)]
    begun.wait()
    waiting = executor.submit(threading.get_ident)
    cancelled = executor.submit(threading.get_ident)
    assert not waiting.running()
    assert cancelled.cancel()
    go_on.set()
    assert waiting.result() in {each.result() for each in busy}


def test_calls_that_were_given_up_take_no_memory_while_a_thread_hangs():
    class Argument:
        pass

    executor, go_on = AbandonableThreads(1, "test"), threading.Event()
    begun = threading.Event()
    executor.submit(lambda: (begun.set(), go_on.wait()))
    begun.wait()
    argument = Argument()
    known = weakref.ref(argument)
    assert executor.submit(id, argument).cancel()
    del argument
    waiting = executor.submit(int, "3")
    assert known() is None
    go_on.set()
    assert waiting.result() == 3
    executor.shutdown()


def test_an_idle_thread_is_used_again(executor):
    assert len({executor.submit(threading.get_ident).result() for _ in range(20)}) <= 2


def test_after_the_shutdown_what_waits_is_completed_or_cancelled(executor):
    go_on = threading.Event()
    busy = [executor.submit(go_on.wait) for _ in range(2)]
    waiting = executor.submit(int, "3")
    executor.shutdown()
    with pytest.raises(RuntimeError):
        executor.submit(int, "4")
    go_on.set()
    assert [each.result() for each in (*busy, waiting)] == [True, True, 3]

    other = AbandonableThreads(1, "test")
    go_on.clear()
    busy = [other.submit(go_on.wait)]
    waiting = other.submit(int, "3")
    other.shutdown(cancel_futures=True)
    go_on.set()
    with pytest.raises(CancelledError):
        waiting.result()


def test_a_command_uses_them_by_default():
    async def command():
        return await asyncio.to_thread(lambda: threading.current_thread().daemon)

    assert threads.run(command())


BLOCKED = """
import asyncio, sys
from autoscaler import threads
{how}
async def command():
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()
    def blocked():
        loop.call_soon_threadsafe(begun.set)
        sys.stdin.read()
    call = loop.run_in_executor(executor, blocked)
    await begun.wait()
    call.cancel()
    print("done", flush=True)
threads.run(command())
"""


@pytest.mark.parametrize("how", ["None", "threads.AbandonableThreads(1, 'disk')"])
def test_a_blocked_thread_does_not_delay_the_end_of_the_process(how):
    program = BLOCKED.format(how=f"executor = {how}")
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        # The thread reads from a pipe into which nothing is ever written.
        assert process.stdout.read() == b"done\n"
        assert process.wait() == 0


def test_the_collector_is_off_until_the_last_of_several_threads_needs_it_no_more(executor):
    begun, other_ended, seen = threading.Event(), threading.Event(), []

    def longer():
        begun.set()
        assert other_ended.wait(10.0)
        seen.append(gc.isenabled())

    def shorter():
        long = executor.submit(without_collector, longer)
        assert begun.wait(10.0)
        return long

    assert gc.isenabled()
    long = without_collector(shorter)  # begins first, and ends first
    other_ended.set()
    long.result()
    assert seen == [False]
    assert gc.isenabled()
