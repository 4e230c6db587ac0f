"""Where the recording is, and how large, without taking it."""

import os
from pathlib import Path

from autoscaler.adapters.recording.database import FILE_NAME
from autoscaler.sqlite_files import size_of


def described_recording(directory: Path | None) -> str:
    """A few words, also while another process writes it.

    Args:
        directory: None: cycles are not recorded.
    """
    if directory is None:
        return "off"
    path = directory / FILE_NAME
    try:
        path.stat()
    except FileNotFoundError:
        size = "not written yet"
    except OSError as error:
        size = f"not accessible: {error.strerror or error}"
    else:
        size = f"{size_of(path) / 1e6:.1f} MB"
    existing = directory
    while not os.path.exists(existing) and existing != existing.parent:
        existing = existing.parent
    if not os.access(existing, os.W_OK | os.X_OK):
        size += f"; the directory {existing} is not writable"
    return f"{path}, {size}"
