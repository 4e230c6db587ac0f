"""The error envelope: the body of an Elasticsearch response other than a 2xx.

    {"error": {"root_cause": [...], "type": ..., "reason": ..., "caused_by": ...}, "status": 409}

Source: elastic/elasticsearch, `ElasticsearchException.java` and `BytesRestResponse.java`. Early
failures have a plain text for `error`, and intermediaries (a proxy, a cloud front end) use other
formats, so reading is tolerant. Rendering produces the complete form.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from autoscaler.wire.bounds import shortened

MAX_CAUSES = 8
"""Causes of a cause, and root causes, that are read."""


class ErrorResponse(Struct, frozen=True, kw_only=True):
    """A response that is not a 2xx, as far as it could be read."""

    status: int
    type: str = ""  # "" where the error is a plain text, or there is none
    reason: str = ""
    causes: str = ""  # the reasons of its causes, where they add information
    enveloped: bool = False  # the body has the form above, or a plain text for `error`


def parse_error(status: int, body: bytes) -> ErrorResponse:
    """Read a body. Never fails: a body that is not an envelope becomes the reason."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ErrorResponse(status=status, reason=shortened(body.decode(errors="replace")))
    error = document.get("error") if isinstance(document, dict) else None
    if isinstance(error, str):
        return ErrorResponse(status=status, reason=shortened(error), enveloped=True)
    if not isinstance(error, dict):
        return ErrorResponse(status=status, reason=shortened(body.decode(errors="replace")))
    return ErrorResponse(
        status=status,
        type=shortened(_text(error.get("type"))),
        reason=shortened(_text(error.get("reason"))),
        causes=shortened("; ".join(_causes(error))),
        enveloped=True,
    )


def _causes(error: Mapping[str, Any]) -> list[str]:
    """The reasons of the causes, outermost first, and of the root causes, each once."""
    found = [_text(error.get("reason"))]
    roots = error.get("root_cause")
    chains = [error, *(roots if isinstance(roots, list) else [])]
    for chain in chains[:MAX_CAUSES]:
        cause = chain
        for _ in range(MAX_CAUSES):
            if not isinstance(cause, dict):
                break
            if (reason := _text(cause.get("reason"))) and reason not in found:
                found.append(reason)
            cause = cause.get("caused_by")
    return found[1:]


def render_error(
    status: int,
    type_: str,
    reason: str,
    *,
    metadata: Mapping[str, object] | None = None,
    caused_by: tuple[str, str] | None = None,
) -> bytes:
    """The envelope as Elasticsearch writes it. `caused_by` is (type, reason)."""
    error: dict[str, object] = {"type": type_, "reason": reason, **(metadata or {})}
    document: dict[str, object] = {"root_cause": [dict(error)], **error}
    if caused_by is not None:
        document["caused_by"] = {"type": caused_by[0], "reason": caused_by[1]}
    return msgspec.json.encode({"error": document, "status": status})


def _text(value: object) -> str:
    """The value as text; "" for what no text can be made of without walking through it."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) else ""
