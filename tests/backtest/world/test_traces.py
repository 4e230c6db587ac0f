"""Finding traces: by file, by directory and by the name of a generator."""

import gzip
import os
import pickle
from pathlib import Path

import pytest

from autoscaler.backtest.world.traces import TraceNotFound, find_traces
from autoscaler.simulation.traces import TraceError
from tests.conftest import shared

TEXT = "# name: another name inside\nt_seconds,requests\n0,1\n10,2\n"


@pytest.fixture
def folder(tmp_path) -> Path:
    for name in ("b.csv", "a.sizes.csv", "notes.md", ".hidden.csv", ".csv"):
        (tmp_path / name).write_text(TEXT)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(TEXT.encode()))
    (tmp_path / "folder.csv").mkdir()
    return tmp_path


def names(*arguments) -> list[str]:
    return [source.name for source in find_traces(str(argument) for argument in arguments)]


def test_a_directory_is_the_traces_in_it_by_name_without_their_companions(folder):
    assert names(folder) == ["a", "b"]


def test_arguments_keep_their_order(folder):
    assert names("steps", folder / "b.csv", "diurnal") == ["steps", "b", "diurnal"]


def test_a_companion_is_read_if_it_is_named(folder):
    assert names(folder / "a.sizes.csv", folder / "notes.md") == ["a.sizes", "notes"]


def test_a_trace_has_the_name_of_its_source_not_its_own(folder):
    for source in find_traces([str(folder)]):
        assert source.read().name == source.name


def test_files_are_read_only_on_request(folder):
    (folder / "c.csv").write_text("not a trace")
    source = find_traces([str(folder)])[-1]
    with pytest.raises(TraceError, match=r"c\.csv, line 1: the header"):
        source.read()


def test_a_generated_trace_is_the_same_every_time():
    (source,) = find_traces(["square-wave"])
    assert (source.read().counts == source.read().counts).all()
    assert source.place == "generator square-wave"


def test_the_name_of_a_generator_means_the_generator(folder, monkeypatch):
    (folder / "steps").write_text(TEXT)
    monkeypatch.chdir(folder)
    assert [find_traces([name])[0].file for name in ("steps", "./steps")] == [None, Path("steps")]


def test_sources_can_be_sent_to_other_processes(folder):
    sources = find_traces(["steps", str(folder)])
    assert pickle.loads(pickle.dumps(sources)) == sources


def test_an_unknown_argument_is_reported_with_the_known_ones(folder):
    with pytest.raises(TraceNotFound, match=r"^diurnl: .*did you mean diurnal\?.*square-wave"):
        find_traces(["diurnl"])
    with pytest.raises(TraceNotFound, match="not a file, a directory or a generator"):
        find_traces(["x" * 5000])
    with pytest.raises(TraceNotFound, match=r"folder\.csv: contains no traces"):
        find_traces([str(folder / "folder.csv")])


def test_two_traces_of_one_name_are_refused(folder):
    (folder / "b.csv.gz").write_bytes(b"")
    with pytest.raises(
        TraceNotFound, match=r"two traces have the name b: .*b\.csv and .*b\.csv\.gz"
    ):
        find_traces([str(folder)])
    with pytest.raises(TraceNotFound, match="generator steps is given twice"):
        find_traces(["steps", "steps"])


@pytest.mark.parametrize("name", ["a\x1b[31m", "a\nb", os.fsdecode(b"a\xff")])
def test_names_have_no_characters_that_act_on_a_terminal(folder, name):
    (folder / f"{name}.csv").write_text(TEXT)
    (source,) = find_traces([str(folder / f"{name}.csv")])
    assert source.read().name == source.name
    assert source.name.isprintable()
    source.name.encode()


def test_recorded_traces_are_found_without_their_companions():
    found = names(shared("traces"))
    assert {"azure_fn_levels", "nasa_http_jul95"} < set(found)
    assert not any("." in name for name in found)
