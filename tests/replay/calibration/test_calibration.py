"""`autoscaler calibrate`: fits of a record, as scenarios that a back-test reads."""

import numpy as np
import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from autoscaler.backtest.world.scenario import read_scenario
from autoscaler.cli import main
from autoscaler.interval_files import write_intervals
from autoscaler.replay.calibration.files import file_name, scenario_text, trace_text
from autoscaler.replay.calibration.fits import calibration_of
from autoscaler.replay.engine import ReplayOptions, tasks_of
from autoscaler.simulation.trace_files import read_trace
from autoscaler.wire.intervals import LoadInterval
from tests.replay.recorded import CONFIG, adaptive, cluster, configuration, fixed, trace
from tests.replay.replays import HOSTILE


@pytest.fixture(scope="module")
def lines():
    """Three hours of six fixed allocations on three nodes."""
    return list(fixed(6, cluster(), trace(hours=3, mean_per_minute=600))[0])


def fitted(tmp_path, lines):
    (task,) = tasks_of(configuration(tmp_path), lines, ReplayOptions()).tasks
    return calibration_of(task)


def changed(lines, change):
    return [change(each) if isinstance(each, LoadInterval) else each for each in lines]


def test_a_record_that_agrees_with_the_simulation_has_its_figures(tmp_path, lines):
    fit = fitted(tmp_path, lines)
    assert fit.service_time_s == pytest.approx(cluster().service_time_s, rel=0.02)
    assert fit.scv_measured
    assert fit.scv**0.5 == pytest.approx(cluster().service_cv, rel=0.2)
    assert [band.mean_s for band in fit.bands] == pytest.approx([fit.service_time_s] * 3, rel=0.03)
    assert [node.ratio for node in fit.nodes] == pytest.approx([1.0] * len(fit.nodes), abs=0.03)
    assert (fit.failures, fit.timeout_s) == ((), None)


def test_service_times_that_grow_with_the_load_are_said_loudly(tmp_path, lines):
    def slower(each):
        factor = 1.0 + 0.5 * (each.arrivals or 0) / 150.0
        nodes = tuple(replace(node, busy_s=node.busy_s * factor) for node in each.nodes)
        return replace(each, busy_s=each.busy_s * factor, nodes=nodes)

    fit = fitted(tmp_path, changed(lines, slower))
    assert fit.bands[2].mean_s > 1.1 * fit.bands[0].mean_s
    assert any("service times depend on the load" in each for each in fit.failures)
    assert "# CONTRADICTED by the record: service times depend on" in scenario_text(fit)


def test_a_slow_node_is_named(tmp_path, lines):
    def slower(each):
        first, *others = each.nodes
        slow = replace(first, busy_s=2.0 * first.busy_s)
        return replace(each, busy_s=each.busy_s + first.busy_s, nodes=(slow, *others))

    fit = fitted(tmp_path, changed(lines, slower))
    slowest = max(fit.nodes, key=lambda node: node.ratio)
    assert slowest.ratio > 1.2
    assert any(f"node {slowest.node} is slow" in each for each in fit.failures)


def test_starts_on_other_nodes_give_the_loading_time(tmp_path):
    where = cluster(load_s=40.0, processors=2)
    found, _ = adaptive(where, trace(hours=3, mean_per_minute=1500))
    fit = fitted(tmp_path, found)
    assert fit.starts > 0
    assert fit.loading_s == pytest.approx(40.0, abs=10.0)


def test_the_first_start_gives_the_loading_time_although_no_process_began_since(tmp_path):
    found, _ = fixed(8, cluster(load_s=40.0), trace())
    fit = fitted(tmp_path, found)
    assert (fit.starts, fit.loading_s) == (1, pytest.approx(40.0, abs=0.01))


def test_a_deployment_whose_processes_began_long_after_its_creation_has_no_loading_time(tmp_path):
    found, _ = fixed(8, cluster(load_s=40.0), trace())
    restarted = [
        replace(each, created_at=each.created_at - 3600.0) if each.created_at else each
        for each in found[2:]
    ]
    fit = fitted(tmp_path, [*found[:2], *restarted])
    assert fit.loading_s is None
    assert "no process began on another node" in " ".join(fit.assumptions)


def test_failures_in_front_of_queues_show_a_time_out(tmp_path, lines):
    def failing(each):
        return replace(each, failed=1, in_flight=each.running + 480)

    fit = fitted(tmp_path, changed(lines, failing))
    assert fit.timeout_s == pytest.approx(480 * fit.service_time_s / 6)
    text = scenario_text(fit)
    assert "About: the queue wait at which requests failed" in text
    assert "the time-out of requests is unknown" not in text


def test_a_back_test_reads_the_scenario_and_the_trace(tmp_path, lines):
    fit = fitted(tmp_path, lines)
    (tmp_path / "model.toml").write_text(scenario_text(fit))
    scenario = read_scenario(tmp_path / "model.toml")
    assert scenario.service_time_s == pytest.approx(fit.service_time_s, abs=1e-6)
    assert (scenario.nodes, scenario.queue_capacity) == (3, fit.queue_capacity)
    assert (scenario.scale.factor, scenario.hours) == (1.0, None)
    assert scenario.begins_at == fit.since
    (tmp_path / "model.csv").write_text(trace_text(fit))
    counts = read_trace(tmp_path / "model.csv").counts
    assert counts.sum() == sum(each.arrivals for each in lines if isinstance(each, LoadInterval))
    assert np.all(counts >= 0)


def test_what_is_not_in_the_record_is_a_comment(tmp_path, lines):
    text = scenario_text(fitted(tmp_path, lines))
    assert "# Not known: whether callers try again after a failure is unknown" in text
    assert "assumed: it is too short to be measured" in text
    assert "retry_share = 0.0  # not known" in text


def test_file_names_are_safe_and_different():
    names = {file_name(each) for each in (HOSTILE, "../x", "x", "", "..", "a/b", "a-b", "\udcff")}
    assert len(names) == 8
    assert all(name and "/" not in name and not name.startswith(".") for name in names)


def test_no_id_can_be_chosen_so_that_its_files_are_those_of_another():
    ids = ["../x", "X", "x" * 99 + "/", "x" * 300, "x" * 301]
    ids += [file_name(each) for each in ids]  # ids that are the names of others
    ids += [file_name(each) for each in ids]
    names = [file_name(each).lower() for each in dict.fromkeys(ids)]
    assert len(set(names)) == len(names)
    assert max(map(len, names)) < 200


def test_hostile_ids_reach_neither_the_terminal_nor_the_files(tmp_path, monkeypatch, lines):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").write_text(CONFIG)
    few = [each for each in lines if isinstance(each, LoadInterval)][:60]
    hostile = [replace(each, deployment=f"{HOSTILE}\n[model]") for each in few]
    write_intervals(tmp_path / "load.jsonl", [lines[0], *hostile])
    ran = CliRunner().invoke(
        main,
        ["calibrate", "--config", "config.toml", "--intervals", "load.jsonl", "--to-dir", "fits"],
    )
    assert ran.exit_code == 0, ran.output
    assert "CONTRADICTED: the record is" in ran.stdout
    assert all(c.isprintable() or c == "\n" for c in ran.stdout)
    (scenario,) = (tmp_path / "fits").glob("*.toml")
    assert read_scenario(scenario).queue_capacity == 1024
    assert len(list((tmp_path / "fits").iterdir())) == 2


@pytest.mark.parametrize("name", ["config.toml", "config.csv"])
def test_files_that_are_not_of_a_calibration_are_not_replaced(tmp_path, monkeypatch, lines, name):
    """A deployment may have the name of the configuration, or of the counts it is imported from."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules").write_text(CONFIG)
    named = [replace(each, deployment="config") for each in lines[2:500]]
    write_intervals(tmp_path / "load.jsonl", [lines[0], *named])
    (tmp_path / name).write_text("of the operator")
    given = ["--config", "rules", "--intervals", "load.jsonl", "--to-dir", "."]
    ran = CliRunner().invoke(main, ["calibrate", *given])
    assert ran.exit_code == 1
    assert f"{name} exists, and `autoscaler calibrate` did not write it" in ran.stderr
    assert (tmp_path / name).read_text() == "of the operator"
    assert len(list(tmp_path.iterdir())) == 3
    (tmp_path / name).unlink()
    for _ in range(2):  # its own files are replaced
        ran = CliRunner().invoke(main, ["calibrate", *given])
        assert ran.exit_code == 0, ran.output


def test_a_directory_that_cannot_be_made_is_a_sentence(tmp_path, monkeypatch, lines):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").write_text(CONFIG)
    write_intervals(tmp_path / "load.jsonl", lines[:500])
    ran = CliRunner().invoke(
        main,
        ["calibrate", "--config", "config.toml", "--intervals", "load.jsonl", "--to-dir", "a/b"],
    )
    assert ran.exit_code == 1
    assert "cannot write into a/b" in ran.stderr
