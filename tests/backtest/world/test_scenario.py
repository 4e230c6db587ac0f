"""Scenarios: what a file may leave out, and how problems are reported."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.backtest.world.scenario import (
    STANDARD,
    BacktestScenarioError,
    Scale,
    find_scenario,
    read_scenario,
    standard,
)
from autoscaler.errors import InputError
from tests.messages import without_lines

MINIMAL = """\
[model]
service_time = "250ms"

[nodes]
processors = 8

[slo]
wait = "1s"

[trace]
factor = 2
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "made-up.toml"
    path.write_text(text, encoding="utf-8")
    return path


def problems(folder: Path, text: str) -> str:
    with pytest.raises(BacktestScenarioError) as raised:
        read_scenario(write(folder, text))
    return without_lines(str(raised.value).replace(f"{folder}/", ""))


class TestStandard:
    def test_there_are_four(self):
        assert tuple(scenario.name for scenario in standard()) == STANDARD

    @pytest.mark.parametrize("scenario", standard(), ids=STANDARD)
    def test_the_nodes_fit_four_times_the_busy_hours(self, scenario):
        processors = scenario.nodes * scenario.processors
        assert processors >= 4 * scenario.scale.allocations > processors - scenario.nodes
        assert (scenario.min_allocations, scenario.max_allocations) == (1, processors)
        assert scenario.physical_cores == scenario.processors

    @pytest.mark.parametrize("scenario", standard(), ids=STANDARD)
    def test_the_slo_is_two_service_times(self, scenario):
        assert scenario.slo_wait_s == 2.0 * scenario.service_time_s
        assert scenario.slo_target == 0.99

    def test_they_differ_in_length_and_nodes_only(self):
        short, short_three, long, long_three = standard()
        assert [s.service_time_s for s in standard()] == [0.1, 0.1, 1.0, 1.0]
        assert [s.nodes for s in standard()] == [1, 3, 1, 3]
        assert short.scale == short_three.scale == Scale(allocations=5, utilisation=0.7)
        assert long.scale == long_three.scale == Scale(allocations=20, utilisation=0.7)

    @pytest.mark.parametrize("name", STANDARD)
    def test_the_defaults_in_their_comments_are_true(self, name, tmp_path):
        """A file without the keys for which a default is stated is equal."""
        standard_one = find_scenario(name)
        file = Path(__file__).parents[3] / "autoscaler" / "backtest" / "scenarios" / f"{name}.toml"
        lines = file.read_text().splitlines()
        kept = [line for line in lines if "default" not in line or line.startswith("count")]
        (tmp_path / file.name).write_text("\n".join(kept))
        assert read_scenario(tmp_path / file.name) == standard_one
        assert len(kept) < len(lines) - 14


def test_keys_with_a_default_may_be_absent(tmp_path):
    scenario = read_scenario(write(tmp_path, MINIMAL))
    assert scenario.name == "made-up"
    assert (scenario.service_time_s, scenario.slo_wait_s) == (0.25, 1.0)
    assert (scenario.min_allocations, scenario.max_allocations, scenario.physical_cores) == (
        1,
        8,
        8,
    )
    assert scenario.scale == Scale(factor=2.0)
    assert (scenario.hours, scenario.start_h) == (24.0, None)


def test_the_window_may_be_the_whole_trace_or_begin_anywhere(tmp_path):
    scenario = read_scenario(write(tmp_path, MINIMAL + 'window = "all"\nstart = "1d2h"\n'))
    assert (scenario.hours, scenario.start_h) == (None, 26.0)
    scenario = read_scenario(write(tmp_path, MINIMAL + 'window = "90m"\nstart = "hardest"\n'))
    assert (scenario.hours, scenario.start_h) == (1.5, None)


def test_the_facts_are_flat():
    facts = find_scenario("short-one-node").facts()
    assert (facts["service_time_s"], facts["scale_allocations"], facts["start_h"]) == (0.1, 5, None)
    assert {type(fact) for fact in facts.values()} <= {str, int, float, bool, type(None)}


def test_a_file_or_a_name_is_found(tmp_path):
    assert find_scenario(str(write(tmp_path, MINIMAL))).name == "made-up"
    assert find_scenario("long-one-node") == standard()[2]
    with pytest.raises(
        BacktestScenarioError, match=r"did you mean short-one-node\?; the standard ones"
    ):
        find_scenario("short-1-node")


INVALID = {
    "an unknown key": ("[nodes]\nprocessors = 8\n'proccessors' = 8", "did you mean processors?"),
    "an unknown table": ("[node]\n[nodes]\nprocessors = 8", "no such key; did you mean nodes?"),
    "a missing key": ("[nodes]", "nodes.processors: is required"),
    "a text for a number": (
        '[nodes]\nprocessors = "8"',
        "must be an integer, not '8'; remove the quotes",
    ),
    "a fraction for a count": ("[nodes]\n\nprocessors = 1.5", "must be an integer"),
    "no processors": ("[nodes]\nprocessors = 0", "greater than or equal to 1, not 0"),
    "too many cores": ("[nodes]\nprocessors = 8\nphysical_cores = 9", "at most the 8 proc"),
    "too many zones": ("[nodes]\nprocessors = 8\nzones = 2", "at most the 1 nodes, not 2"),
}


@pytest.mark.parametrize(("nodes", "problem"), INVALID.values(), ids=INVALID)
def test_a_problem_is_reported_with_its_key(tmp_path, nodes, problem):
    text = problems(tmp_path, MINIMAL.replace("[nodes]\nprocessors = 8", nodes))
    assert text.startswith("made-up.toml: node")
    assert problem in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("added", "problem"),
    [
        ("allocations = 5", "trace: set either allocations or factor"),
        ("sizes = 1", "trace.sizes: must be true or false, not 1"),
        ("utilisation = nan", "trace.utilisation: must be a finite number, not nan"),
        ("utilisation = 1.5", "must be less than or equal to 1, not 1.5"),
        ("window = 24", 'must be "all" or a duration with its unit, such as "30s"'),
        ('window = "0s"', "must be longer than 0s"),
        ('start = "soon"', 'trace.start: must be "hardest" or a duration with its unit'),
        ("[callers]\nretry_share = 2", "callers.retry_share: must be less than or equal to 1"),
        ('[callers]\ntimeout = "2h"', "callers.timeout: must be between 1ms and 1h, not 2h"),
        ("[deployment]\nmax_allocations = 9", "at most the 8 processors of all nodes, not 9"),
        ("[deployment]\nmin_allocations = 9", "at most max_allocations, which is 8, not 9"),
    ],
)
def test_values_out_of_range(tmp_path, added, problem):
    text = problems(tmp_path, MINIMAL + added)
    assert text.startswith("made-up.toml: ")
    assert problem in text


@pytest.mark.parametrize(
    ("version", "problem"),
    [
        ('"7.17"', "choose from 8.6 to"),
        ('"nine"', "write it like 8.19"),
        ("9.3", "must be a text, not 9.3; put it in quotes"),
    ],
)
def test_versions_that_cannot_be_emulated(tmp_path, version, problem):
    text = problems(tmp_path, f"version = {version}\n{MINIMAL}")
    assert text.startswith("made-up.toml: version: ")
    assert problem in text


def test_every_problem_is_reported(tmp_path):
    text = problems(tmp_path, "poll_interval = 10\n[slo]\nwait = true\n[callers]\nx = 1\n")
    assert [line.split(": ")[:2] for line in text.splitlines()] == [
        ["made-up.toml", "model"],
        ["made-up.toml", "nodes"],
        ["made-up.toml", "trace"],
        ["made-up.toml", "poll_interval"],
        ["made-up.toml", "slo.wait"],
        ["made-up.toml", "callers.x"],
    ]


def test_files_that_are_not_toml(tmp_path):
    assert "toml:2:6: = is missing after what" in problems(tmp_path, "poll = 1\nwhat is this\n")
    assert "toml: a comma or the closing ] is missing" in problems(tmp_path, "poll = 1\nlist = [1,")
    assert "model: must be a table" in problems(tmp_path, "model = 5\n")
    path = tmp_path / "latin.toml"
    path.write_bytes(b"# one\n# caf\xe9\n")
    with pytest.raises(BacktestScenarioError, match=r"latin\.toml: is not UTF-8 at byte 11"):
        read_scenario(path)
    with pytest.raises(BacktestScenarioError, match="cannot be read: Is a directory"):
        read_scenario(tmp_path)
    with pytest.raises(InputError, match="neither a file nor"):
        find_scenario(str(tmp_path / "missing.toml"))


@given(st.text(max_size=200))
def test_any_file_is_a_scenario_or_an_error(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BacktestScenarioError, match=r"any\.toml"):
        read_scenario(path)


def test_a_key_under_both_names_is_rejected(tmp_path):
    both = MINIMAL.replace('wait = "1s"', 'wait = "1s"\nshare = 0.9\ntarget = 0.9')
    with pytest.raises(BacktestScenarioError, match="former name of target, which is set too"):
        read_scenario(write(tmp_path, both))


def test_former_names_are_accepted_with_a_warning(tmp_path):
    former = MINIMAL.replace('wait = "1s"', 'wait = "1s"\nshare = 0.9')
    text = f'poll = "20s"\n{former}[deployment]\nminimum = 2\nmaximum = 4\n'
    warnings = []
    scenario = read_scenario(write(tmp_path, text), warnings.append)
    assert (scenario.poll_interval_s, scenario.slo_target) == (20.0, 0.9)
    assert (scenario.min_allocations, scenario.max_allocations) == (2, 4)
    assert [without_lines(warning).removeprefix(f"{tmp_path}/") for warning in warnings] == [
        "made-up.toml: poll: deprecated; use poll_interval",
        "made-up.toml: deployment.minimum: deprecated; use min_allocations",
        "made-up.toml: deployment.maximum: deprecated; use max_allocations",
        "made-up.toml: slo.share: deprecated; use target",
    ]
