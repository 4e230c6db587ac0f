"""Documents of an index: `GET`, `PUT {index}/_doc/{id}` and `PUT {index}/_create/{id}`; several of
them with `POST {index}/_mget` and `POST {index}/_bulk`.

Source: elastic/elasticsearch-specification, `_global/get/GetResponse.ts`, `_types/Base.ts`
(`WriteResponseBase`), `_global/mget/types.ts` and `_global/bulk/types.ts`.
"""

from typing import Any

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


class FoundOfMany(Struct, kw_only=True):
    """One of several documents that were read: one that exists, one that does not, or an error."""

    id: str = field(name="_id")
    found: bool = False
    seq_no: int = field(name="_seq_no", default=-1)
    primary_term: int = field(name="_primary_term", default=0)
    source: Raw = field(name="_source", default=Raw(b"{}"))
    error: dict[str, Any] | None = None


class FoundDocuments(Struct, kw_only=True):
    docs: list[FoundOfMany]


class WrittenOfMany(Struct, kw_only=True):
    """One of several documents that were to be written or deleted."""

    status: int
    id: str = field(name="_id")
    seq_no: int = field(name="_seq_no", default=-1)
    primary_term: int = field(name="_primary_term", default=0)
    error: dict[str, Any] | None = None


class WrittenDocuments(Struct, kw_only=True):
    items: list[dict[str, WrittenOfMany]]  # each with the operation as its only key
