"""One host of several hangs: the next one is asked within the same time-out. A cluster that is slow
is not asked twice."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from autoscaler.adapters.elasticsearch.errors import HostTimedOut, TimedOut
from autoscaler.adapters.elasticsearch.hung_hosts import HostHangs, unless_hung
from autoscaler.adapters.elasticsearch.transport_errors import while_collecting
from tests.adapters.elasticsearch.servers import (
    api_for,
    assigning,
    deployment,
    respond,
    serving,
    stats,
)
from tests.virtual_loop import LoopClock, run_in_virtual_time

CLOCK = LoopClock()
TIMEOUT_S = 10.0
STATS = respond(stats(deployment("elser")))


def now():
    return asyncio.get_running_loop().time()


async def after(seconds, result="response"):
    await CLOCK.sleep(seconds)
    if isinstance(result, Exception):
        raise result
    return result


def slow(seconds, response=STATS):
    """Responds after some time, but to HEAD at once."""

    async def give(request):
        await CLOCK.sleep(0.0 if request.method == "HEAD" else seconds)
        return await response(request)

    return give


HANGS = None


@asynccontextmanager
async def cluster_of(*responses, **settings):
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(serving(each)) for each in responses]
        for server, response in zip(servers, responses, strict=True):
            if response is HANGS:
                server.responses = [server.never]
        settings = {"request_timeout_s": TIMEOUT_S, "clock": CLOCK, **settings}
        api = await stack.enter_async_context(api_for(*servers, **settings))
        yield api, servers


@pytest.mark.parametrize(
    ("response_s", "check_s", "at_s"),
    [(0.5, 60.0, 0.5), (5.0, 0.1, 5.0), (2.5, 60.0, 2.5), (2.05, 0.1, 2.05)],
    ids=["at once", "busy", "during the check", "just before the check ends"],
)
def test_a_response_is_waited_for_unless_the_host_hangs(response_s, check_s, at_s):
    async def main():
        assert await unless_hung(after(response_s), lambda: after(check_s), 10.0) == "response"
        assert now() == pytest.approx(at_s)

    run_in_virtual_time(main())


@pytest.mark.parametrize(
    ("check", "at_s"),
    [(lambda: after(60.0), 3.0), (lambda: after(0.1, OSError("refused")), 2.1)],
    ids=["no response", "refused"],
)
def test_a_host_that_responds_to_nothing_hangs(check, at_s):
    async def main():
        ended = []

        async def request():
            try:
                await CLOCK.sleep(60.0)
            finally:
                ended.append(now())

        with pytest.raises(HostHangs):
            await unless_hung(request(), check, 10.0)
        assert ended == [pytest.approx(at_s)]
        assert now() == pytest.approx(at_s)

    run_in_virtual_time(main())


def test_an_error_is_that_of_the_request():
    async def main():
        with pytest.raises(ValueError, match="refused"):
            await unless_hung(after(3.0, ValueError("refused")), lambda: after(0.1), 10.0)

    run_in_virtual_time(main())


def test_the_next_host_is_asked_within_the_same_time_out():
    async def main():
        async with cluster_of(HANGS, STATS) as (api, servers):
            assert len((await api.stats()).deployments) == 1
            assert now() <= TIMEOUT_S / 2.0
            assert [request.method for request in servers[0].requests] == ["GET", "HEAD"]
            assert len(servers[1].requests) == 1

    run_in_virtual_time(main())


def test_of_three_hosts_one_that_hangs_fails_no_poll():
    async def main():
        async with cluster_of(STATS, HANGS, STATS) as (api, servers):
            for _ in range(34):
                began = now()
                assert len((await api.stats()).deployments) == 1
                assert now() - began <= TIMEOUT_S / 2.0
                await CLOCK.sleep(10.0)
            assert 4 <= len(servers[1].requests) <= 34  # it is tried again and again, but seldom

    run_in_virtual_time(main())


def test_a_slow_cluster_is_asked_once():
    async def main():
        async with cluster_of(slow(8.0), slow(8.0)) as (api, servers):
            await api.stats()
            requests = [each.method for server in servers for each in server.requests]
            assert requests == ["GET", "HEAD"]

    run_in_virtual_time(main())


def test_a_host_that_is_busy_has_the_time_that_is_left():
    async def main():
        async with cluster_of(HANGS, slow(60.0), STATS) as (api, _):
            with pytest.raises(TimedOut, match="within 7 s") as caught:
                await api.stats()
            assert not isinstance(caught.value, HostTimedOut)
            assert now() == pytest.approx(TIMEOUT_S)

    run_in_virtual_time(main())


def test_where_all_hosts_hang_a_request_takes_one_time_out():
    async def main():
        async with cluster_of(HANGS, HANGS) as (api, _):
            with pytest.raises(HostTimedOut, match="check whether the process hangs") as caught:
                await api.stats()
            assert now() <= TIMEOUT_S
            # The advice for slow statistics would be wrong.
            assert while_collecting(caught.value) is caught.value

    run_in_virtual_time(main())


def test_a_change_goes_to_a_host_whose_last_request_succeeded():
    async def main():
        async def works(request):
            return await (assigning if request.method == "POST" else STATS)(request)

        async with cluster_of(HANGS, works) as (api, servers):
            await api.stats()
            await CLOCK.sleep(60.0)  # no host is excluded any more
            began = now()
            for _ in range(3):
                await api.update("elser", allocations=4)
            assert now() == began
            assert [request.method for request in servers[1].requests] == ["GET"] + ["POST"] * 3

    run_in_virtual_time(main())


def test_a_check_ends_with_the_request_that_it_is_for():
    async def main():
        ended = []

        async def check():
            try:
                await CLOCK.sleep(100.0)
            finally:
                ended.append(now())

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.5):  # while the check is under way
                await unless_hung(after(100.0), check, TIMEOUT_S)
        assert ended == [2.5]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_in_virtual_time(main())
