"""Files that a user names, such as the configuration and secrets: regular ones of bounded size. And
files of this program in directories that a user names.

A path may name a FIFO, whose reader waits for ever, a device, which never ends, or a file that was
named by mistake. Others may have put a link into a directory that leads to a file of the user.
"""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


class FileTooLarge(OSError):
    """It has more bytes than any file of its kind."""


def real_path(path: Path) -> Path:
    """Where a path leads, through all links. The file itself need not exist.

    Raises:
        OSError: the links lead in a circle, or a folder cannot be read.
    """
    try:
        return path.resolve(strict=True)
    except FileNotFoundError:
        return path.resolve()
    except RuntimeError as error:  # of pathlib before Python 3.13
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path)) from error


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading. Symbolic links are followed.

    Raises:
        OSError: there is none, it cannot be read, or it is no regular file. `strerror` says which.
    """
    # Without O_NONBLOCK, opening a FIFO waits for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        _ensure_regular(descriptor, path)
        return open(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def open_own(path: Path) -> int:
    """Open a file of this program for reading and writing, or create it. Links are not followed.

    Returns:
        The descriptor.

    Raises:
        OSError: it cannot be opened, or something else is in its place. `strerror` says which.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        if error.errno == errno.ELOOP and path.is_symlink():
            raise OSError(
                errno.ELOOP, f"{path.name} is a link, not a regular file", str(path)
            ) from error
        raise
    try:
        _ensure_regular(descriptor, path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_regular(path: Path, max_bytes: int) -> bytes:
    """The content of a regular file.

    Raises:
        FileTooLarge: it has more than `max_bytes` bytes.
        OSError: as `open_regular`.
    """
    with open_regular(path) as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise FileTooLarge(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return content


def _ensure_regular(descriptor: int, path: Path) -> None:
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        kind = "a FIFO" if stat.S_ISFIFO(mode) else "a device"
        raise OSError(errno.EINVAL, f"it is {kind}, not a regular file", str(path))
