"""Indices of documents with optimistic concurrency control.

Source: elastic/elasticsearch, `InternalEngine.java` and `VersionConflictEngineException.java`. A
document has the sequence number and the primary term of its last change; a write on a condition
fails if they differ. One shard for each index; nothing can be searched.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from autoscaler.simulation.errors import SimulatedApiError


class Document(Struct, frozen=True, kw_only=True):
    source: Mapping[str, Any]
    version: int
    seq_no: int
    primary_term: int


class Condition(Struct, frozen=True):
    """The last change of the document that may be replaced."""

    seq_no: int
    primary_term: int


class DocumentIndex:
    """An index with one shard."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.documents: dict[str, Document] = {}
        self.primary_term = 1
        self._next_seq_no = 0
        self._versions: dict[str, int] = {}  # of deleted documents too

    def write(
        self,
        document_id: str,
        source: Mapping[str, Any],
        *,
        create: bool = False,
        condition: Condition | None = None,
    ) -> Document:
        """Create or replace a document.

        Raises:
            SimulatedApiError: 409: it exists, or its last change is another one.
        """
        before = self.documents.get(document_id)
        if create and before is not None:
            raise self._conflict(
                document_id, f"document already exists (current version [{before.version}])"
            )
        self._check(document_id, condition)
        written = self._next(document_id, source)
        self.documents[document_id] = written
        return written

    def delete(
        self, document_id: str, *, condition: Condition | None = None
    ) -> tuple[Document, bool]:
        """The deletion, and whether there was such a document. It is an operation in any case.

        Raises:
            SimulatedApiError: 409: its last change is another one.
        """
        self._check(document_id, condition)
        existed = self.documents.pop(document_id, None) is not None
        return self._next(document_id, {}), existed

    def _next(self, document_id: str, source: Mapping[str, Any]) -> Document:
        version = self._versions[document_id] = self._versions.get(document_id, 0) + 1
        seq_no, self._next_seq_no = self._next_seq_no, self._next_seq_no + 1
        return Document(
            source=source, version=version, seq_no=seq_no, primary_term=self.primary_term
        )

    def _check(self, document_id: str, condition: Condition | None) -> None:
        if condition is None:
            return
        found = self.documents.get(document_id)
        required = f"required seqNo [{condition.seq_no}], primary term [{condition.primary_term}]."
        if found is None:
            raise self._conflict(document_id, f"{required} but no document was found")
        if (found.seq_no, found.primary_term) != (condition.seq_no, condition.primary_term):
            raise self._conflict(
                document_id,
                f"{required} current document has seqNo [{found.seq_no}] and primary term "
                f"[{found.primary_term}]",
            )

    def _conflict(self, document_id: str, problem: str) -> SimulatedApiError:
        return SimulatedApiError(
            409,
            "version_conflict_engine_exception",
            f"[{document_id}]: version conflict, {problem}",
            metadata={"index": self.name, "shard": "0"},
        )
