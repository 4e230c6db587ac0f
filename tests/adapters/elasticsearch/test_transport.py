"""Requests: sent, repeated, sent to another host, or lost."""

import asyncio
import gzip
import json

import aiohttp
import pytest
from aiohttp import web

from autoscaler.adapters.elasticsearch.api_errors import (
    EndpointMissing,
    ServerError,
    Unauthenticated,
)
from autoscaler.adapters.elasticsearch.error_mapping import outcome_kind_of
from autoscaler.adapters.elasticsearch.errors import (
    AnotherPath,
    ConnectionBroken,
    GatewayError,
    MalformedResponse,
    NotElasticsearch,
    TimedOut,
    Unreachable,
)
from autoscaler.adapters.elasticsearch.transport_errors import transport_error_of
from autoscaler.connection import ApiKey, Basic, Bearer
from autoscaler.core.decision import OutcomeKind
from autoscaler.wire.bounds import DESCRIPTION, ERROR_BYTES, MAX_TEXT, STATISTICS
from autoscaler.wire.inference import EndpointDocument
from tests.adapters.elasticsearch.servers import (
    PRODUCT,
    api_for,
    assigning,
    info,
    page,
    refusal,
    reset,
    respond,
    serving,
    truncated,
)
from tests.fakes import FakeClock

CLOSED_PORT = "http://127.0.0.1:1"
NO_MASTER = refusal(503, "master_not_discovered_exception", "no master")
REFUSED = refusal(401, "security_exception", "unable to authenticate")


class PausesClock(FakeClock):
    """Records the durations passed to `sleep`."""

    def __init__(self):
        super().__init__(start=1_000.0)
        self.pauses = []

    async def sleep(self, seconds):
        self.pauses.append(seconds)
        await super().sleep(seconds)


@pytest.mark.parametrize("name", ["", ".", ".."])
@pytest.mark.parametrize(
    "call",
    [
        lambda api, name: api.update(name, allocations=2),
        lambda api, name: api.stop(name, force=False),
        lambda api, name: api.inference_endpoint(name),
        lambda api, name: api.resolved_model(name),
        lambda api, name: api.update_endpoint(
            EndpointDocument(inference_id=name, task_type="rerank"), allocations=2
        ),
        lambda api, name: api.update_endpoint(
            EndpointDocument(inference_id="e5", task_type=name), allocations=2
        ),
    ],
    ids=["update", "stop", "endpoint", "model", "update of an endpoint", "type of an endpoint"],
)
async def test_a_name_that_would_change_the_path_is_sent_nowhere(call, name):
    async with serving(respond(info())) as server, api_for(server) as api:
        with pytest.raises(AnotherPath, match="was not sent, because a name in its path") as caught:
            await call(api, name)
        assert server.requests == []
    assert outcome_kind_of(caught.value) is OutcomeKind.INVALID


@pytest.mark.parametrize("name", ["*", "e5-*", "e5,elser", "_all"])
async def test_a_name_of_several_deployments_is_sent_nowhere(name):
    async with serving(respond(info())) as server, api_for(server) as api:
        with pytest.raises(AnotherPath, match="may be several; name one"):
            await api.update(name, allocations=2)
        with pytest.raises(AnotherPath, match="may be several; name one"):
            await api.stop(name, force=True)
        assert server.requests == []


async def test_headers_of_a_request():
    async with serving(respond(info())) as server, api_for(server) as api:
        api.begin("autoscaler-17")
        await api.info()
    assert server.header("Accept") == "application/json"
    assert server.header("User-Agent").startswith("autoscaler/")
    assert server.header("X-Opaque-Id") == "autoscaler-17"
    assert server.header("Authorization") is None


async def test_the_path_of_a_host_is_kept_as_a_prefix():
    async with serving(respond(info())) as server, api_for(f"{server.url}es/") as api:
        await api.ml_info()
    assert server.paths == ["/es/_ml/info"]


async def test_compressed_responses_are_read():
    async def give(request):
        assert "gzip" in request.headers["Accept-Encoding"]
        body = gzip.compress(json.dumps(info("9.1.0")).encode())
        return web.Response(body=body, headers={**PRODUCT, "Content-Encoding": "gzip"})

    async with serving(give) as server, api_for(server) as api:
        assert (await api.info()).version.number == "9.1.0"


@pytest.mark.parametrize(
    ("auth", "header"),
    [
        (ApiKey("aWQ6a2V5"), "ApiKey aWQ6a2V5"),
        (ApiKey("id:key"), "ApiKey aWQ6a2V5"),
        (Basic("elastic", "pässword"), "Basic ZWxhc3RpYzpww6Rzc3dvcmQ="),
        (Bearer("AAEAAW"), "Bearer AAEAAW"),
    ],
    ids=lambda value: str(value)[:8],
)
async def test_credentials_are_sent(auth, header):
    async with serving(respond(info())) as server, api_for(server, auth=auth) as api:
        await api.info()
    assert server.header("Authorization") == header


async def test_a_rotated_key_is_read_again_after_a_401(tmp_path):
    file = tmp_path / "key"
    file.write_text("old:key\n")
    async with (
        serving(REFUSED, assigning) as server,
        api_for(server, auth=ApiKey(file)) as api,
    ):
        file.write_text("new:key\n")
        await api.update("elser", allocations=4)
    assert [server.header("Authorization", i) for i in (0, 1)] == [
        "ApiKey b2xkOmtleQ==",
        "ApiKey bmV3OmtleQ==",
    ]


async def test_an_unchanged_key_is_not_sent_again_after_a_401(tmp_path):
    file = tmp_path / "key"
    file.write_text("old:key")
    async with serving(REFUSED) as server, api_for(server, auth=ApiKey(file)) as api:
        with pytest.raises(Unauthenticated):
            await api.info()
        assert len(server.requests) == 1  # the file contains the same key
        file.write_text("new:key")
        with pytest.raises(Unauthenticated):
            await api.info()
        assert len(server.requests) == 3
        file.unlink()
        with pytest.raises(Unauthenticated):
            await api.info()


async def test_a_read_is_repeated_after_a_pause():
    clock = PausesClock()
    async with (
        serving(NO_MASTER, page(502), respond(info())) as server,
        api_for(server, clock=clock) as api,
    ):
        await api.info()
    assert len(server.requests) == 3
    assert 0.0 <= clock.pauses[0] <= 0.5
    assert 0.0 <= clock.pauses[1] <= 1.0


async def test_pauses_are_random():
    clock = PausesClock()
    async with serving(NO_MASTER) as server, api_for(server, clock=clock, retries=5) as api:
        with pytest.raises(ServerError):
            await api.info()
    assert len(set(clock.pauses)) == len(clock.pauses) >= 3


async def test_reads_are_repeated_a_limited_number_of_times():
    async with serving(NO_MASTER) as server, api_for(server, retries=2) as api:
        with pytest.raises(ServerError):
            await api.info()
    assert len(server.requests) == 3


async def test_attempts_begin_within_one_time_out():
    clock = PausesClock()
    settings = {"retries": 1000, "request_timeout_s": 20.0}
    async with serving(NO_MASTER) as server, api_for(server, clock=clock, **settings) as api:
        with pytest.raises(ServerError):
            await api.info()
    assert sum(clock.pauses) < 20.0


@pytest.mark.parametrize("retry_after", ["3", "Thu, 01 Jan 1970 00:16:43 GMT"])
async def test_retry_after_is_added_to_the_pause(retry_after):
    busy = refusal(
        429, "es_rejected_execution_exception", "busy", headers={"Retry-After": retry_after}
    )
    clock = PausesClock()  # it is 00:16:40
    async with serving(busy, respond(info())) as server, api_for(server, clock=clock) as api:
        await api.info()
    assert 3.0 <= clock.pauses[0] <= 3.5


async def test_a_long_retry_after_is_left_to_the_next_cycle():
    clock = PausesClock()
    async with (
        serving(page(503, **{"Retry-After": "3600"})) as server,
        api_for(server, clock=clock) as api,
    ):
        with pytest.raises(GatewayError) as caught:
            await api.info()
    assert clock.pauses == []
    assert caught.value.retry_after_s == 3600.0


async def test_permanent_refusals_are_not_repeated():
    async with (
        serving(refusal(403, "security_exception", "no")) as server,
        api_for(server) as api,
    ):
        with pytest.raises(Exception, match="403"):
            await api.info()
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("lost", "error"),
    [(reset, ConnectionBroken), (truncated, ConnectionBroken), (page(504), GatewayError)],
    ids=["reset", "truncated", "proxy"],
)
async def test_a_change_of_unknown_outcome_is_never_sent_twice(lost, error):
    async with (
        serving(lost) as first,
        serving(assigning) as second,
        api_for(first, second) as api,
    ):
        with pytest.raises(error):
            await api.update("elser", allocations=4)
    assert len(first.requests) == 1
    assert second.requests == []


async def test_a_change_goes_to_the_next_host_if_it_was_certainly_not_sent():
    async with serving(assigning) as server, api_for(CLOSED_PORT, server) as api:
        assert (await api.update("a", allocations=5)).task_parameters.number_of_allocations == 5
    assert len(server.requests) == 1


@pytest.mark.parametrize("lost", [reset, truncated], ids=["reset", "truncated"])
async def test_a_read_without_a_response_goes_to_the_next_host(lost):
    clock = PausesClock()
    async with (
        serving(lost) as first,
        serving(respond(info())) as second,
        api_for(first, second, clock=clock) as api,
    ):
        await api.info()
    assert clock.pauses == []


async def test_no_response_before_the_time_out():
    async with serving(None) as server:
        server.responses = [server.never]
        async with api_for(server, request_timeout_s=0.05) as api:
            with pytest.raises(TimedOut):
                await api.info()
    assert len(server.requests) == 1


async def test_hosts_take_requests_in_turn():
    async with serving(respond(info())) as a, serving(respond(info())) as b, api_for(a, b) as api:
        for _ in range(4):
            await api.info()
    assert len(a.requests) == len(b.requests) == 2


async def test_a_failed_host_is_excluded_for_some_seconds():
    clock = FakeClock(start=1_000.0)
    # Twice, because the HTTP library repeats a question on a new connection by itself.
    async with (
        serving(reset, reset, respond(info())) as a,
        serving(respond(info())) as b,
        api_for(a, b, clock=clock) as api,
    ):
        for _ in range(5):
            await api.info()
        assert len(a.requests) == 2
        clock.pass_by(60.0)
        for _ in range(2):
            await api.info()
        assert len(a.requests) == 3


async def test_when_all_hosts_fail_the_cluster_is_unreachable():
    async with api_for(CLOSED_PORT, CLOSED_PORT) as api:
        with pytest.raises(Unreachable, match=r"^http://127.0.0.1:1 cannot be reached: .*refused"):
            await api.info()


async def test_a_port_with_another_protocol():
    async def greet(_reader, writer):
        writer.write(b"220 mail.example ESMTP\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with api_for(f"http://127.0.0.1:{port}") as api:
            with pytest.raises(NotElasticsearch, match="is not HTTP"):
                await api.info()


def test_a_request_without_a_connection_was_not_sent():
    failure = transport_error_of(
        aiohttp.ConnectionTimeoutError("too slow"),
        request="POST /x",
        place="http://es:9200",
        timeout_s=10.0,
    )
    assert type(failure) is Unreachable


async def test_a_response_of_another_program():
    async with serving(respond(info(), headers={})) as server, api_for(server) as api:
        with pytest.raises(NotElasticsearch, match="is not Elasticsearch"):
            await api.info()


@pytest.mark.parametrize("status", [301, 403, 404])
async def test_a_web_page_is_not_from_elasticsearch(status):
    async with serving(page(status, Location="/elsewhere")) as server, api_for(server) as api:
        with pytest.raises(NotElasticsearch, match=str(status)):
            await api.info()
    assert len(server.requests) == 1  # redirections would carry the credentials elsewhere


@pytest.mark.parametrize("product", [PRODUCT, {}])
@pytest.mark.parametrize(
    ("location", "named"),
    [
        ("https://es.example:9243/login?next=secret", "to https://es.example:9243 "),
        ("/login", "to http://127.0.0.1:"),
        ("https://[", "to another address "),
        ("https://h\xff\udcff.example:99999/", "to another address "),
    ],
)
async def test_a_redirection_is_named_and_not_followed(location, named, product):
    elsewhere = respond("", 302, headers={**product, "Location": location})
    async with serving(elsewhere) as server, api_for(server) as api:
        with pytest.raises(NotElasticsearch, match="redirects") as caught:
            await api.stats()
    assert named in str(caught.value)
    assert "secret" not in str(caught.value)
    assert len(server.requests) == 1


async def test_a_response_of_a_cache_is_none_of_elasticsearch():
    old = respond(info(), headers={**PRODUCT, "Age": "45"})
    async with serving(old) as server, api_for(server) as api:
        with pytest.raises(MalformedResponse, match="from a cache, 45 s"):
            await api.info()
    assert server.requests[0].headers["Cache-Control"] == "no-cache"


async def test_json_of_another_program_is_not_from_elasticsearch():
    stranger = respond({"ok": False, "message": "Unknown resource."}, 404, headers={})
    async with serving(stranger) as server, api_for(server) as api:
        with pytest.raises(NotElasticsearch):
            await api.update("elser", allocations=2)


async def test_an_error_that_is_a_plain_text():
    async with serving({}) as server, api_for(server) as api:
        with pytest.raises(EndpointMissing, match=r"8\.6") as caught:
            await api.update("elser", allocations=2)
    assert caught.value.type == ""


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"version": 1}', b"\xff", b"[" * 100_000])
async def test_an_unreadable_2xx_response(body):
    async def give(request):
        return web.Response(body=body, headers=PRODUCT)

    async with serving(give) as server, api_for(server) as api:
        with pytest.raises(MalformedResponse):
            await api.info()


def compressed(body, status=200):
    async def give(request):
        headers = {**PRODUCT, "Content-Encoding": "gzip", "Content-Type": "application/json"}
        return web.Response(body=gzip.compress(body), status=status, headers=headers)

    return give


async def test_the_decompressed_size_of_a_response_is_limited():
    body = b" " * (DESCRIPTION.max_bytes + 1)
    async with serving(compressed(body)) as server, api_for(server) as api:
        with pytest.raises(MalformedResponse, match="GET / is larger than 16 MiB"):
            await api.info()


async def test_the_number_of_values_in_a_response_is_limited():
    body = b'{"trained_model_stats": [' + b"1," * STATISTICS.max_values + b"1]}"
    async with serving(compressed(body)) as server, api_for(server) as api:
        with pytest.raises(MalformedResponse, match="JSON values, more than 2000000"):
            await api.stats()


async def test_of_a_large_error_response_the_beginning_is_read():
    body = b'{"error": {"reason": "' + b"no " * ERROR_BYTES
    async with serving(compressed(body, 503)) as server, api_for(server, retries=0) as api:
        with pytest.raises(ServerError, match="refused with 503: ") as caught:
            await api.info()
    assert "no no no" in str(caught.value)
    assert len(str(caught.value)) < 2 * MAX_TEXT


@pytest.mark.parametrize(
    "lost",
    [reset, truncated, page(502), page(404), respond(info(), headers={}), REFUSED],
    ids=["reset", "truncated", "proxy", "page", "stranger", "refused"],
)
async def test_no_message_contains_a_secret(lost):
    async with (
        serving(lost) as server,
        api_for(server, auth=Basic("elastic", "s3cret"), retries=0) as api,
    ):
        with pytest.raises(Exception, match=r".") as caught:
            await api.info()
    error = caught.value
    while error is not None:
        assert "s3cret" not in f"{error}{error!r}"
        assert "ZWxhc3RpYzpzM2NyZXQ=" not in f"{error}{error!r}"
        error = error.__cause__
