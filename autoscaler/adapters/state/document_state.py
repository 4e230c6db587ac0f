"""The port `StateStore` in documents that all instances can reach, for replicas without a shared
disk.

Each deployment is a document, as it is a row of the database. Each document is written on the
condition that it is as this instance has read or written it. If it is not, another instance has
written since, and this one gives the store up until it has read it again.
"""

import asyncio
import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping

import msgspec
import structlog
from msgspec.structs import replace

from autoscaler.adapters.state.database import Contents
from autoscaler.adapters.state.restore import (
    CLUSTER,
    DEPLOYMENTS,
    INSTRUCTIONS,
    SHARED,
    STOPPED,
    ensure_known,
    opened_text,
    restored,
)
from autoscaler.core.instructions import Instructions
from autoscaler.core.policies import AnyPolicy
from autoscaler.core.state import DeploymentState, State, StoppedDeployment
from autoscaler.ports import (
    Clock,
    DocumentsNotSent,
    DocumentStore,
    DocumentsUnavailable,
    DocumentWrite,
    StateNotSaved,
    StateUnavailable,
)
from autoscaler.wire.bounds import shortened
from autoscaler.wire.instruction_document import encode_instructions
from autoscaler.wire.state import encode_state, encode_stopped

MAX_WRITING_FRACTION = 0.1
"""Maximum fraction of the time in which checkpoints are written. 0.1, as that of the database."""

MAX_BYTES_PER_S = 200_000
"""Content of checkpoints that is written in a second, on average. Half of it is sent, because it is
compressed: what a small log produces, since the cluster has other things to do. A thousand
deployments are saved every twenty seconds then."""

BATCH = 50
"""Documents that one request reads or writes at most."""

MAX_BATCH_BYTES = 1_000_000
"""Content that one request writes at most, unless one document alone has more."""

SAVE_TIMEOUT_S = 5.0
"""Seconds to wait for the cluster before an update is sent without its record, and before a stop is
withheld. 5 s, as for a disk."""


_SECOND_WRITER = "; if both run without a lease, stop one of them, or set leadership.lease for both"


class DocumentStateStore:
    """A StateStore in documents.

    Args:
        writer: the name of this instance, with which it writes.
    """

    def __init__(
        self,
        documents: DocumentStore,
        clock: Clock,
        log: structlog.stdlib.BoundLogger,
        *,
        writer: str,
    ) -> None:
        self._documents = documents
        self._clock = clock
        self._log = log
        self._writer = writer
        self._versions: dict[str, str] = {}  # of the documents as they are stored, by name
        self._hashes: dict[str, int] = {}  # of the same
        self._left_alone: frozenset[str] = frozenset()  # names of documents of others
        self._deployments: frozenset[str] = frozenset()  # of which there are documents
        self._cluster = b""
        self._is_open = False
        self._problem = ""  # why nothing is saved at present
        self._newest: State | None = None  # to be written as soon as the last one is
        self._saves = 0  # before updates; a checkpoint from before one of them is abandoned
        self._writing: asyncio.Task[None] | None = None
        self._in_turn = asyncio.Lock()  # one write at a time

    @property
    def is_open(self) -> bool:
        return self._is_open

    @property
    def problem(self) -> str:
        return self._problem

    async def open(self, policies: Iterable[AnyPolicy]) -> State:
        """See `StateStore`."""
        self._problem, self._newest = "", None
        self._versions, self._hashes = {}, {}
        self._left_alone = self._deployments = frozenset()
        try:
            contents = await self._read_all()
        except DocumentsUnavailable as error:
            self._problem = f"the state in {self._documents.place} cannot be read: {error}"
            raise StateUnavailable(self._problem) from error
        found = restored(contents, policies, self._clock.now())
        for message in found.messages:
            self._log.warning("state.not_restored", message=message)
        self._is_open, self._problem = True, ""
        size_bytes = sum(map(len, (*contents.documents.values(), *contents.deployments.values())))
        self._log.info(
            "state.opened", message=opened_text(self._documents.place, size_bytes, found)
        )
        if self._cluster or SHARED in contents.documents:
            return found.state
        return replace(found.state, is_first_start=True)

    async def bind(self, cluster_uuid: str) -> str:
        """See `StateStore`. The documents of another cluster are copies, for example from a
        snapshot, so they are replaced."""
        cluster = cluster_uuid.encode()
        before, self._cluster = self._cluster, cluster
        if before in (b"", cluster):
            return ""
        other = shortened(before.decode(errors="replace"))
        return (
            f"the state in {self._documents.place} is of another cluster, {other}, and is not used"
        )

    async def save_stopped(self, stopped: Mapping[str, StoppedDeployment]) -> None:
        """See `StateStore`."""
        await self._save(STOPPED, encode_stopped(stopped))

    async def save_instructions(self, instructions: Instructions) -> None:
        """See `StateStore`."""
        await self._save(INSTRUCTIONS, encode_instructions(instructions))

    async def save_before_updates(self, state: State, deployment_ids: Collection[str]) -> None:
        """See `StateStore`."""
        if not self._is_open:
            return
        self._newest = None  # an older state
        self._saves += 1
        some = {name: known for name, known in state.deployments.items() if name in deployment_ids}
        try:
            async with asyncio.timeout(SAVE_TIMEOUT_S), self._in_turn:
                for batch in self._batches(some):
                    await self._write(batch)
                await self._write_shared(state, self._deployments | some.keys())
        except DocumentsNotSent:
            pass  # neither are the updates
        except (TimeoutError, DocumentsUnavailable) as error:
            self._report(self._text(error))

    def checkpoint(self, state: State) -> None:
        """See `StateStore`."""
        if not self._is_open:
            return
        self._newest = state
        if self._writing is None or self._writing.done():
            self._writing = asyncio.ensure_future(self._write_checkpoints())

    async def close(self) -> None:
        """See `StateStore`."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)
            self._writing = None
        state, self._newest = self._newest, None
        if state is not None and self._is_open:
            with contextlib.suppress(TimeoutError, DocumentsUnavailable):
                async with asyncio.timeout(SAVE_TIMEOUT_S):
                    await self._write_checkpoint(state)
        self._is_open = False

    async def _save(self, name: str, content: bytes) -> None:
        """
        Raises:
            StateNotSaved: it was not written, or may not have been.
        """
        try:
            async with asyncio.timeout(SAVE_TIMEOUT_S), self._in_turn:
                if name in self._left_alone:
                    raise DocumentsUnavailable(self._problem)
                await self._write({name: content})
        except (TimeoutError, DocumentsUnavailable) as error:
            raise StateNotSaved(self._text(error)) from error

    async def _read_all(self) -> Contents:
        """
        Raises:
            DocumentsUnavailable: they cannot be read, or must be left alone.
        """
        documents = await self._read([SHARED, STOPPED, CLUSTER, DEPLOYMENTS, INSTRUCTIONS])
        if self._left_alone:
            raise DocumentsUnavailable(self._problem)
        ensure_known(documents)
        self._cluster = documents.pop(CLUSTER, b"")
        try:
            names = msgspec.msgpack.decode(documents.pop(DEPLOYMENTS, b"\x90"), type=list[str])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise DocumentsUnavailable(f"the list of deployments is damaged: {error}") from error
        self._deployments = frozenset(names)
        deployments = {}
        for first in range(0, len(names), BATCH):
            some = {_document_of(name): name for name in names[first : first + BATCH]}
            found = await self._read(some)
            deployments.update({some[document]: content for document, content in found.items()})
        return Contents(documents, deployments)

    async def _read(self, names: Collection[str]) -> dict[str, bytes]:
        """The contents, by name. Those of others are left out, and left alone from now on."""
        found = await self._documents.read(names)
        left_alone = {name: each.problem for name, each in found.items() if each.problem}
        if left_alone:
            self._left_alone |= left_alone.keys()
            problem = next(iter(left_alone.values()))
            self._problem = f"{problem}; delete it, or use another index"
            self._log.warning(
                "state.not_restored", message=f"{self._documents.place}: {self._problem}"
            )
        contents = {name: each.content for name, each in found.items() if not each.problem}
        self._versions.update({name: found[name].version for name in contents})
        self._hashes.update({name: hash(content) for name, content in contents.items()})
        return contents

    async def _write_checkpoints(self) -> None:
        while (state := self._newest) is not None and self._is_open:
            self._newest = None
            began_at = self._clock.now()
            try:
                size_bytes = await self._write_checkpoint(state)
            except DocumentsNotSent:
                size_bytes = 0  # the next leader saves its own
            except DocumentsUnavailable as error:
                self._report(self._text(error))
                size_bytes = 0
            except asyncio.CancelledError:
                self._newest = self._newest or state
                raise
            took_s = self._clock.now() - began_at
            rest_s = took_s * (1.0 / MAX_WRITING_FRACTION - 1.0)
            await self._clock.sleep(max(rest_s, size_bytes / MAX_BYTES_PER_S))
        self._writing = None

    async def _write_checkpoint(self, state: State) -> int:
        """
        Returns:
            The bytes that were written.

        Raises:
            DocumentsUnavailable: not everything was.
        """
        saves, size_bytes = self._saves, 0
        for batch in self._batches(state.deployments):
            async with self._in_turn:
                if saves != self._saves:
                    return size_bytes
                size_bytes += await self._write(batch)
        async with self._in_turn:
            if saves != self._saves:
                return size_bytes
            removed = self._deployments - state.deployments.keys()
            size_bytes += await self._write_shared(state, frozenset(state.deployments))
            for first in range(0, len(removed), BATCH):
                some = sorted(removed)[first : first + BATCH]
                await self._write({_document_of(name): None for name in some})
        self._report("")
        return size_bytes

    async def _write_shared(self, state: State, deployments: frozenset[str]) -> int:
        """Write what all deployments share, after those that it mentions."""
        content = {
            CLUSTER: self._cluster,
            DEPLOYMENTS: msgspec.msgpack.encode(sorted(deployments)),
            SHARED: encode_state(replace(state, deployments={}, stopped={})).content,
        }
        size_bytes = await self._write(content)
        self._deployments = deployments
        return size_bytes

    def _batches(
        self, deployments: Mapping[str, DeploymentState]
    ) -> Iterator[dict[str, bytes | None]]:
        """Documents of deployments that have changed. Encoded as they are needed."""
        batch: dict[str, bytes | None] = {}
        size_bytes = 0
        for name, known in deployments.items():
            content = encode_state(State(deployments={name: known})).content
            batch[_document_of(name)] = content
            size_bytes += len(content)
            if len(batch) >= BATCH or size_bytes >= MAX_BATCH_BYTES:
                yield batch
                batch, size_bytes = {}, 0
        if batch:
            yield batch

    async def _write(self, contents: Mapping[str, bytes | None]) -> int:
        """Write what has changed.

        Args:
            contents: by name; None: the document is deleted.

        Returns:
            The bytes that were written.

        Raises:
            DocumentsUnavailable: it was not written, or not all of it.
        """
        if not self._is_open:
            raise DocumentsUnavailable(self._problem or "it has not been read yet")
        changed = {
            name: content
            for name, content in contents.items()
            if name not in self._left_alone
            and (self._hashes.get(name) != hash(content) or name not in self._versions)
            and (content is not None or name in self._versions)
        }
        if not changed:
            return 0
        missed = await self._attempt(changed)
        if missed:
            await self._confirm_own(missed)
            if missed := await self._attempt({name: changed[name] for name in missed}):
                raise DocumentsUnavailable(f"{', '.join(missed)} changes again and again")
        return sum(len(content) for content in changed.values() if content is not None)

    async def _attempt(self, contents: Mapping[str, bytes | None]) -> tuple[str, ...]:
        """Write, and return the names of documents that are not as they were."""
        writes = [
            DocumentWrite(name, content, self._versions.get(name))
            for name, content in contents.items()
        ]
        result = await self._documents.write(writes)
        for name, version in result.versions.items():
            if contents[name] is None:
                self._versions.pop(name, None)
                self._hashes.pop(name, None)
            else:
                self._versions[name], self._hashes[name] = version, hash(contents[name])
        if result.problem:
            raise DocumentsUnavailable(result.problem)
        return result.changed

    async def _confirm_own(self, names: Collection[str]) -> None:
        """Read documents that are not as they were, because a response was lost.

        Raises:
            DocumentsUnavailable: another writer has changed them.
        """
        found = await self._documents.read(names)
        for name in names:
            if name not in found and name in self._versions:
                self._give_up(f"{name} was deleted")
            if name in found and found[name].writer != self._writer:
                other = found[name].writer or "another program"
                self._give_up(f"{other} has written {name}, too", _SECOND_WRITER)
            if name in found:
                self._versions[name] = found[name].version
            self._hashes.pop(name, None)

    def _give_up(self, because: str, advice: str = "") -> None:
        self._is_open = False
        raise DocumentsUnavailable(f"{because}, so that it is read again first{advice}")

    def _report(self, problem: str) -> None:
        """Log a problem once, and its end."""
        if problem and not self._problem:
            self._log.error("state.not_saved", message=problem)
        elif self._problem and not problem:
            message = f"the state is saved in {self._documents.place} again"
            self._log.info("state.saved", message=message)
        self._problem = problem

    def _text(self, error: BaseException) -> str:
        if isinstance(error, TimeoutError):
            error = TimeoutError(f"no response within {SAVE_TIMEOUT_S:g} s")
        return f"the state in {self._documents.place} cannot be written: {error}"


def _document_of(deployment_id: str) -> str:
    return f"deployment:{deployment_id}"
