"""Parsing of requests: parameters, bodies and media types."""

import msgspec
import pytest

from autoscaler.simulation.emulator.bodies import parse_body
from autoscaler.simulation.emulator.media_types import check_content, negotiate
from autoscaler.simulation.emulator.parameters import (
    Query,
    parse_boolean,
    parse_bytes,
    parse_duration_s,
    parse_integer,
)
from autoscaler.simulation.errors import SimulatedApiError
from autoscaler.wire.deployments import UpdateRequest


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30.0), ("500ms", 0.5), ("1m", 60.0), ("2h", 7200.0), ("0", 0.0)]
)
def test_durations(text, seconds):
    assert parse_duration_s("timeout", text) == seconds


@pytest.mark.parametrize("text", ["30", "", "s", "1.5s", "one", "1w"])
def test_a_duration_needs_its_unit(text):
    with pytest.raises(SimulatedApiError, match="timeout"):
        parse_duration_s("timeout", text)


@pytest.mark.parametrize(("text", "size"), [("0", 0), ("0b", 0), ("1kb", 1024), ("1.5gb", 3 << 29)])
def test_sizes(text, size):
    assert parse_bytes("cache_size", text) == size


@pytest.mark.parametrize("text", ["", "mb", "-1", "1zb"])
def test_an_invalid_size_is_refused(text):
    with pytest.raises(SimulatedApiError, match="cache_size"):
        parse_bytes("cache_size", text)


@pytest.mark.parametrize("text", ["", "1.0", "x", "99999999999"])
def test_an_invalid_integer_is_refused(text):
    with pytest.raises(SimulatedApiError, match="size"):
        parse_integer("size", text)


def test_an_empty_boolean_is_true():
    assert parse_boolean("")
    assert parse_boolean("true")
    assert not parse_boolean("false")
    with pytest.raises(SimulatedApiError):
        parse_boolean("yes")


def test_unknown_parameters_are_refused_by_name():
    query = Query({"size": "1", "pretty": "", "sizes": "2", "form": "3"})
    with pytest.raises(SimulatedApiError) as refusal:
        query.require_known("/_stats", frozenset({"size"}))
    assert "unrecognized parameters: [form], [sizes]" in refusal.value.reason


def test_a_body_may_be_empty_and_numbers_may_be_strings():
    assert parse_body(b"", UpdateRequest, parser="p") == UpdateRequest()
    body = b'{"number_of_allocations": "3"}'
    assert parse_body(body, UpdateRequest, parser="p").number_of_allocations == 3


@pytest.mark.parametrize(
    ("body", "fragment"),
    [
        (b'{\n "nmber": 3}', "[2:2] [p] unknown field [nmber]"),
        (b'{"number_of_allocations": "x"}', "failed to parse field [number_of_allocations]"),
        (b'{"adaptive_allocations": {"enabled": 3}}', "failed to parse field [enabled]"),
        (b"{", "[1:1]"),
        (b"[]", "[1:1]"),
        (b"\xff", "[1:1]"),
    ],
)
def test_an_invalid_body_is_refused_with_its_location(body, fragment):
    with pytest.raises(SimulatedApiError) as refusal:
        parse_body(body, UpdateRequest, parser="p")
    assert refusal.value.status == 400
    assert refusal.value.type == "x_content_parse_exception"
    assert fragment in refusal.value.reason


def vendor(version):
    return f"application/vnd.elasticsearch+json; compatible-with={version}"


@pytest.mark.parametrize("accept", [None, "*/*", "application/json", "text/plain"])
def test_plain_json_is_always_accepted(accept):
    assert negotiate(accept, major=8) == "application/json"


def test_a_compatible_version_is_echoed():
    assert negotiate(vendor(8), major=9) == vendor(8).replace("; ", ";")
    assert negotiate(vendor(9), major=9) == vendor(9).replace("; ", ";")


@pytest.mark.parametrize(("requested", "major"), [(9, 8), (7, 9), (6, 8)])
def test_an_incompatible_version_is_refused(requested, major):
    with pytest.raises(SimulatedApiError) as refusal:
        negotiate(vendor(requested), major=major)
    assert (refusal.value.status, refusal.value.type) == (400, "media_type_header_exception")
    assert f"either version {major} or {major - 1}, but found {requested}" in refusal.value.reason


def test_only_json_is_accepted():
    check_content("application/json; charset=utf-8", major=8)
    check_content(vendor(8), major=8)
    for content_type in (None, "text/plain", "application/x-www-form-urlencoded"):
        with pytest.raises(SimulatedApiError) as refusal:
            check_content(content_type, major=8)
        assert refusal.value.status == 406


def test_structs_used_for_bodies_are_strict():
    assert msgspec.inspect.type_info(UpdateRequest).forbid_unknown_fields


@pytest.mark.parametrize(
    "raw",
    [
        b'{"number_of_allocations": 1, "number_of_allocations": 2}',
        b'{"adaptive_allocations": {"enabled": true, "enabled": false}}',
    ],
)
def test_a_key_that_is_given_twice_is_refused(raw):
    with pytest.raises(SimulatedApiError, match="Duplicate field") as caught:
        parse_body(raw, UpdateRequest, parser="update")
    assert (caught.value.status, caught.value.type) == (400, "x_content_parse_exception")


def test_only_bounds_of_adaptive_allocations_may_be_null():
    bounds = b'{"min_number_of_allocations": null, "max_number_of_allocations": null}'
    assert parse_body(b'{"adaptive_allocations": %b}' % bounds, UpdateRequest, parser="update")
    with pytest.raises(SimulatedApiError, match="enabled"):
        parse_body(b'{"adaptive_allocations": {"enabled": null}}', UpdateRequest, parser="update")
