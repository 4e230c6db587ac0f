"""What a response may contain at most. The size and the number of values are checked before it is
decoded, because a few kilobytes of compressed text can become gigabytes of objects. Nesting is
bounded by the decoders, which refuse what is nested more deeply than functions may be."""

from collections.abc import Iterable
from itertools import islice
from typing import Annotated, NamedTuple

from msgspec import Meta

MAX_NAME = 512
"""Characters of an id, a name or a state. Elasticsearch allows 64 for the id of a deployment
(elastic/elasticsearch, `MlStrings.java`), and more for those of inference endpoints."""

Name = Annotated[str, Meta(max_length=MAX_NAME)]

MAX_TEXT = 600
"""Characters of a reason or an error that are kept. A reason may list every node of the cluster."""

MAX_LISTED = 5
"""Names or problems that one message lists."""

_OTHER_BYTES = bytes(set(range(256)) - set(b",[{"))


class BodyBound(NamedTuple):
    """The size of a body, decompressed, and the JSON values in it."""

    max_bytes: int
    max_values: int


STATISTICS = BodyBound(64 * 2**20, 2_000_000)
"""A page of statistics. 1000 deployments on ten nodes have 6 MB and 250,000 values."""

DESCRIPTION = BodyBound(16 * 2**20, 300_000)
"""Any other response. A node or an inference endpoint has about thirty values."""

ERROR_BYTES = 2**20
"""Bytes of an error response that are read. Its reason may list every node of the cluster."""


def count_values(body: bytes) -> int:
    """No fewer than the JSON values of a body: a value follows a comma, or is the first in a list
    or an object. Characters in texts count as well."""
    return len(body.translate(None, _OTHER_BYTES)) + 1


def shortened(text: str) -> str:
    """The first characters of a text, on one line.

    >>> shortened("a  long\\nreason")
    'a long reason'
    """
    line = " ".join(text[: 8 * MAX_TEXT].split())
    return line if len(line) <= MAX_TEXT else f"{line[: MAX_TEXT - 1]}…"


def listed(texts: Iterable[str], separator: str = ", ") -> str:
    """The first of the texts, and how many others there are.

    >>> listed(["a", "b"])
    'a, b'
    >>> listed(["a", "b", "c", "d", "e", "f", "g"])
    'a, b, c, d, e and 2 more'
    """
    each = iter(texts)
    first = separator.join(map(shortened, islice(each, MAX_LISTED)))
    others = sum(1 for _ in each)
    return f"{first} and {others} more" if others else first
