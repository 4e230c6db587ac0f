"""Single documents of an index: `GET`, `PUT {index}/_doc/{id}` and `PUT {index}/_create/{id}`.

Source: elastic/elasticsearch-specification, `_global/get/GetResponse.ts` and
`_types/Base.ts` (`WriteResponseBase`).
"""

from msgspec import Raw, Struct, field


class FoundDocument(Struct, kw_only=True):
    """The response of a read that has found the document."""

    found: bool
    seq_no: int = field(name="_seq_no")
    primary_term: int = field(name="_primary_term")
    source: Raw = field(name="_source")


class WrittenDocument(Struct, kw_only=True):
    """The response of an accepted write."""

    result: str  # created or updated
    seq_no: int = field(name="_seq_no")
    primary_term: int = field(name="_primary_term")


class MissingDocument(Struct, kw_only=True):
    """The 404 of a read in an index without the document."""

    found: bool
    id: str = field(name="_id")
