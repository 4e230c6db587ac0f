"""Files that a user names: a path that is none costs neither time nor memory."""

import gzip
import os
import socket
from pathlib import Path

import pytest

from autoscaler.adapters.state.stopped_copy import StoppedCopy
from autoscaler.backtest.results.file import ResultsError
from autoscaler.backtest.results.file import read as read_results
from autoscaler.files import FileTooLarge, open_own, open_regular, read_regular
from autoscaler.simulation.scenario import ClusterScenarioError, read_scenario
from autoscaler.simulation.trace_files import read_trace
from autoscaler.simulation.traces import TraceError


def test_a_regular_file_is_read(tmp_path):
    (tmp_path / "file").write_bytes(b"1234")
    assert read_regular(tmp_path / "file", 4) == b"1234"


def test_a_link_to_a_regular_file_is_followed(tmp_path):
    (tmp_path / "file").write_bytes(b"1234")
    (tmp_path / "link").symlink_to("file")
    assert read_regular(tmp_path / "link", 4) == b"1234"


def test_a_file_above_the_limit_is_not_read(tmp_path):
    with (tmp_path / "file").open("wb") as file:
        file.truncate(1 << 40)  # sparse: a terabyte without a block on the disk
    with pytest.raises(FileTooLarge):
        read_regular(tmp_path / "file", 4)


def fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path


def socket_at(path: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
    return path


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (fifo, "it is a FIFO, not a regular file"),
        (lambda path: (path.symlink_to(fifo(path.with_name("fifo"))), path)[1], "it is a FIFO"),
        (lambda _: Path("/dev/zero"), "it is a device, not a regular file"),
        (socket_at, "No such device or address"),
        (lambda path: path.parent, "Is a directory"),
        (lambda path: path, "No such file or directory"),
        (lambda path: path.with_name("x" * 300), "File name too long"),
    ],
    ids=["fifo", "link to a fifo", "device", "socket", "directory", "missing", "long"],
)
def test_everything_else_is_refused_at_once(tmp_path, make, reason):
    path = make(tmp_path / "odd")
    descriptors = len(os.listdir("/dev/fd"))
    with pytest.raises(OSError, match=reason):
        open_regular(path)
    assert len(os.listdir("/dev/fd")) == descriptors


def test_a_fifo_in_place_of_the_copy_of_stopped_deployments_is_no_copy(tmp_path):
    os.mkfifo(tmp_path / "autoscaler.stopped")
    assert StoppedCopy(tmp_path / "autoscaler.sqlite").load() is None


def test_a_copy_of_stopped_deployments_that_cannot_be_one_is_not_read(tmp_path):
    with (tmp_path / "autoscaler.stopped").open("wb") as file:
        file.truncate(1 << 40)
    assert StoppedCopy(tmp_path / "autoscaler.sqlite").load() is None


class TestFilesOfThisProgram:
    def test_one_is_created_for_its_user_alone(self, tmp_path):
        descriptor = open_own(tmp_path / "own")
        assert os.fstat(descriptor).st_mode & 0o777 == 0o600
        os.close(descriptor)

    def test_its_content_stays(self, tmp_path):
        (tmp_path / "own").write_bytes(b"1234")
        descriptor = open_own(tmp_path / "own")
        assert os.read(descriptor, 9) == b"1234"
        os.close(descriptor)

    @pytest.mark.parametrize(
        ("make", "reason"),
        [
            (fifo, "it is a FIFO, not a regular file"),
            (lambda path: path.symlink_to("other"), "own is a link, not a regular file"),
            (lambda path: path.symlink_to("missing"), "own is a link, not a regular file"),
            (socket_at, "No such device or address"),
            (os.mkdir, "Is a directory"),
        ],
        ids=["fifo", "link", "link to nowhere", "socket", "directory"],
    )
    def test_anything_else_in_its_place_is_refused_at_once(self, tmp_path, make, reason):
        (tmp_path / "other").write_text("of somebody else")
        make(tmp_path / "own")
        descriptors = len(os.listdir("/dev/fd"))
        with pytest.raises(OSError, match=reason):
            open_own(tmp_path / "own")
        assert len(os.listdir("/dev/fd")) == descriptors
        assert (tmp_path / "other").read_text() == "of somebody else"
        assert not (tmp_path / "missing").exists()

    @pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("other")])
    def test_a_copy_of_stopped_deployments_is_not_written_through_it(self, tmp_path, make):
        (tmp_path / "other").write_text("of somebody else")
        make(tmp_path / "autoscaler.stopped-new")
        with pytest.raises(OSError, match="not a regular file"):
            StoppedCopy(tmp_path / "autoscaler.sqlite").save(b"")
        assert (tmp_path / "other").read_text() == "of somebody else"


class TestFilesOfSimulations:
    """Traces, scenarios and results."""

    READERS = (
        (read_trace, TraceError),
        (read_scenario, ClusterScenarioError),
        (read_results, ResultsError),
    )

    @pytest.mark.parametrize(("read", "error"), READERS)
    @pytest.mark.parametrize("name", ["fifo.csv", "fifo.csv.gz"])
    def test_a_fifo_is_refused_at_once(self, tmp_path, read, error, name):
        with pytest.raises(error, match=r"it is a (fifo|FIFO), not a regular file"):
            read(fifo(tmp_path / name))

    @pytest.mark.parametrize(("read", "error"), READERS)
    def test_a_device_is_refused_at_once(self, read, error):
        with pytest.raises(error, match="it is a device, not a regular file"):
            read(Path("/dev/zero"))

    @pytest.mark.parametrize(("read", "error"), READERS)
    def test_a_file_that_is_far_too_large(self, tmp_path, read, error):
        with (tmp_path / "large.csv").open("wb") as file:
            file.truncate(1 << 40)
        with pytest.raises(error):
            read(tmp_path / "large.csv")

    def test_a_compressed_line_without_an_end(self, tmp_path):
        with gzip.open(tmp_path / "line.csv.gz", "wb") as file:
            file.write(b"1," * 1_000_000)
        with pytest.raises(TraceError, match=r"line 1: it has 65,536 characters or more"):
            read_trace(tmp_path / "line.csv.gz")

    @pytest.mark.parametrize("text", ["x = " + "[" * 3_000, "x = " + "9" * 5_000])
    def test_a_scenario_that_no_decoder_takes(self, tmp_path, text):
        (tmp_path / "scenario.toml").write_text(text)
        with pytest.raises(ClusterScenarioError, match=r"scenario\.toml: "):
            read_scenario(tmp_path / "scenario.toml")
