"""Files of intervals: what is written can be read, and errors name their place."""

import os
import random
import tracemalloc

import pytest
import zstandard
from msgspec.structs import replace

from autoscaler.errors import UserError
from autoscaler.interval_files import (
    MAX_LINE_BYTES,
    IntervalFileError,
    ensure_writable,
    read_intervals,
    write_intervals,
)
from autoscaler.wire.intervals import IntervalsHeader, LoadInterval

HEADER = IntervalsHeader(source="csv", program="autoscaler 1")
HEADER_LINE = b'{"type":"header","source":"csv","program":"autoscaler 1"}\n'


def interval(number=1):
    return LoadInterval(deployment="elser", at=60.0 * number, interval_s=60.0, arrivals=number)


NAMES = pytest.mark.parametrize("name", ["load.jsonl", "load.jsonl.zst"])


@NAMES
def test_lines_are_read_as_they_were_written(tmp_path, name):
    lines = [HEADER, *map(interval, range(1, 20_000))]
    assert write_intervals(tmp_path / name, lines) == 20_000
    assert list(read_intervals(tmp_path / name)) == lines
    assert os.listdir(tmp_path) == [name]


def test_a_compressed_file_is_one_that_zstd_reads(tmp_path):
    write_intervals(tmp_path / "load.jsonl.zst", [HEADER])
    with zstandard.open(tmp_path / "load.jsonl.zst") as file:
        assert file.read().startswith(HEADER_LINE[:16])


def test_frames_of_zstd_follow_one_another(tmp_path):
    path = tmp_path / "load.jsonl.zst"
    first, second = tmp_path / "1.jsonl", tmp_path / "2.jsonl"
    write_intervals(first, [HEADER])
    write_intervals(second, [interval()])
    frames = [zstandard.compress(file.read_bytes()) for file in (first, second)]
    path.write_bytes(b"".join(frames))
    assert list(read_intervals(path)) == [HEADER, interval()]


@NAMES
def test_an_existing_file_stays_if_the_lines_end_with_an_error(tmp_path, name):
    def lines():
        yield HEADER
        raise OSError("the source is gone")

    (tmp_path / name).write_bytes(b"former")
    with pytest.raises(OSError, match="the source is gone"):
        write_intervals(tmp_path / name, lines())
    assert (tmp_path / name).read_bytes() == b"former"
    assert os.listdir(tmp_path) == [name]


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "link.jsonl").symlink_to("load.jsonl")
    write_intervals(tmp_path / "link.jsonl", [HEADER])
    assert (tmp_path / "link.jsonl").is_symlink()
    assert list(read_intervals(tmp_path / "load.jsonl")) == [HEADER]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("load.csv", "its name must end in .jsonl or .jsonl.zst, which says how it is written"),
        ("missing/load.jsonl", "no such file or directory; name a file in an existing"),
        ("folder.jsonl", "it is not a file; name a file"),
        ("circle.jsonl", "too many levels of symbolic links; name a file"),
        ("fifo.jsonl", "it is not a file; name a file"),
        ("file/load.jsonl", "not a directory; name a file in an existing"),
        (f"{'n' * 240}.jsonl", "file name too long; name a file in an existing"),
    ],
)
@pytest.mark.parametrize("write", [ensure_writable, lambda path: write_intervals(path, [HEADER])])
def test_what_cannot_be_written_is_one_sentence(tmp_path, name, reason, write):
    (tmp_path / "folder.jsonl").mkdir()
    os.mkfifo(tmp_path / "fifo.jsonl")
    (tmp_path / "circle.jsonl").symlink_to("circle.jsonl")
    (tmp_path / "file").touch()
    before = set(os.listdir(tmp_path))
    with pytest.raises(UserError) as caught:
        write(tmp_path / name)
    assert str(caught.value).startswith(f"cannot write {tmp_path / name}: {reason}")
    assert set(os.listdir(tmp_path)) == before


def test_a_check_leaves_nothing(tmp_path):
    ensure_writable(tmp_path / "load.jsonl")
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_one_sentence(tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no device that is always full")
    partial = tmp_path / f".load.jsonl.{os.getpid()}.partial"
    partial.symlink_to("/dev/full")
    with pytest.raises(UserError, match="no space left on device"):
        write_intervals(tmp_path / "load.jsonl", [HEADER])
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("load.jsonl", b"", ": the file is empty"),
        ("load.jsonl.zst", b"", ": the file is empty"),
        ("load.txt", HEADER_LINE, ": its name must end in .jsonl or .jsonl.zst, which says how"),
        ("load.jsonl", HEADER_LINE + b"<html>\n", ": line 2: "),
        ("load.jsonl", HEADER_LINE + b"\n", ": line 2: "),
        ("load.jsonl", HEADER_LINE + b"\xff\n", ": line 2: "),
        ("load.jsonl", HEADER_LINE[:-9], ": line 1: "),
        (
            "load.jsonl",
            HEADER_LINE + b"[" * (MAX_LINE_BYTES + 1),
            ": line 2: it has more than 4,194,304 bytes; name a file of intervals",
        ),
        ("load.jsonl.zst", HEADER_LINE, ": it cannot be decompressed: it is damaged, or no zstd"),
        (
            "load.jsonl.zst",
            zstandard.compress(HEADER_LINE)[:-5],
            ": it ends early, so a part is lost; copy it again",
        ),
    ],
)
def test_what_cannot_be_read_is_one_sentence_with_its_line(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(IntervalFileError) as caught:
        list(read_intervals(tmp_path / name))
    assert str(caught.value).startswith(f"{tmp_path / name}{reason}")


def test_only_a_regular_file_is_read(tmp_path):
    os.mkfifo(tmp_path / "load.jsonl")
    with pytest.raises(IntervalFileError, match="it is a fifo, not a regular file"):
        list(read_intervals(tmp_path / "load.jsonl"))


def test_a_small_file_that_expands_to_gigabytes_takes_little_memory(tmp_path):
    path = tmp_path / "load.jsonl.zst"
    compressor = zstandard.ZstdCompressor().compressobj()
    with path.open("wb") as file:
        file.write(compressor.compress(HEADER_LINE))
        for _ in range(256):
            file.write(compressor.compress(bytes(2**20)))
        file.write(compressor.flush())
    tracemalloc.start()
    try:
        with pytest.raises(IntervalFileError, match="line 2: it has more than"):
            list(read_intervals(path))
        assert tracemalloc.get_traced_memory()[1] < 200 * 2**20
    finally:
        tracemalloc.stop()


@NAMES
def test_a_reader_learns_how_much_of_a_file_was_read(tmp_path, name):
    texts = random.Random(1)
    lines = [replace(interval(), issues=(texts.randbytes(1000).hex(),)) for _ in range(2_500)]
    write_intervals(tmp_path / name, [HEADER, *lines])
    seen = []
    read = list(read_intervals(tmp_path / name, lambda done, total: seen.append((done, total))))
    assert len(read) == 2_501
    total = (tmp_path / name).stat().st_size // 10**6
    assert total >= 2
    assert seen == sorted(seen)
    assert {each for _, each in seen} == {total}
    assert seen[-1] == (total, total)
