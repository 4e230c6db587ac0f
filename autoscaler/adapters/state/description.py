"""Where the state is, and how large, without taking it."""

import os
from pathlib import Path

from autoscaler.adapters.state.stopped_copy import FILE_NAME


def described(directory: Path | None) -> str:
    """A few words, also while another process has the state.

    Args:
        directory: the state directory; None: the state is not saved.
    """
    if directory is None:
        return "not saved"
    path = directory / FILE_NAME
    try:
        size = f"{path.stat().st_size / 1e6:.1f} MB"
    except FileNotFoundError:
        size = "not written yet"
    except OSError as error:
        size = f"not accessible: {error.strerror or error}"
    existing = directory
    while not os.path.exists(existing) and existing != existing.parent:
        existing = existing.parent
    if not os.access(existing, os.W_OK | os.X_OK):
        size += f"; the directory {existing} is not writable"
    return f"{path}, {size}"
