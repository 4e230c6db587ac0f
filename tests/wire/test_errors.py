"""The error envelope, as Elasticsearch and intermediaries write it."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.wire.bounds import MAX_TEXT
from autoscaler.wire.errors import ErrorResponse, parse_error, render_error

PLAIN = st.text(alphabet=st.characters(codec="ascii", categories=("L", "N", "P")), max_size=100)


def test_the_complete_form():
    body = render_error(
        429,
        "status_exception",
        "no ML nodes",
        metadata={"resource.id": "elser", "resource.type": "deployment"},
        caused_by=("illegal_state_exception", "n1: full"),
    )
    assert msgspec.json.decode(body) == {
        "error": {
            "root_cause": [
                {
                    "type": "status_exception",
                    "reason": "no ML nodes",
                    "resource.id": "elser",
                    "resource.type": "deployment",
                }
            ],
            "type": "status_exception",
            "reason": "no ML nodes",
            "resource.id": "elser",
            "resource.type": "deployment",
            "caused_by": {"type": "illegal_state_exception", "reason": "n1: full"},
        },
        "status": 429,
    }
    assert parse_error(429, body) == ErrorResponse(
        status=429,
        type="status_exception",
        reason="no ML nodes",
        causes="n1: full",
        enveloped=True,
    )


def test_every_cause_is_kept_once_at_any_depth():
    deepest = {"type": "c", "reason": "the disk is full", "caused_by": "a text"}
    cause = {"type": "b", "reason": "not saved", "caused_by": deepest}
    error = {
        "root_cause": [{"type": "c", "reason": "the disk is full"}, "a text", {"reason": "late"}],
        "type": "a",
        "reason": "it failed",
        "caused_by": {"reason": "it failed", "caused_by": cause},
    }
    body = msgspec.json.encode({"error": error, "status": 500})
    assert parse_error(500, body).causes == "not saved; the disk is full; late"


@settings(deadline=None, derandomize=True)
@given(status=st.integers(400, 599), kind=PLAIN, reason=PLAIN)
def test_a_rendered_envelope_can_be_read(status, kind, reason):
    found = parse_error(status, render_error(status, kind, reason))
    assert (found.status, found.type, found.reason) == (status, kind, reason)


@pytest.mark.parametrize(
    ("body", "reason", "enveloped"),
    [
        (b'{"error":"Incorrect HTTP method","status":405}', "Incorrect HTTP method", True),
        (b"<html>\n  <h1>Bad\tGateway</h1></html>", "<html> <h1>Bad Gateway</h1></html>", False),
        (b"", "", False),
        (b"\xff\xfe", "\ufffd\ufffd", False),
        (b'{"message":"no route"}', '{"message":"no route"}', False),
        (b"[1]", "[1]", False),
        (b'{"error":7}', '{"error":7}', False),
        (b'{"error":{}}', "", True),
        (b'{"error":{"type":7,"reason":null,"caused_by":[]}}', "", True),
        (b"{}", "{}", False),
    ],
)
def test_other_forms(body, reason, enveloped):
    found = parse_error(500, body)
    assert (found.reason, found.enveloped) == (reason, enveloped)


@settings(deadline=None, derandomize=True)
@given(st.binary(max_size=200))
def test_any_body_can_be_read(body):
    assert parse_error(502, body).status == 502


def test_long_reasons_and_deep_nesting_are_bounded():
    found = parse_error(500, b"x" * 100_000)
    assert len(found.reason) == MAX_TEXT
    assert not parse_error(500, b'{"error":' * 100_000).enveloped
