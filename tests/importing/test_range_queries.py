"""Queries over a long period, and responses of every kind."""

import asyncio
import gzip
import json
import ssl
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme

from autoscaler.connection import Basic, Bearer
from autoscaler.errors import InputError, UserError
from autoscaler.importing import http_client, range_queries
from autoscaler.importing.http_client import ImportFailed, StoreAccess, StoreClient, TooLarge
from autoscaler.importing.range_queries import RangeQueries, Refused
from tests.importing.store import StoreResponse, as_json, matrix, served


def run(answer, *, first=0.0, last=600.0, step_s=60.0, warn=lambda _: None, tls=None, **access):
    with served(answer, tls) as url:

        async def query():
            async with StoreClient(StoreAccess(url=url, **access)) as client:
                return await RangeQueries(client, step_s, warn).run("up", first, last)

        return asyncio.run(query())


def test_a_query_is_for_the_whole_period_where_that_is_possible():
    requests = []

    def answer(request):
        requests.append(request)
        return matrix(({"a": "b"}, [(0, 1), (60, "NaN"), (120, "+Inf"), (180, 2.5)]))

    (series,) = run(answer)
    assert (series.labels, series.points) == ({"a": "b"}, [(0.0, 1.0), (180.0, 2.5)])
    (request,) = requests
    assert request.path == "/api/v1/query_range"
    assert request.query == {"query": "up", "start": "0.000", "end": "600.000", "step": "60"}


def test_no_response_has_more_points_than_prometheus_allows():
    requested = []

    def answer(request):
        requested.append((float(request.query["start"]), float(request.query["end"])))
        return matrix()

    run(answer, last=59_999.0, step_s=1.0)
    assert [begin for begin, _ in requested[1:]] == [end + 1.0 for _, end in requested[:-1]]
    assert (requested[0][0], requested[-1][1]) == (0.0, 59_999.0)
    assert max(end - begin for begin, end in requested) < 11_000


@pytest.mark.parametrize(
    "refusal",
    [
        as_json({"status": "error", "error": "query processing would load too many samples"}, 422),
        as_json({"status": "error", "error": "exceeded maximum resolution of 11,000 points"}, 400),
        as_json({"status": "error", "errorType": "timeout", "error": "query timed out"}, 503),
    ],
    ids=["samples", "points", "time-out"],
)
def test_what_is_too_large_is_read_in_parts(refusal):
    def answer(request):
        begin, end = float(request.query["start"]), float(request.query["end"])
        return refusal if end - begin > 120.0 else matrix(({}, [(begin, begin), (end, end)]))

    found = [at for series in run(answer) for at, _ in series.points]
    assert (found[0], found[-1]) == (0.0, 600.0)
    with pytest.raises(TooLarge):
        run(lambda _: refusal)


def test_a_response_larger_than_any_is_read_in_parts(monkeypatch):
    monkeypatch.setattr(http_client, "MAX_RESPONSE_BYTES", 1_000_000)

    def answer(request):
        if request.query["start"] != request.query["end"]:
            body = gzip.compress(b" " * 50_000_000)
            return StoreResponse(200, body, headers=(("Content-Encoding", "gzip"),))
        return matrix(({}, [(float(request.query["start"]), 1.0)]))

    assert len(run(answer, last=120.0)) == 3


HTML = b"<!DOCTYPE html><title>Log in</title>"


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (StoreResponse(401, b"", "text/plain"), "refuses the credentials (status 401); name them"),
        (StoreResponse(403, HTML, "text/html"), "refuses the credentials (status 403); name them"),
        (StoreResponse(404, HTML, "text/html"), "has no such API (status 404); give the address"),
        (StoreResponse(302, b"", "text/html"), "redirects to another address (status 302)"),
        (StoreResponse(200, HTML, "text/html"), "answers with a page instead of JSON (status 200)"),
        (StoreResponse(502, HTML, "text/html"), "answers with a page instead of JSON (status 502)"),
        (StoreResponse(200, b"up 1", "text/plain"), "answers with text/plain instead of JSON"),
        (StoreResponse(200, b'{"status": "suc'), "answers in JSON, but not as Prometheus does"),
        (StoreResponse(200, b"[" * 100_000), "answers in JSON, but not as Prometheus does"),
        (StoreResponse(200, b"\xff"), "answers in JSON, but not as Prometheus does"),
        (as_json({"status": "success", "data": {"result": 1}}), "but not as Prometheus does"),
        (as_json({"name": "es", "tagline": "You Know"}), "but not as Prometheus does"),
        (as_json({"status": "error", "error": "slow\x1b down"}, 429), "(status 429): slow\\x1b"),
        (StoreResponse(500, b"null"), "refuses the request (status 500)"),
    ],
)
def test_an_odd_response_is_one_sentence(response, reason):
    with pytest.raises(ImportFailed) as caught:
        run(lambda _: response)
    assert reason in str(caught.value)
    assert len(caught.value.sentences) == 1


def test_a_query_that_cannot_be_evaluated_is_shown():
    refusal = as_json({"status": "error", "errorType": "bad_data", "error": "parse error"}, 400)
    with pytest.raises(Refused, match="does not evaluate up: parse error"):
        run(lambda _: refusal)
    scalar = as_json({"status": "success", "data": {"resultType": "scalar", "result": []}})
    with pytest.raises(Refused, match="gives no series over time"):
        run(lambda _: scalar)


def test_what_the_source_says_about_partial_data_is_said_once():
    found = []
    document = json.loads(matrix().body) | {"warnings": ["a store is away"]}
    run(lambda _: as_json(document), last=59_999.0, step_s=1.0, warn=found.append)
    assert len(found) == 1
    assert found[0].endswith("says: a store is away")


def test_no_server_is_one_sentence():
    with served(lambda _: matrix()) as url:
        pass

    async def query():
        async with StoreClient(StoreAccess(url=url)) as client:
            await RangeQueries(client, 60.0, print).run("up", 0.0, 60.0)

    with pytest.raises(UserError, match=f"cannot read {url}: connection refused"):
        asyncio.run(query())


def test_credentials_are_sent_and_never_shown(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("correct-Horse-7-battery\n")
    seen = []

    def answer(request):
        seen.append(request.headers["Authorization"])
        return as_json({"status": "error", "error": f"no {request.headers['Authorization']}"}, 401)

    for auth, header in (
        (Bearer(secret), "Bearer correct-Horse-7-battery"),
        (Basic("ada", secret), "Basic YWRhOmNvcnJlY3QtSG9yc2UtNy1iYXR0ZXJ5"),
    ):
        with pytest.raises(ImportFailed, match="refuses the credentials") as caught:
            run(answer, auth=auth)
        assert seen[-1] == header
        assert "battery" not in str(caught.value)
        assert "YXR0ZXJ5" not in str(caught.value)


@pytest.mark.parametrize(
    ("access", "reason"),
    [
        ({"url": "localhost:9090"}, "the address of the source must be an address such as"),
        ({"url": "http://a:b@localhost"}, "must not contain credentials"),
        ({"url": "http://h", "auth": Bearer(Path("missing"))}, "the credentials of the source: "),
        (
            {"url": "https://h", "ca_file": "missing.pem"},
            "missing.pem cannot be used: no such file",
        ),
    ],
)
def test_an_access_that_cannot_be_used_is_one_sentence(access, reason):
    with pytest.raises(InputError, match=reason):
        StoreClient(StoreAccess(**access))


def test_a_certificate_is_trusted_only_if_its_authority_is_named(tmp_path):
    authority = trustme.CA()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    with pytest.raises(ImportFailed, match=r"its certificate is not trusted: .*; set --ca"):
        run(lambda _: matrix(), tls=tls)
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    assert run(lambda _: matrix(), tls=tls, ca_file=ca_file) == []


def test_an_expired_certificate_has_to_be_renewed(tmp_path):
    authority = trustme.CA()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    long_ago = datetime(2001, 1, 1, tzinfo=UTC)
    authority.issue_cert("127.0.0.1", not_after=long_ago).configure_cert(tls)
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    with pytest.raises(ImportFailed, match="certificate has expired; renew it"):
        run(lambda _: matrix(), tls=tls, ca_file=ca_file)


def test_the_limit_is_below_that_of_prometheus():
    assert range_queries.MAX_POINTS <= 11_000


def test_a_store_that_does_not_respond_is_one_sentence(monkeypatch):
    monkeypatch.setattr(http_client, "TIMEOUT_S", 0.05)
    ended = threading.Event()

    def answer(_):
        ended.wait()
        return matrix()

    try:
        with pytest.raises(ImportFailed, match=r"no response within .*; import less at once"):
            run(answer)
    finally:
        ended.set()


def test_values_of_instants_that_were_not_requested_are_left_out():
    (series,) = run(lambda _: matrix(({}, [(-1e18, 1), (0, 2), (600, 3), (660, 4), (1e300, 5)])))
    assert series.points == [(0.0, 2.0), (600.0, 3.0)]
