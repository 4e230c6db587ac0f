"""Scenario files: what is in them, what is left out, and what is said of mistakes."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.backtest.toml_lines import line_of, lines_of_keys
from autoscaler.backtest.world.scenario import (
    STANDARD,
    BacktestScenarioError,
    Scale,
    find_scenario,
    read_scenario,
    standard,
)
from autoscaler.errors import InputError

LEAST = """\
[model]
service_time = "250ms"

[nodes]
processors = 8

[slo]
wait = "1s"

[trace]
factor = 2
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "made-up.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(BacktestScenarioError) as refused:
        read_scenario(written(folder, text))
    return str(refused.value).replace(f"{folder}/", "")


class TestStandard:
    def test_there_are_four(self):
        assert tuple(scenario.name for scenario in standard()) == STANDARD

    @pytest.mark.parametrize("scenario", standard(), ids=STANDARD)
    def test_there_is_room_for_four_times_the_busy_hours(self, scenario):
        processors = scenario.nodes * scenario.processors
        assert processors >= 4 * scenario.scale.allocations > processors - scenario.nodes
        assert (scenario.min_allocations, scenario.max_allocations) == (1, processors)
        assert scenario.physical_cores == scenario.processors

    @pytest.mark.parametrize("scenario", standard(), ids=STANDARD)
    def test_the_promise_is_two_service_times(self, scenario):
        assert scenario.slo_wait_s == 2.0 * scenario.service_time_s
        assert scenario.slo_target == 0.99

    def test_they_differ_in_length_and_nodes_only(self):
        short, short_three, long, long_three = standard()
        assert [s.service_time_s for s in standard()] == [0.1, 0.1, 1.0, 1.0]
        assert [s.nodes for s in standard()] == [1, 3, 1, 3]
        assert short.scale == short_three.scale == Scale(allocations=5, utilisation=0.7)
        assert long.scale == long_three.scale == Scale(allocations=20, utilisation=0.7)

    @pytest.mark.parametrize("name", STANDARD)
    def test_what_they_call_a_default_is_one(self, name, tmp_path):
        """A file without the keys for which a default is given means the same."""
        shipped = find_scenario(name)
        file = Path(__file__).parents[3] / "autoscaler" / "backtest" / "scenarios" / f"{name}.toml"
        lines = file.read_text().splitlines()
        kept = [line for line in lines if "default" not in line or line.startswith("count")]
        (tmp_path / file.name).write_text("\n".join(kept))
        assert read_scenario(tmp_path / file.name) == shipped
        assert len(kept) < len(lines) - 14


def test_what_can_be_left_out(tmp_path):
    scenario = read_scenario(written(tmp_path, LEAST))
    assert scenario.name == "made-up"
    assert (scenario.service_time_s, scenario.slo_wait_s) == (0.25, 1.0)
    assert (scenario.min_allocations, scenario.max_allocations, scenario.physical_cores) == (
        1,
        8,
        8,
    )
    assert scenario.scale == Scale(factor=2.0)
    assert (scenario.hours, scenario.start_h) == (24.0, None)


def test_a_window_may_be_all_or_begin_where_one_likes(tmp_path):
    scenario = read_scenario(written(tmp_path, LEAST + 'window = "all"\nstart = "1d2h"\n'))
    assert (scenario.hours, scenario.start_h) == (None, 26.0)
    scenario = read_scenario(written(tmp_path, LEAST + 'window = "90m"\nstart = "hardest"\n'))
    assert (scenario.hours, scenario.start_h) == (1.5, None)


def test_the_facts_are_flat():
    facts = find_scenario("short-one-node").facts()
    assert (facts["service_time_s"], facts["scale_allocations"], facts["start_h"]) == (0.1, 5, None)
    assert {type(fact) for fact in facts.values()} <= {str, int, float, bool, type(None)}


def test_a_file_or_a_name_is_found(tmp_path):
    assert find_scenario(str(written(tmp_path, LEAST))).name == "made-up"
    assert find_scenario("long-one-node") == standard()[2]
    with pytest.raises(
        BacktestScenarioError, match=r"did you mean short-one-node\?; the standard ones"
    ):
        find_scenario("short-1-node")


REFUSED = {
    "an unknown key": ("[nodes]\nprocessors = 8\n'proccessors' = 8", 6, "did you mean processors?"),
    "an unknown table": ("[node]\n[nodes]\nprocessors = 8", 4, "no such key; did you mean nodes?"),
    "a missing key": ("[nodes]", 4, "nodes.processors: is missing; add it"),
    "a text for a number": ('[nodes]\nprocessors = "8"', 5, "a valid integer, not '8'"),
    "a fraction for a count": ("[nodes]\n\nprocessors = 1.5", 6, "must be a valid integer"),
    "no processors": ("[nodes]\nprocessors = 0", 5, "greater than or equal to 1, not 0"),
    "too many cores": ("[nodes]\nprocessors = 8\nphysical_cores = 9", 6, "at most the 8 proc"),
}


@pytest.mark.parametrize(("nodes", "line", "complaint"), REFUSED.values(), ids=REFUSED)
def test_what_is_wrong_is_told_with_its_line(tmp_path, nodes, line, complaint):
    told = refusal(tmp_path, LEAST.replace("[nodes]\nprocessors = 8", nodes))
    assert told.startswith(f"made-up.toml, line {line}: node")
    assert complaint in told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("added", "line", "complaint"),
    [
        ("allocations = 5", 10, "trace: must have either allocations or factor"),
        ("sizes = 1", 12, "trace.sizes: must be a valid boolean, not 1"),
        ("utilisation = nan", 12, "trace.utilisation: must be a finite number, not nan"),
        ("utilisation = 1.5", 12, "must be less than or equal to 1, not 1.5"),
        ("window = 24", 12, 'such as "30s", "5m" or "1h30m", or "all"'),
        ('window = "0s"', 12, "must be longer than nothing"),
        ('start = "soon"', 12, "trace.start: must be a duration with its unit"),
        ("[callers]\nretry_share = 2", 13, "callers.retry_share: must be less than or equal to 1"),
        ('[callers]\ntimeout = "2h"', 13, "callers.timeout: must be between 1ms and 1h, not 2h"),
        ("[deployment]\nmax_allocations = 9", 13, "at most the 8 processors of all nodes, not 9"),
        ("[deployment]\nmin_allocations = 9", 13, "at most max_allocations, which is 8, not 9"),
    ],
)
def test_values_out_of_range(tmp_path, added, line, complaint):
    told = refusal(tmp_path, LEAST + added)
    assert told.startswith(f"made-up.toml, line {line}: ")
    assert complaint in told


@pytest.mark.parametrize(
    ("version", "complaint"),
    [('"7.17"', "choose from 8.6 to"), ('"nine"', "write it like 8.19"), ("9.3", "string")],
)
def test_versions_that_cannot_be_emulated(tmp_path, version, complaint):
    told = refusal(tmp_path, f"version = {version}\n{LEAST}")
    assert told.startswith("made-up.toml, line 1: version: ")
    assert complaint in told


def test_every_problem_is_told(tmp_path):
    told = refusal(tmp_path, "poll_interval = 10\n[slo]\nwait = true\n[callers]\nx = 1\n")
    assert [line.split(": ")[:2] for line in told.splitlines()] == [
        ["made-up.toml, line 1", "poll_interval"],
        ["made-up.toml, line 1", "model"],
        ["made-up.toml, line 1", "nodes"],
        ["made-up.toml, line 5", "callers.x"],
        ["made-up.toml, line 3", "slo.wait"],
        ["made-up.toml, line 1", "trace"],
    ]


def test_files_that_are_not_toml(tmp_path):
    assert "line 2: Expected '=' after" in refusal(tmp_path, "poll = 1\nwhat is this\n")
    assert "line 2: " in refusal(tmp_path, "poll = 1\nlist = [1,")
    assert "model: must be a table: write [model]" in refusal(tmp_path, "model = 5\n")
    path = tmp_path / "latin.toml"
    path.write_bytes(b"# one\n# caf\xe9\n")
    with pytest.raises(BacktestScenarioError, match=r"latin\.toml, line 2: is not UTF-8 text"):
        read_scenario(path)
    with pytest.raises(BacktestScenarioError, match="cannot be read: Is a directory"):
        read_scenario(tmp_path)
    with pytest.raises(InputError, match="neither a file nor"):
        find_scenario(str(tmp_path / "missing.toml"))


def test_lines_of_keys():
    text = 'a = 1\n# b = 2\n[t]\nc.d = 3\n [ "t" . u ]\ne = {f = 4}\n[[g]]\nh = 5\n[[g]]\nh = 6\n'
    lines = lines_of_keys(text)
    assert lines == {
        ("a",): 1,
        ("t",): 3,
        ("t", "c", "d"): 4,
        ("t", "u"): 5,
        ("t", "u", "e"): 6,
        ("g",): 7,
        ("g", "h"): 8,
    }
    assert line_of(("t", "u", "e", "f"), lines) == 6
    assert line_of(("nowhere",), lines) == 1


@given(st.text(max_size=200))
def test_whatever_is_in_a_file_it_is_a_scenario_or_a_mistake(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BacktestScenarioError, match=r"any\.toml, line \d+: "):
        read_scenario(path)
