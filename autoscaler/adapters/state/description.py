"""Where the state is, and how large, without taking it."""

import os
from pathlib import Path

import msgspec

from autoscaler.adapters.state.former_file import FormerFileUnreadable
from autoscaler.adapters.state.reading import problem_of
from autoscaler.adapters.state.restore import DEPLOYMENTS, STOPPED, stopped_problem
from autoscaler.adapters.state.stopped_copy import FILE_NAME, recorded_stopped
from autoscaler.core.state import StoppedDeployment
from autoscaler.ports import DocumentStore, DocumentsUnavailable
from autoscaler.wire.state import AnotherDocument, Damaged, UnknownVersion, decode_stopped

_MIN_FREE_BYTES = 64 * 1024
"""Free space below which a disk is full for the state. 64 kB: a few pages of the database."""


def described(directory: Path | None) -> str:
    """A few words, also while another process has the state.

    Args:
        directory: the state directory; None: the state is not saved.
    """
    if directory is None:
        return "not saved"
    path = directory / FILE_NAME
    problem = ""
    try:
        size = f"{path.stat().st_size / 1e6:.1f} MB"
        problem = problem_of(path)
    except FileNotFoundError:
        size = "not written yet"
    except OSError as error:
        size = f"not accessible: {error.strerror or error}"
    existing = directory
    while not os.path.exists(existing) and existing != existing.parent:
        existing = existing.parent
    if not os.access(existing, os.W_OK | os.X_OK):
        size += f"; the directory {existing} is not writable"
    elif _is_full(existing):
        size += "; its disk is full, so that it may not be saved"
    if problem:
        size += f"; {problem.replace(f'{path} ', 'it ', 1)}"
    return f"{path}, {size}"


def _is_full(directory: Path) -> bool:
    """Whether a disk has too little space for a write; False where it does not say."""
    try:
        found = os.statvfs(directory)
    except OSError:
        return False
    return found.f_blocks > 0 and found.f_bavail * found.f_frsize < _MIN_FREE_BYTES


async def described_documents(documents: DocumentStore) -> str:
    """The same for a state in documents."""
    try:
        read = await documents.read([DEPLOYMENTS, STOPPED])
    except DocumentsUnavailable as error:
        return f"{documents.place}, which cannot be read: {error}"
    for each in read.values():
        if each.problem:
            return f"{documents.place}; its document {each.problem}"
    stopped, found = read.get(STOPPED), read.get(DEPLOYMENTS)
    try:
        if stopped is not None:
            decode_stopped(stopped.content)
    except (AnotherDocument, Damaged, UnknownVersion) as error:
        return f"{documents.place}; {stopped_problem(error)}"
    if found is None:
        return f"{documents.place}, not written yet"
    try:
        count = len(msgspec.msgpack.decode(found.content, type=list[str]))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return f"{documents.place}, damaged: {error}"
    deployments = f"{count} deployment{'' if count == 1 else 's'}"
    return f"{documents.place}, {deployments}, last written by {found.writer or 'another program'}"


_UNREADABLE = (FormerFileUnreadable, UnknownVersion, AnotherDocument, Damaged, OSError)


def readable_stopped(directory: Path, former: Path | None) -> dict[str, StoppedDeployment]:
    """The stopped deployments, by id; none if their record cannot be read, which the daemon reports
    at its start.

    Args:
        former: the file of an earlier release, for a directory that has no record yet.
    """
    try:
        return recorded_stopped(directory, former)
    except _UNREADABLE:
        return {}


async def readable_stopped_documents(documents: DocumentStore) -> dict[str, StoppedDeployment]:
    """The same for a state in documents."""
    try:
        found = (await documents.read([STOPPED])).get(STOPPED)
        return {} if found is None or found.problem else decode_stopped(found.content)
    except (DocumentsUnavailable, *_UNREADABLE):
        return {}
