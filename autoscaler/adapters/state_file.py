"""A file that says which deployments were stopped, and how to start them again."""

import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from autoscaler.core.state import StoppedDeployment
from autoscaler.errors import UserError
from autoscaler.ports import StateNotSaved

_FORMAT = 1
_RECOVERY = "start by hand the deployments that it names and delete it"


class StateFileUnreadable(UserError):
    """The file cannot be understood. To go on without it would be to forget who sleeps."""


class _StateDocument(Struct, frozen=True, kw_only=True):
    version: int
    stopped: dict[str, StoppedDeployment]  # by deployment id


class _Header(Struct, frozen=True):
    version: int


class StateFile:
    """Sleeping deployments in a JSON file, readable by its owner alone."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> dict[str, StoppedDeployment]:
        """What was kept last; nothing if there is no such file yet.

        Raises:
            BedsideUnreadable: the file is damaged, of another version, or not to be read.
        """
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise StateFileUnreadable(
                f"the state file {self._path} cannot be read: {error.strerror or error}; "
                "give the autoscaler access to it"
            ) from error
        try:
            version = msgspec.json.decode(content, type=_Header).version
            if version != _FORMAT:
                raise StateFileUnreadable(
                    f"the state file {self._path} is of version {version}, and this program reads "
                    f"version {_FORMAT}; use the program that wrote it, or {_RECOVERY}"
                )
            return msgspec.json.decode(content, type=_StateDocument).stopped
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise StateFileUnreadable(
                f"the state file {self._path} is damaged: {error}; restore it, or {_RECOVERY}"
            ) from error

    def save(self, stopped: Mapping[str, StoppedDeployment]) -> None:
        """Replace the file; whoever reads it meanwhile finds the old one or the new one.

        Raises:
            StateNotSaved: it cannot be written, and is as it was.
        """
        content = msgspec.json.encode(_StateDocument(version=_FORMAT, stopped=dict(stopped)))
        try:
            _replace(self._path, content)
        except OSError as error:
            raise StateNotSaved(
                f"the state file {self._path} cannot be written: {error.strerror or error}; "
                "give the autoscaler a directory on a disk that stays, with room in it"
            ) from error


def _replace(path: Path, content: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    # Or else the name may be lost with the power, though the content is not. Not every file system
    # can do that.
    with contextlib.suppress(OSError):
        _sync(path.parent)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
