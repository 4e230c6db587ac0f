"""What clients that keep connections open, or do not read, can do to the daemon's server."""

import asyncio
import resource
import socket
import tracemalloc
import zlib
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial

import pytest
import structlog
from prometheus_client import CollectorRegistry, Gauge
from structlog.testing import capture_logs

from autoscaler.adapters.admin_http import AdminServer, ClusterPages, DecisionRecorder, Health
from autoscaler.adapters.admin_http.connections import (
    HEAD_TIMEOUT_S,
    MAX_CONNECTIONS,
    MAX_LARGE,
    MIN_CONNECTIONS,
    WRITE_TIMEOUT_S,
    connection_limit,
)
from autoscaler.adapters.admin_http.rendering import (
    MAX_WAITING,
    PAUSE_RATIO,
    Kind,
    Rendered,
    Renderer,
    TooManyRenderings,
)
from tests.adapters.raw_http import exchange, request
from tests.fakes import FakeClock
from tests.virtual_loop import LoopClock, run_in_virtual_time

LOCAL = {"Host": "localhost"}
HEALTHZ = request("GET", "/healthz", LOCAL)
METRICS = request("GET", "/metrics", LOCAL)


@pytest.fixture(autouse=True)
def default_logging():
    structlog.reset_defaults()


class Clients:
    """A server with large metrics, and the clients of one test."""

    def __init__(self, series, **options):
        clock = FakeClock(start=1_000.0)
        self.registry = registry = CollectorRegistry()
        gauge = Gauge("many", "Many series.", ["n"], registry=registry)
        for n in range(series):
            gauge.labels("x" * 100 + str(n)).set(n)
        self.refused = []
        self.server = AdminServer(
            registry,
            ClusterPages(Health(clock, 10.0), DecisionRecorder(clock, "1.2.3")),
            host="127.0.0.1",
            port=0,
            version="1.2.3",
            on_refused=self.refused.append,
            **options,
        )
        self._open = []

    async def connect(self, sent=b"", *, reads=True):
        """Open a connection, and leave it open. Without `reads`, the client takes little."""
        client = socket.socket()
        if not reads:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", self.server.port))
        client.send(sent)
        self._open.append(client)
        return client

    async def ended(self, client):
        """Wait until the server has closed a connection."""
        loop = asyncio.get_running_loop()
        with suppress(ConnectionError):
            while await loop.sock_recv(client, 65_536):
                pass

    async def healthy(self):
        return (await exchange(self.server.port, HEALTHZ)).status == 200

    def close(self):
        for client in self._open:
            client.close()


async def turns(count):
    """Turns of the loop, in which no time passes."""
    for _ in range(count):
        await asyncio.sleep(0)


@asynccontextmanager
async def serving(series=10, **options):
    clients = Clients(series, **options)
    async with clients.server:
        try:
            yield clients
        finally:
            clients.close()


def test_idle_connections_make_room_for_others_the_oldest_first():
    async def story():
        async with serving(max_connections=4) as clients:
            idle = [await clients.connect() for _ in range(20)]
            assert await clients.healthy()
            for client in idle[:17]:
                await clients.ended(client)
            assert set(clients.refused) == {"connections"}
            assert len(clients.refused) == 17
            last = idle[-1]
            last.send(HEALTHZ)
            assert (await asyncio.get_running_loop().sock_recv(last, 15)) == b"HTTP/1.1 200 OK"

    run_in_virtual_time(story())


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"])
def test_a_request_that_does_not_come_ends_the_connection(sent):
    async def story():
        async with serving() as clients:
            began = asyncio.get_running_loop().time()
            client = await clients.connect(sent)
            await clients.ended(client)
            assert asyncio.get_running_loop().time() - began == pytest.approx(HEAD_TIMEOUT_S)
            assert clients.refused == ["slow"]

    run_in_virtual_time(story())


def test_a_request_that_comes_byte_by_byte_gets_no_more_time():
    async def story():
        async with serving() as clients:
            began = asyncio.get_running_loop().time()
            client = await clients.connect(b"GET / HTTP/1.1\r\nX: ")

            async def trickle():
                while True:
                    await LoopClock().sleep(0.9)
                    client.send(b"x")

            trickling = asyncio.ensure_future(trickle())
            await clients.ended(client)
            trickling.cancel()
            assert asyncio.get_running_loop().time() - began == pytest.approx(HEAD_TIMEOUT_S)

    run_in_virtual_time(story())


def test_a_head_that_never_ends_is_cut_off():
    async def story():
        async with serving() as clients:
            client = await clients.connect(b"GET / HTTP/1.1\r\n")
            loop = asyncio.get_running_loop()
            with suppress(ConnectionError):
                for n in range(10_000):
                    await loop.sock_sendall(client, b"X%d: %b\r\n" % (n, b"x" * 1000))
            await clients.ended(client)
            assert clients.refused == ["malformed"]

    run_in_virtual_time(story())


def test_a_client_that_does_not_read_holds_up_no_other():
    async def story():
        async with serving(series=30_000) as clients:
            began = asyncio.get_running_loop().time()
            stalled = await clients.connect(METRICS, reads=False)
            for _ in range(3):
                answer = await exchange(clients.server.port, METRICS)
                assert (answer.status, answer.complete) == (200, True)
            assert asyncio.get_running_loop().time() == began
            await asyncio.sleep(WRITE_TIMEOUT_S)
            await clients.ended(stalled)
            assert clients.refused == ["slow"]

    run_in_virtual_time(story())


def test_few_large_responses_are_sent_at_a_time():
    """Or clients that do not read would fill the memory."""

    async def story():
        async with serving(series=30_000) as clients:
            stalled = [await clients.connect(METRICS, reads=False) for _ in range(MAX_LARGE)]
            assert await clients.healthy()
            assert clients.refused == []
            answer = await exchange(clients.server.port, METRICS)
            assert (answer.status, answer.complete) == (200, True)
            await clients.ended(stalled[0])
            assert clients.refused == ["slow"]

    run_in_virtual_time(story())


def test_clients_that_wait_for_a_response_hold_up_no_probe():
    async def story():
        async with serving(max_connections=4) as clients:
            clients.registry.register(Counted([]))
            await exchange(clients.server.port, METRICS)  # renders, so that the next ones wait
            for _ in range(4):
                await clients.connect(METRICS)
            await turns(50)  # the requests arrive
            begun = asyncio.get_running_loop().time()
            assert await clients.healthy()
            assert asyncio.get_running_loop().time() == begun

    run_in_virtual_time(story())


def test_metrics_are_rendered_in_two_formats_whatever_clients_accept():
    """Or clients that accept ever other versions would delay scrapes, each by one rendering."""

    async def story():
        async with serving() as clients:
            rendered = []
            clients.registry.register(Counted(rendered))
            port = clients.server.port
            sent = [
                request("GET", "/metrics", {**LOCAL, "Accept": f"{kind};version={n}.0.0"})
                for kind in ("application/openmetrics-text", "text/plain", "text/html")
                for n in range(10)
            ]
            answers = await asyncio.gather(*(exchange(port, each) for each in sent))
            assert {answer.status for answer in answers} == {200}
            assert len({answer.headers["Content-Type"] for answer in answers}) == 2
            assert len(rendered) <= 4  # one of each format may have begun before the last arrived

    run_in_virtual_time(story())


class Counted:
    """A collector that notes each rendering, which takes a second."""

    def __init__(self, rendered):
        self._rendered = rendered

    def describe(self):
        return []

    def collect(self):
        self._rendered.append(1)
        asyncio.get_running_loop().skip(1.0)
        return []


def test_pipelined_requests_are_not_served():
    async def story():
        async with serving() as clients:
            answer = await exchange(clients.server.port, HEALTHZ * 100)
            assert (answer.status, answer.body) == (200, b"ok\n")

    run_in_virtual_time(story())


def test_it_accepts_again_after_running_out_of_descriptors():
    async def story():
        async with serving() as clients:
            with no_descriptors_but_one() as last:
                last.setblocking(False)
                loop = asyncio.get_running_loop()
                await loop.sock_connect(last, ("127.0.0.1", clients.server.port))
                await LoopClock().sleep(100.0)
            assert set(clients.refused) == {"descriptors"}
            assert len(clients.refused) == pytest.approx(100, abs=1)
            last.send(HEALTHZ)
            assert (await loop.sock_recv(last, 15)) == b"HTTP/1.1 200 OK"
            last.close()

    with capture_logs() as lines:
        run_in_virtual_time(story())
    assert len(lines) == 2  # in 100 s


@contextmanager
def no_descriptors_but_one():
    """A socket that takes the last descriptor of this process; it stays open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    taken = []
    try:
        with suppress(OSError):
            while True:
                taken.append(socket.socket())
        last = taken.pop()
        yield last
    finally:
        for each in taken:
            each.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    ("soft_limit", "connections"),
    [
        (64, 24),
        (20, MIN_CONNECTIONS),
        (1024, MAX_CONNECTIONS),
        (resource.RLIM_INFINITY, MAX_CONNECTIONS),
    ],
)
def test_descriptors_are_left_to_the_daemon(soft_limit, connections):
    assert connection_limit(soft_limit) == connections


class TestRendering:
    def test_requests_that_wait_share_one_result(self):
        async def story():
            renderer, calls = Renderer(), []

            def render():
                calls.append(len(calls))
                return Rendered(200, b"%d" % len(calls))

            results = await asyncio.gather(*(renderer.render("a", render) for _ in range(5)))
            assert {each.body for each in results} == {b"1"}
            assert (await renderer.render("a", render)).body == b"2"

        run_in_virtual_time(story())

    def test_one_at_a_time_with_pauses(self):
        async def story():
            renderer, loop = Renderer(), asyncio.get_running_loop()
            spans = []

            def render():
                began = loop.time()
                loop.skip(1.0)
                spans.append((began, loop.time()))
                return Rendered(200, b"")

            await asyncio.gather(*(renderer.render(f"{n}", render) for n in range(3)))
            assert spans == [
                (n * (1.0 + PAUSE_RATIO), n * (1.0 + PAUSE_RATIO) + 1.0) for n in range(3)
            ]

        run_in_virtual_time(story())

    def test_few_different_ones_wait(self):
        """Or clients that ask and go away would keep the processor busy for ever."""

        async def story():
            renderer = Renderer()
            calls = [renderer.render(f"{n}", lambda: Rendered(200, b"x")) for n in range(20)]
            results = await asyncio.gather(*calls, return_exceptions=True)
            refused = [each for each in results if isinstance(each, TooManyRenderings)]
            assert len(refused) == 20 - MAX_WAITING[Kind.VIEW]
            assert (await renderer.render("a", lambda: Rendered(200, b"x"))).status == 200

        run_in_virtual_time(story())

    def test_a_scrape_waits_for_one_page_and_one_view(self):
        """However many are requested before it."""

        async def story():
            renderer, order = Renderer(), []

            def render(name):
                order.append(name)
                return Rendered(200, b"")

            calls = [
                renderer.render(f"{kind.value} {n}", partial(render, kind), kind)
                for kind in (Kind.PAGE, Kind.VIEW)
                for n in range(MAX_WAITING[kind])
            ]
            waiting = [asyncio.ensure_future(each) for each in calls]
            await asyncio.sleep(0)
            await renderer.render("text", partial(render, Kind.METRICS), Kind.METRICS)
            assert order.index(Kind.METRICS) <= 2
            await asyncio.gather(*waiting)
            # Nor does a view wait for all pages.
            last = len(order) - order[::-1].index(Kind.VIEW)
            assert last == 1 + 2 * MAX_WAITING[Kind.VIEW]

        run_in_virtual_time(story())

    def test_what_waits_at_the_end_of_the_server_is_cancelled(self):
        async def story():
            renderer = Renderer()
            calls = [
                asyncio.ensure_future(renderer.render(f"{n}", lambda: Rendered(200, b"x"), kind))
                for kind in Kind
                for n in range(2)
            ]
            await asyncio.sleep(0)
            await renderer.stop()
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert all(isinstance(each, asyncio.CancelledError) for each in results)

        run_in_virtual_time(story())

    def test_a_failure_concerns_those_who_wait_for_it(self):
        async def story():
            renderer = Renderer()

            def fail():
                raise ZeroDivisionError

            results = await asyncio.gather(
                *(renderer.render("a", fail) for _ in range(2)), return_exceptions=True
            )
            assert [type(each) for each in results] == [ZeroDivisionError] * 2
            assert (await renderer.render("a", lambda: Rendered(200, b"x"))).body == b"x"

        run_in_virtual_time(story())

    def test_a_long_body_exists_only_compressed(self):
        lines = 20_000

        def pieces():
            for n in range(lines):
                yield b'metric{deployment="e5-%d",node="ml-0"} 1234.0\n' % n * 8

        tracemalloc.start()
        rendered = Rendered.of(200, pieces())
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert rendered.size == sum(map(len, pieces()))
        assert peak < rendered.size / 2
        assert zlib.decompress(rendered.body, 16 + zlib.MAX_WBITS) == b"".join(pieces())

    @pytest.mark.parametrize("length", [0, 1, 1_023, 1_024, 1_025])
    def test_a_short_one_is_as_it_was(self, length):
        rendered = Rendered.of(200, [b"x"] * length)
        assert (rendered.size == 0) == (length < 1_024)
        content = zlib.decompress(rendered.body, 16 + zlib.MAX_WBITS) if rendered.size else None
        assert (content or rendered.body) == b"x" * length
