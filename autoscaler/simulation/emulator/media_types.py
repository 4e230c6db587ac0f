"""The media type of a response, and the check of the media type of a request.

Since 8.0 a client may request the format of an older version: `application/vnd.elasticsearch+json;
compatible-with=N`, where N is the server's major version or the one before. Source:
elastic/elasticsearch, `RestRequest.java` and `RestCompatibleVersionHelper.java`.
"""

import re

from autoscaler.simulation.errors import SimulatedApiError

PLAIN = "application/json"

_VENDOR = re.compile(
    r"application/vnd\.elasticsearch\+(?:x-nd)?json\s*(?:;\s*compatible-with\s*=\s*(\d{1,4}))?",
    re.IGNORECASE,
)


def negotiate(accept: str | None, *, major: int) -> str:
    """The media type of the response.

    Raises:
        SimulatedApiError: 400: the major version of the client is newer, or too old.
    """
    for accepted in (part.strip() for part in (accept or "*/*").split(",")):
        if found := _VENDOR.match(accepted):
            version = int(found[1] or major)
            _require_compatible("Accept", version, accepted, major)
            return f"application/vnd.elasticsearch+json;compatible-with={version}"
    return PLAIN


def check_content(content_type: str | None, *, major: int) -> None:
    """Refuse a body that is not JSON.

    Raises:
        SimulatedApiError: 406: not JSON; 400: an unsupported version.
    """
    if not content_type:
        raise SimulatedApiError(
            406, "media_type_header_exception", "Content-Type header is missing"
        )
    if found := _VENDOR.match(content_type):
        _require_compatible("Content-Type", int(found[1] or major), content_type, major)
    elif content_type.partition(";")[0].strip().lower() not in (PLAIN, "application/x-ndjson"):
        reason = f"Content-Type header [{content_type}] is not supported"
        raise SimulatedApiError(406, "media_type_header_exception", reason)


def _require_compatible(header: str, version: int, value: str, major: int) -> None:
    if version not in (major, major - 1):
        raise SimulatedApiError(
            400,
            "media_type_header_exception",
            f"{header} version must be either version {major} or {major - 1}, "
            f"but found {version}. {header}={value}",
        )
