"""Standard input, output and error, whatever they are: closed, full, or of another encoding."""

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

OUTPUT_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})
"""What a write to a disk or a terminal fails with. What else a command writes reports its errors
itself."""


def prepare_streams() -> None:
    """Make each stream one that can be written.

    The number of a closed one would be that of the next connection. A character that an encoding
    lacks becomes an escape sequence of Python.
    """
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def output_errors_reported() -> Iterator[None]:
    """Print one sentence, and exit with 1, if the output cannot be written."""
    try:
        yield
    except OSError as error:
        if error.errno not in OUTPUT_ERRORS:
            raise
        reason = os.strerror(error.errno)
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - the interpreter would try it again
        try:
            sys.stderr.write(f"autoscaler: the output cannot be written: {reason}\n")
            sys.stderr.flush()
        except OSError:
            sys.stderr = open(os.devnull, "w")  # noqa: SIM115
        sys.exit(1)
