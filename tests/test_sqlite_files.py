"""What is the same for all SQLite files of this program, whatever their tables are."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from autoscaler.sqlite_files import (
    SIDE_FILES,
    DatabaseDamaged,
    DatabaseKind,
    DatabaseUnusable,
    begin,
    beside,
    connected,
    create,
    ensure_complete,
    ensure_ours,
    ensure_regular,
    errors_named,
    identity_of,
    is_empty,
    rename,
    size_of,
)

KIND = DatabaseKind(0x61757878, 1, "CREATE TABLE rows (id INTEGER);", "use another directory")


def a_file(path: Path) -> Path:
    create(path)
    with closing(connected(path, "rw")) as connection:
        assert is_empty(connection)
        begin(connection, KIND)
    return path


def test_a_new_file_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    path = a_file(tmp_path / "rows.db")
    assert path.stat().st_mode & 0o777 == 0o600
    with closing(connected(path, "ro")) as connection:
        ensure_ours(connection, path, KIND)
        ensure_complete(connection, KIND)


def test_the_file_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = a_file(tmp_path / "rows.db")
    with closing(connected(path, "ro")) as connection:
        with pytest.raises(DatabaseUnusable, match="another program; move it, or use another dir"):
            ensure_ours(connection, path, KIND._replace(application_id=1))
        with pytest.raises(DatabaseUnusable, match="is of version 1, and this program reads ver"):
            ensure_ours(connection, path, KIND._replace(version=2))
        with pytest.raises(DatabaseDamaged, match="a table or an index is missing"):
            ensure_complete(connection, KIND._replace(schema="CREATE TABLE other (id INTEGER);"))


@pytest.mark.parametrize("suffix", ["", *SIDE_FILES])
def test_whatever_is_no_regular_file_is_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "rows.db"
    os.mkfifo(beside(path, suffix))
    with pytest.raises(DatabaseUnusable, match="is no regular file; move it, or use another dir"):
        ensure_regular(path, KIND)


def test_a_link_is_followed(tmp_path: Path) -> None:
    path, link = a_file(tmp_path / "rows.db"), tmp_path / "link.db"
    link.symlink_to(path)
    ensure_regular(link, KIND)
    assert identity_of(link) == identity_of(path)


def test_an_emptied_file_is_no_longer_the_same(tmp_path: Path) -> None:
    path = a_file(tmp_path / "rows.db")
    assert identity_of(path) is not None
    os.truncate(path, 0)
    assert identity_of(path) is None
    assert size_of(path) == 0


def test_damage_is_distinguished_from_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.db"
    path.write_bytes(b"no database at all, " * 100)
    with (
        closing(connected(path, "ro")) as connection,
        pytest.raises(DatabaseDamaged, match="not a database"),
        errors_named(path, KIND),
    ):
        is_empty(connection)
    with (
        pytest.raises(DatabaseUnusable, match=r"cannot be read: unable to open.*write access"),
        errors_named(path, KIND, "read"),
        closing(connected(tmp_path / "absent.db", "ro")) as absent,
    ):
        is_empty(absent)
    with pytest.raises(DatabaseDamaged, match="is no text"), errors_named(path, KIND):
        b"\xff".decode()


def test_files_beside_a_renamed_one_go_with_it(tmp_path: Path) -> None:
    path, target = a_file(tmp_path / "rows.db"), tmp_path / "aside.db"
    beside(path, "-wal").write_bytes(b"log")
    assert size_of(path) == path.stat().st_size + 3
    rename(path, target, KIND)
    assert not path.exists()
    assert beside(target, "-wal").read_bytes() == b"log"
    with pytest.raises(DatabaseUnusable, match="cannot be renamed"):
        rename(path, target, KIND)


def test_an_error_of_sqlite_without_a_code_is_no_damage() -> None:
    with pytest.raises(DatabaseUnusable), errors_named(Path("rows.db"), KIND):
        raise sqlite3.OperationalError("disk I/O error")
