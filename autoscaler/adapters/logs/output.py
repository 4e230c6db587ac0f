"""The stream of log lines, written by a thread of its own, so that no reader can stop the program.

A pipe whose reader has stopped reading accepts 64 KiB, and then blocks its writer for ever.
"""

import os
import select
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from types import TracebackType
from typing import Self, TextIO, cast

from autoscaler.text import printable_lines

MAX_QUEUED_BYTES = 4 << 20
"""Bytes of lines that may wait to be written; further ones are dropped. 4 MiB: the lines of the
first cycle with 5,000 deployments."""

CLOSE_TIMEOUT_S = 1.0
"""Seconds that the end of the program waits for queued lines to be written. 1 s, because whatever
stops it waits for it."""

_CHUNK = 1 << 16
_RETRY_S = 1.0  # between attempts to write to a descriptor that does not block and is full


class QueuedStream:
    """A text stream that never blocks and never fails. Lines that it cannot take are dropped.

    A context manager: at the end of the block, queued lines are written, for a second at most.

    Args:
        descriptor: of a file, a pipe or a terminal. It stays open.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._changed = threading.Condition()
        self._closed = False
        self.dropped = 0
        # A daemon thread, which cannot keep the process alive while it is blocked.
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    @classmethod
    def of_standard_error(cls) -> Self:
        """A stream to standard error; to nowhere if that is closed, since its number may be that of
        another file then."""
        return cls(2 if sys.stderr is not None else os.open(os.devnull, os.O_WRONLY))

    @contextmanager
    def as_standard_error(self) -> Iterator[None]:
        """What the interpreter and libraries write to `sys.stderr` by themselves, such as an
        exception in a destructor, goes to this stream until the end of the block."""
        with redirect_stderr(cast("TextIO", _Printable(self))):
            yield

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, text: str) -> int:
        """Queue a line, or drop it."""
        line = text.encode(errors="backslashreplace")
        with self._changed:
            if self._closed or self._queued_bytes + len(line) > MAX_QUEUED_BYTES:
                self.dropped += 1
            else:
                self._queue.append(line)
                self._queued_bytes += len(line)
                self._changed.notify()
        return len(text)

    def flush(self) -> None:
        """Nothing: the thread writes as soon as it can."""

    def close(self) -> None:
        """Write what is queued, for `CLOSE_TIMEOUT_S` at most, and drop all further lines."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(CLOSE_TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self) -> None:
        while lines := self._next():
            if not self._written(b"".join(lines)):
                with self._changed:
                    self.dropped += len(lines)

    def _next(self) -> list[bytes]:
        """The next lines, as soon as there are any; none at the end."""
        with self._changed:
            while not self._queue and not self._closed:
                self._changed.wait()
            lines: list[bytes] = []
            size = 0
            while self._queue and size < _CHUNK:
                lines.append(self._queue.popleft())
                size += len(lines[-1])
            self._queued_bytes -= size
            return lines

    def _written(self, content: bytes) -> bool:
        """Write it all; False: the stream is broken, for example because its reader has ended."""
        rest = memoryview(content)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:
                select.select((), (self._descriptor,), (), _RETRY_S)
            except OSError:
                return False
        return True


class _Printable:
    """The same stream, for text that is no log line and may come from outside."""

    def __init__(self, stream: QueuedStream) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(printable_lines(text))

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()
