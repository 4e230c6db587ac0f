"""The file of the stopped deployments, with all that is needed to start them again."""

import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from autoscaler.core.state import StoppedDeployment
from autoscaler.errors import UserError
from autoscaler.ports import StateNotSaved
from autoscaler.wire.state import (
    AnotherDocument,
    Damaged,
    UnknownVersion,
    decode_stopped,
    encode_stopped,
)

_RECOVERY = "start the deployments that it names by hand and delete it"


class StateFileUnreadable(UserError):
    """The file cannot be read. Without it, the stopped deployments would not be started again."""


class StateFile:
    """Stopped deployments in a file that only its owner can read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> dict[str, StoppedDeployment]:
        """The stopped deployments, by id; an empty mapping if the file does not exist yet.

        Raises:
            StateFileUnreadable: the file is damaged, of another kind or version, or not accessible.
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
            return decode_stopped(content)
        except UnknownVersion as error:
            raise StateFileUnreadable(
                f"the state file {self._path} is {error}; use the program that wrote it, or "
                f"{_RECOVERY}"
            ) from error
        except AnotherDocument as error:
            raise StateFileUnreadable(
                f"the state file {self._path} is {error}; check its path, restore it, or "
                f"{_RECOVERY}"
            ) from error
        except Damaged as error:
            raise StateFileUnreadable(
                f"the state file {self._path} is damaged: {error}; restore it, or {_RECOVERY}"
            ) from error

    def save(self, stopped: Mapping[str, StoppedDeployment]) -> None:
        """Replace the file atomically: a reader finds the old content or the new one.

        Raises:
            StateNotSaved: the file cannot be written; its content is unchanged.
        """
        content = encode_stopped(stopped)
        try:
            _replace(self._path, content)
        except OSError as error:
            raise StateNotSaved(
                f"the state file {self._path} cannot be written: {error.strerror or error}; "
                "use a directory on a persistent disk with free space, to which the autoscaler may "
                "write"
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
    # Without it, a power failure may lose the new name, though not the content. Some file systems
    # do not support it.
    with contextlib.suppress(OSError):
        _sync(path.parent)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
