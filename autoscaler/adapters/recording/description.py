"""Where the recording is, and how large, without taking it."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from autoscaler.adapters.recording.database import FILE_NAME, read_recording
from autoscaler.sqlite_files import DatabaseDamaged, DatabaseUnusable, is_damage, size_of


def described_recording(directory: Path | None) -> str:
    """A few words, also while another process writes it.

    Args:
        directory: None: cycles are not recorded.
    """
    if directory is None:
        return "off"
    path = directory / FILE_NAME
    problem = ""
    try:
        path.stat()
    except FileNotFoundError:
        size = "not written yet"
    except OSError as error:
        size = f"not accessible: {error.strerror or error}"
    else:
        size = f"{size_of(path) / 1e6:.1f} MB"
        problem = _problem_of(path)
    existing = directory
    while not os.path.exists(existing) and existing != existing.parent:
        existing = existing.parent
    if not os.access(existing, os.W_OK | os.X_OK):
        size += f"; the directory {existing} is not writable"
    if problem:
        size += f"; {problem.replace(f'{path} ', 'it ', 1)}"
    return f"{path}, {size}"


def _problem_of(path: Path) -> str:
    """Why the daemon could not go on with the file, and what it would do; empty if it could."""
    if not size_of(path):
        return ""  # it has been created, and nothing is written yet
    try:
        with closing(read_recording(path, leaves_nothing=True)) as database:
            database.cluster()
    except DatabaseUnusable as error:
        return str(error)
    except (DatabaseDamaged, sqlite3.Error) as error:
        if isinstance(error, sqlite3.Error) and not is_damage(error):
            return ""  # such as one that is being written
        return f"it is damaged: {error}; the daemon sets it aside, and begins a new one"
    return ""
