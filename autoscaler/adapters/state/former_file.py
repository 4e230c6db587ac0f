"""The file in which earlier releases recorded stopped deployments. It is only read."""

from pathlib import Path

from autoscaler.core.state import StoppedDeployment
from autoscaler.errors import UserError
from autoscaler.files import read_regular
from autoscaler.wire.state import AnotherDocument, Damaged, UnknownVersion, decode_stopped

_RECOVERY = "start the deployments that it names by hand and remove the key state_file"


_MAX_BYTES = 16 * 2**20
"""Largest file that is read: a thousand stopped deployments on ten nodes each need 4 MiB."""


class FormerFileUnreadable(UserError):
    """The file cannot be read. Without it, the stopped deployments would not be started again."""


class FormerFile:
    """The file that the key `state_file` names."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> dict[str, StoppedDeployment]:
        """The stopped deployments, by id; an empty mapping if the file does not exist.

        Raises:
            FormerFileUnreadable: the file is damaged, of another kind or version, or not
                accessible.
        """
        try:
            content = read_regular(self._path, _MAX_BYTES)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise FormerFileUnreadable(
                f"the state file {self._path} cannot be read: {error.strerror or error}; "
                "give the autoscaler access to it"
            ) from error
        try:
            return decode_stopped(content)
        except UnknownVersion as error:
            raise FormerFileUnreadable(
                f"the state file {self._path} is {error}; use the program that wrote it, or "
                f"{_RECOVERY}"
            ) from error
        except AnotherDocument as error:
            raise FormerFileUnreadable(
                f"the state file {self._path} is {error}; check its path, restore it, or "
                f"{_RECOVERY}"
            ) from error
        except Damaged as error:
            raise FormerFileUnreadable(
                f"the state file {self._path} is damaged: {error}; restore it, or {_RECOVERY}"
            ) from error
