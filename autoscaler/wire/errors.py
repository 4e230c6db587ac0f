"""The error envelope: what Elasticsearch answers instead of a 2xx.

    {"error": {"root_cause": [...], "type": ..., "reason": ..., "caused_by": ...}, "status": 409}

Source: elastic/elasticsearch, `ElasticsearchException.java` and `BytesRestResponse.java`. Early
failures have a plain text for `error`, and what stands between client and server (a proxy, a cloud
front end) answers whatever it likes, so reading is tolerant; writing gives the complete form.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

MAX_REASON = 600  # characters kept: a reason may list every node of the cluster
_MAX_CAUSES = 10  # links of `caused_by` followed


class Cause(Struct, frozen=True):
    type: str = ""
    reason: str = ""


class ErrorResponse(Struct, frozen=True, kw_only=True):
    """An answer that is not a 2xx, read as far as it could be."""

    status: int
    type: str = ""  # "" where the error is a plain text, or there is none
    reason: str = ""
    causes: tuple[Cause, ...] = ()  # `caused_by`, outermost first
    metadata: Mapping[str, str] = {}  # such as resource.id, license.expired.feature
    enveloped: bool = False  # whether it has the form above, if only with a plain text


def parse_error(status: int, body: bytes) -> ErrorResponse:
    """Read what came with `status`. Never fails: what is no envelope becomes the reason."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ErrorResponse(status=status, reason=_shortened(body.decode(errors="replace")))
    error = document.get("error") if isinstance(document, dict) else None
    if isinstance(error, str):
        return ErrorResponse(status=status, reason=_shortened(error), enveloped=True)
    if not isinstance(error, dict):
        return ErrorResponse(status=status, reason=_shortened(body.decode(errors="replace")))
    return ErrorResponse(
        status=status,
        type=_text(error.get("type")),
        reason=_shortened(_text(error.get("reason"))),
        causes=_causes(error),
        metadata={
            key: _text(value)
            for key, value in error.items()
            if isinstance(key, str) and "." in key and value is not None
        },
        enveloped=True,
    )


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


def _causes(error: dict[str, Any]) -> tuple[Cause, ...]:
    found: list[Cause] = []
    cause = error.get("caused_by")
    while isinstance(cause, dict) and len(found) < _MAX_CAUSES:
        found.append(Cause(_text(cause.get("type")), _shortened(_text(cause.get("reason")))))
        cause = cause.get("caused_by")
    return tuple(found)


def _text(value: object) -> str:
    """A text as it is; a list of them, as `resource.id` may be, joined by commas."""
    if isinstance(value, list):
        return ",".join(_text(item) for item in value)
    return value if isinstance(value, str) else "" if value is None else str(value)


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MAX_REASON else f"{line[: MAX_REASON - 1]}…"
