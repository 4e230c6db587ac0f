import io
import json
import logging
import math
import random
import re
from pathlib import Path

import pytest
import structlog
from msgspec.structs import replace

from autoscaler.adapters.logs import LogRecorder, configure
from autoscaler.adapters.logs.logged_decisions import REPEAT_AFTER_S
from autoscaler.adapters.logs.recorder import MAX_LINES
from autoscaler.core.decision import (
    CompletedRollout,
    ExternalChange,
    NoEffect,
    OutcomeKind,
    Setting,
    Unmanaged,
)
from autoscaler.core.next_poll import NextPoll, PollCause
from autoscaler.core.shortfall import ReportedStatus, Shortfall, ShortfallCause
from autoscaler.core.values import Candidate, Reason, Step
from autoscaler.ports import FailureKind, ObservationFailed
from tests.adapters.recorded import cycle, decision, outcome, steady


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


pytestmark = pytest.mark.usefixtures("logging_restored")


@pytest.fixture
def log():
    """The lines so far, as pairs of level and event."""
    return Log()


class Log:
    def __init__(self) -> None:
        self.stream = io.StringIO()
        configure("json", "debug", version="1.2.3", environ={}, stream=self.stream)
        self.recorder = LogRecorder()

    def take(self, *, debug: bool = False) -> list[dict]:
        """The lines written since the last call."""
        lines = [json.loads(line) for line in self.stream.getvalue().splitlines()]
        self.stream.seek(0)
        self.stream.truncate()
        return [line for line in lines if debug or line["level"] != "debug"]

    def planned(self, *outcomes, **more) -> list[dict]:
        self.recorder.planned(*cycle(*outcomes, **more))
        return self.take()

    def skipped(self, kind: FailureKind, at: float = 1_000.0) -> list[dict]:
        self.recorder.skipped(ObservationFailed(kind, "no response from https://es:9200"), at)
        return self.take()


def events(lines: list[dict]) -> list[tuple[str, str]]:
    return [(line["level"], line["event"]) for line in lines]


class TestDecisions:
    def test_an_accepted_update_is_one_complete_line(self, log):
        (line,) = log.planned(outcome(decision(), OutcomeKind.ACCEPTED))
        assert line["event"] == "update.accepted"
        assert line["level"] == "info"
        assert line["logger"] == "autoscaler"
        assert line["message"] == ("elser 3 -> 6: load 4.50 at 70% needs 7; bounds are 1..6")
        assert (line["current"], line["recommended"], line["desired"]) == (3, 7, 6)
        assert (line["rule"], line["reason"], line["outcome"]) == ("all", "bounds", "accepted")
        assert line["steps"][1] == {
            "reason": "bounds",
            "before": 7,
            "after": 6,
            "inputs": {"min_allocations": 1, "max_allocations": 6},
        }
        assert line["load"]["arrival_rate_per_s"] == 60.0
        assert line["load"]["offered_load"] == 4.5
        assert (line["min_allocations"], line["max_allocations"]) == (1, 6)
        assert line["sample"]["completed"] == 200

    def test_an_unchanged_decision_is_logged_once(self, log):
        calm = outcome(steady(), OutcomeKind.UNCHANGED)
        assert events(log.planned(calm)) == [("info", "decision.made")]
        assert log.planned(calm) == []
        log.recorder.planned(*cycle(calm))
        assert events(log.take(debug=True)) == [("debug", "decision.made")]

    def test_a_new_reason_is_logged_even_if_the_allocations_stay(self, log):
        log.planned(outcome(steady(), OutcomeKind.UNCHANGED))
        steps = (
            Step(Reason.TARGET_TRACKING, 3, 2, _LOW),
            Step(Reason.DATA_QUALITY, 2, 3, {"issues": "counter_reset"}),
        )
        held = steady(steps=steps)
        (line,) = log.planned(outcome(held, OutcomeKind.UNCHANGED))
        assert (line["event"], line["reason"]) == ("decision.made", "data_quality")

    def test_reasons_that_alternate_while_nothing_changes_are_a_line_each(self, log):
        slow = (Step(Reason.DATA_QUALITY, 3, 3, {"issues": "slow_response"}),)
        at, lines = steady().at, []
        for poll in range(60):
            of_poll = {"at": at + 10.0 * poll} | ({"steps": slow} if poll % 2 else {})
            lines += log.planned(outcome(steady(**of_poll), OutcomeKind.UNCHANGED))
        assert [line["reason"] for line in lines] == ["target_tracking", "data_quality"]
        later = steady(at=at + REPEAT_AFTER_S + 10.0, steps=slow)
        log.planned(outcome(steady(at=at + REPEAT_AFTER_S - 10.0), OutcomeKind.UNCHANGED))
        assert len(log.planned(outcome(later, OutcomeKind.UNCHANGED))) == 1

    def test_a_reason_is_logged_again_when_the_allocations_have_changed(self, log):
        log.planned(outcome(steady(), OutcomeKind.UNCHANGED))
        log.planned(outcome(decision(), OutcomeKind.ACCEPTED))
        assert len(log.planned(outcome(steady(), OutcomeKind.UNCHANGED))) == 1

    def test_the_noise_of_a_steady_load_is_not_logged(self, log):
        log.planned(outcome(steady(), OutcomeKind.UNCHANGED))
        held = steady(steps=(Step(Reason.TARGET_TRACKING, 3, 2, _LOW), Step(Reason.STABILISATION,
                      2, 3, {"window_s": 300.0, "highest": 3})))  # fmt: skip
        assert log.planned(outcome(held, OutcomeKind.UNCHANGED)) == []

    @pytest.mark.parametrize(
        ("level", "candidates"),
        [("debug", [[2, 1.0, None, 90.0], [3, 0.006, 0.12, 3.1]]), ("info", None)],
    )
    def test_candidates_are_logged_at_debug_only_and_in_short(self, level, candidates):
        stream = io.StringIO()
        configure("json", level, version="1", environ={}, stream=stream)
        chosen = steady(steps=(Step(Reason.SLO, 3, 3, _LOAD, _CANDIDATES),))
        LogRecorder().planned(*cycle(outcome(chosen, OutcomeKind.UNCHANGED)))
        (step,) = json.loads(stream.getvalue())["steps"]
        assert step["inputs"] == _LOAD
        assert step.get("candidates") == candidates

    def test_a_dry_run(self, log):
        (line,) = log.planned(outcome(decision(dry_run=True), OutcomeKind.DRY_RUN))
        assert (line["level"], line["event"]) == ("info", "decision.made")
        assert line["message"].endswith("(dry run, not sent)")
        assert log.planned(outcome(decision(dry_run=True), OutcomeKind.DRY_RUN)) == []

    def test_a_refusal_is_logged_once_as_a_warning_with_the_message_of_the_cluster(self, log):
        refused = outcome(decision(), OutcomeKind.NO_CAPACITY, "Could not update deployment")
        (line,) = log.planned(refused)
        assert (line["level"], line["event"]) == ("warning", "update.refused")
        assert line["detail"] == "Could not update deployment"
        assert line["message"].endswith(
            "(refused for lack of capacity: Could not update deployment)"
        )
        assert log.planned(refused) == []

    def test_no_response_is_not_a_refusal(self, log):
        lines = log.planned(outcome(decision(), OutcomeKind.UNKNOWN, "connection reset"))
        assert events(lines) == [("warning", "update.unanswered")]

    @pytest.mark.parametrize("kind", OutcomeKind)
    def test_every_outcome_is_logged(self, log, kind):
        (line,) = log.planned(outcome(decision(), kind))
        assert line["outcome"] == str(kind)

    def test_forbidden_updates_are_logged_once_for_all_deployments(self, log):
        def forbidden() -> list[dict]:
            return log.planned(
                outcome(decision("a"), OutcomeKind.FORBIDDEN),
                outcome(decision("b"), OutcomeKind.FORBIDDEN),
            )

        (line,) = forbidden()
        assert (line["level"], line["event"]) == ("error", "update.refused")
        assert forbidden() == []
        log.planned(outcome(decision("a"), OutcomeKind.ACCEPTED))
        assert len(forbidden()) == 1

    def test_a_completed_rollout(self, log):
        done = CompletedRollout(
            deployment_id="elser", allocations=6, lead_time_s=25.4, new_node=True
        )
        (line,) = log.planned(completed_rollouts=(done,))
        assert (line["level"], line["event"]) == ("info", "update.completed")
        assert line["message"] == "elser runs 6 allocations, 25 s after the update"
        assert (line["took_s"], line["new_node"]) == (25.4, True)


_LOW = {"offered_load": 1.2, "target_utilisation": 0.7}
_LOAD = {"offered_load": 2.0, "load_stddev": 0.2}
_CANDIDATES = (
    Candidate(allocations=2, violation_fraction=1.0, queue_wait_s=math.inf, cost=90.0),
    Candidate(allocations=3, violation_fraction=0.006, queue_wait_s=0.12, cost=3.1),
)


class TestDeployments:
    def test_a_deployment_that_is_not_managed_is_logged_once_per_reason(self, log):
        (line,) = log.planned(unmanaged={".x": Unmanaged.HIDDEN})
        assert (line["event"], line["reason"]) == ("deployment.unmanaged", "hidden")
        assert line["message"].startswith(".x is not managed: its id begins with a dot")
        assert log.planned(unmanaged={".x": Unmanaged.HIDDEN}) == []
        assert len(log.planned(unmanaged={".x": Unmanaged.NO_RULE})) == 1

    def test_an_unreadable_deployment_is_logged_once_as_a_warning(self, log):
        (line,) = log.planned(unreadable={"x": "trained_model_stats[0]: Expected `int`"})
        assert (line["level"], line["event"]) == ("warning", "deployment.unreadable")
        assert line["problem"] == "trained_model_stats[0]: Expected `int`"
        assert log.planned(unreadable={"x": "trained_model_stats[1]: Expected `int`"}) == []
        log.planned()
        assert len(log.planned(unreadable={"x": "again"})) == 1

    @pytest.mark.parametrize(
        ("event", "level", "of_cycle"),
        [
            ("deployment.unreadable", "warning", lambda names: {"unreadable": names}),
            ("deployment.unmanaged", "info", lambda names: {"unmanaged": names}),
        ],
    )
    def test_of_many_deployments_some_have_a_line(self, log, event, level, of_cycle):
        names = {f"d{number:02d}": Unmanaged.HIDDEN for number in range(MAX_LINES + 5)}
        *lines, last = sorted(log.planned(**of_cycle(names)), key=lambda line: "of" in line)
        assert events(lines) == [(level, event)] * MAX_LINES
        assert (last["level"], last["event"]) == (level, "deployments.more")
        assert (last["of"], last["deployments"]) == (event, 5)
        assert log.planned(**of_cycle(names)) == []

    def test_many_vanished_deployments_are_few_lines(self, log):
        log.planned(unreadable={f"d{number:02d}": "odd" for number in range(MAX_LINES + 5)})
        lines = log.planned()
        assert len(lines) == MAX_LINES + 1
        assert {line["deployments"] for line in lines if "of" in line} == {5}

    def test_deployments_that_are_left_out_are_a_warning_when_it_begins(self, log):
        def cycle_with(left_out: int) -> list[dict]:
            observation, *rest = cycle()
            log.recorder.planned(replace(observation, left_out=left_out), *rest)
            return log.take()

        (line,) = cycle_with(3)
        assert (line["level"], line["event"]) == ("warning", "deployments.left_out")
        assert line["left_out"] == 3
        assert cycle_with(4) == cycle_with(0) == []
        assert len(cycle_with(1)) == 1

    def test_a_vanished_deployment_is_forgotten(self, log):
        calm = outcome(steady(), OutcomeKind.UNCHANGED)
        log.planned(calm)
        assert events(log.planned()) == [("info", "deployment.vanished")]
        assert log.planned() == []
        assert events(log.planned(calm)) == [("info", "decision.made")]


class TestObservations:
    def test_a_failure_is_logged_when_it_begins_changes_and_ends(self, log):
        (line,) = log.skipped(FailureKind.TIMEOUT, at=1_000.0)
        assert (line["level"], line["event"]) == ("warning", "observation.failed")
        assert line["message"] == "no response from https://es:9200"
        assert line["kind"] == "timeout"
        assert log.skipped(FailureKind.TIMEOUT, at=1_010.0) == []
        assert len(log.skipped(FailureKind.UNREACHABLE, at=1_020.0)) == 1
        (line,) = log.planned(at=1_030.0)
        assert (line["level"], line["event"]) == ("info", "observation.recovered")
        assert (line["skipped_cycles"], line["lasted_s"]) == (3, 30.0)
        assert log.planned(at=1_040.0) == []

    def test_a_longer_interval_is_logged_each_time_it_grows(self, log):
        def skipped(next_after_s: float) -> list[dict]:
            failure = ObservationFailed(FailureKind.UNAVAILABLE, "no master")
            failure.next_after_s = next_after_s
            log.recorder.skipped(failure, 1_000.0)
            return log.take()

        assert events(skipped(0.0)) == [("warning", "observation.failed")]
        for interval_s in (20.0, 40.0, 60.0):
            (line,) = skipped(interval_s)
            assert (line["level"], line["event"]) == ("info", "observation.slowed")
            assert line["message"] == (
                "cluster: statistics that cannot be read are requested every "
                f"{interval_s:.0f} s, until a request succeeds"
            )
            assert skipped(interval_s) == []
        assert events(log.planned()) == [("info", "observation.recovered")]
        assert events(skipped(20.0))[1:] == [("info", "observation.slowed")]

    @pytest.mark.parametrize("kind", [FailureKind.FORBIDDEN, FailureKind.UNAUTHENTICATED])
    def test_a_failure_that_needs_an_operator_is_logged_once_as_an_error(self, log, kind):
        assert events(log.skipped(kind)) == [("error", "observation.failed")]
        assert log.skipped(kind) == []

    def test_a_defect_is_logged_once_with_its_traceback(self, log):
        def defect(cause: Exception) -> list[dict]:
            try:
                try:
                    raise cause
                except Exception as error:
                    failed = ObservationFailed(FailureKind.DEFECT, f"the cycle failed: {error!r}")
                    raise failed from error
            except ObservationFailed as failure:
                log.recorder.skipped(failure, 1_000.0)
            return log.take()

        (line,) = defect(KeyError("elser"))
        assert (line["level"], line["event"]) == ("error", "observation.failed")
        assert line["exception"].startswith("Traceback")
        assert line["exception"].endswith("KeyError: 'elser'")
        assert defect(KeyError("elser")) == []
        assert len(defect(KeyError("e5"))) == 1


class TestForms:
    def test_auto_is_console_on_a_terminal_and_json_elsewhere(self):
        terminal, pipe = Terminal(), io.StringIO()
        configure("auto", "info", version="1", environ={}, stream=terminal)
        structlog.get_logger("test").info("thing.done", message="it is done")
        configure("auto", "info", version="1", environ={}, stream=pipe)
        structlog.get_logger("test").info("thing.done", message="it is done")
        assert "\x1b[" in terminal.getvalue()
        assert json.loads(pipe.getvalue())["event"] == "thing.done"

    @pytest.mark.parametrize(("no_color", "coloured"), [("1", False), ("", True)])
    def test_no_color_is_honoured(self, no_color, coloured):
        terminal = Terminal()
        configure("console", "info", version="1", environ={"NO_COLOR": no_color}, stream=terminal)
        structlog.get_logger("test").info("thing.done")
        assert ("\x1b[" in terminal.getvalue()) == coloured

    def test_a_console_shows_the_message_without_the_data(self):
        stream = io.StringIO()
        configure("console", "info", version="1", environ={}, stream=stream)
        LogRecorder().planned(*cycle(outcome(decision(), OutcomeKind.ACCEPTED)))
        assert "elser 3 -> 6: load 4.50 at 70% needs 7" in stream.getvalue()
        assert "steps=" not in stream.getvalue()

    def test_ecs_has_the_names_of_the_schema_and_nests_other_fields(self):
        stream = io.StringIO()
        configure("ecs", "info", version="1.2.3", environ={}, stream=stream)
        LogRecorder().planned(*cycle(outcome(decision(), OutcomeKind.ACCEPTED)))
        line = json.loads(stream.getvalue())
        assert line["@timestamp"].endswith("Z")
        assert line["log.level"] == "info"
        assert line["message"].startswith("elser 3 -> 6")
        assert line["event.action"] == "update.accepted"
        assert (line["service.name"], line["service.version"]) == ("autoscaler", "1.2.3")
        assert line["autoscaler"]["desired"] == 6
        assert set(line) <= {
            "@timestamp", "log.level", "log.logger", "message", "ecs.version", "event.action",
            "service.name", "service.version", "autoscaler",
        }  # fmt: skip

    @pytest.mark.parametrize("style", ["console", "json", "ecs"])
    def test_tracebacks_show_no_values(self, style):
        stream = io.StringIO()
        configure(style, "info", version="1", environ={}, stream=stream)
        secret = "open " + "sesame"
        try:
            raise RuntimeError("it broke")
        except RuntimeError:
            structlog.get_logger("test").exception("loop.failed")
        assert "RuntimeError: it broke" in stream.getvalue().replace('":"', ": ")
        assert secret not in stream.getvalue()

    @pytest.mark.parametrize("style", ["json", "ecs"])
    def test_json_has_printable_characters_only_and_the_same_meaning(self, style):
        stream = io.StringIO()
        configure(style, "info", version="1", environ={}, stream=stream)
        hostile = "".join(map(chr, [*range(0x20), 0x7F, 0x9B, 0x2028, 0x202E, 0xFEFF, 0xE0001]))
        structlog.get_logger("test").info("thing.done", message=hostile)
        (line,) = stream.getvalue().removesuffix("\n").split("\n")
        assert line.isprintable()
        assert json.loads(line)["message"] == hostile

    def test_the_name_of_a_file_that_is_not_utf_8_is_no_error(self):
        stream = io.StringIO()
        configure("json", "info", version="1", environ={}, stream=stream)
        structlog.get_logger("test").info("thing.done", message="\udcff: no such file")
        assert json.loads(stream.getvalue())["message"] == "\udcff: no such file"

    def test_an_exception_in_ecs(self):
        stream = io.StringIO()
        configure("ecs", "info", version="1", environ={}, stream=stream)
        try:
            raise ValueError("a: b")
        except ValueError:
            structlog.get_logger("test").exception("loop.failed")
        line = json.loads(stream.getvalue())
        assert (line["error.type"], line["error.message"]) == ("ValueError", "a: b")
        assert line["error.stack_trace"].startswith("Traceback")

    def test_lines_of_libraries_have_the_same_format_and_threshold(self):
        stream = io.StringIO()
        configure("json", "warning", version="1", environ={}, stream=stream)
        logging.getLogger("aiohttp.client").info("quiet")
        logging.getLogger("aiohttp.client").warning("%d connections left open", 3)
        (line,) = map(json.loads, stream.getvalue().splitlines())
        assert line["event"] == "3 connections left open"
        assert (line["level"], line["logger"]) == ("warning", "aiohttp.client")

    def test_lines_below_the_level_are_dropped(self):
        stream = io.StringIO()
        configure("json", "warning", version="1", environ={}, stream=stream)
        LogRecorder().planned(*cycle(outcome(decision(), OutcomeKind.ACCEPTED)))
        assert stream.getvalue() == ""

    def test_json_begins_with_time_level_event_and_message(self):
        stream = io.StringIO()
        configure("json", "info", version="1", environ={}, stream=stream)
        structlog.get_logger("test").info("thing.done", count=42, message="it is done")
        assert list(json.loads(stream.getvalue()))[:4] == ["timestamp", "level", "event", "message"]

    def test_configuring_again_does_not_double_the_lines(self):
        stream = io.StringIO()
        for _ in range(2):
            configure("json", "info", version="1", environ={}, stream=stream)
        structlog.get_logger("test").info("thing.done")
        assert len(stream.getvalue().splitlines()) == 1


def short(running, cause=ShortfallCause.LOST, *, since=1_000.0, at=1_000.0, requested=24):
    """A steady decision with a shortfall."""
    shortfall = Shortfall(
        since=since,
        progress_at=since,
        requested=requested,
        running=running,
        lost=requested - running if cause is ShortfallCause.LOST else 0,
        cause=cause,
    )
    return steady(at=at, running=running, shortfall=shortfall)


class TestMissingAllocations:
    @staticmethod
    def of(log, decision):
        lines = log.planned(outcome(decision, OutcomeKind.UNCHANGED), at=decision.at)
        return [line for line in lines if line["event"].startswith("allocations.")]

    def test_a_loss_is_one_warning_with_its_figures(self, log):
        (line,) = self.of(log, short(16))
        assert (line["level"], line["event"]) == ("warning", "allocations.missing")
        assert line["message"] == "elser: 16 of 24 running; 8 lost"
        assert (line["running"], line["requested"], line["lost"]) == (16, 24, 8)
        assert line["cause"] == "lost"
        assert self.of(log, short(16, at=1_010.0)) == []

    def test_fewer_still_is_another(self, log):
        assert self.of(log, short(16))
        assert events(self.of(log, short(20))) == [("info", "allocations.changed")]
        assert self.of(log, short(17)) == []
        (line,) = self.of(log, short(8))
        assert (line["level"], line["running"]) == ("warning", 8)

    def test_a_partial_recovery_is_info_with_what_ran_before(self, log):
        self.of(log, short(13))
        (line,) = self.of(log, short(16, at=1_030.0))
        assert events([line]) == [("info", "allocations.changed")]
        assert line["message"] == "elser: 16 of 24 running; 8 lost, for 30 s; before, 13 ran"
        assert (line["running"], line["requested"], line["lost"]) == (16, 24, 8)
        assert events(self.of(log, steady(at=1_040.0, running=24))) == [
            ("info", "allocations.running")
        ]

    def test_a_loss_after_a_recovery_is_logged_and_a_warning_if_the_last_is_long_ago(self, log):
        self.of(log, short(13))
        self.of(log, short(20, at=1_100.0))
        (line,) = self.of(log, short(16, at=1_200.0))
        assert events([line]) == [("info", "allocations.changed")]
        assert line["message"].endswith("; before, 20 ran")
        (line,) = self.of(log, short(15, at=1_700.0))
        assert events([line]) == [("warning", "allocations.missing")]

    def test_the_rate_of_changes_is_bounded_and_the_last_level_is_logged(self, log):
        """A node that returns step by step, and processes that crash meanwhile."""
        rng, lines = random.Random(7), []
        for second in range(0, 3_600, 10):
            running = 8 + rng.randrange(16)
            lines += self.of(log, short(running, at=1_000.0 + second))
        lines += self.of(log, short(22, at=4_700.0))
        changes = [line for line in lines if line["event"] == "allocations.changed"]
        lows = len(lines) - len(changes)
        assert len(changes) <= 61
        assert lows <= 16 + 6, "each new low, and a loss every ten minutes"
        assert lines[-1]["running"] == 22

    def test_a_process_that_crashes_again_and_again_does_not_fill_the_log(self, log):
        lines = []
        for at in range(1_000, 2_200, 20):
            lines += self.of(log, short(22, at=float(at), since=float(at)))
            lines += self.of(log, steady(at=at + 10.0, running=24))
        assert [line["event"] for line in lines] == [
            "allocations.missing",
            "allocations.running",
            "allocations.missing",
            "allocations.running",
        ]

    def test_its_end_is_info_with_how_long_it_lasted(self, log):
        self.of(log, short(16))
        (line,) = self.of(log, steady(at=1_300.0, running=24))
        assert events([line]) == [("info", "allocations.running")]
        assert line["message"] == "elser: all 24 allocations run again, after 5 min"
        assert self.of(log, steady(at=1_310.0, running=24)) == []

    def test_unknown_is_no_end(self, log):
        self.of(log, short(16))
        assert self.of(log, steady(at=1_010.0)) == []
        assert self.of(log, short(16, at=1_020.0)) == []

    def test_a_rollout_is_silent_until_it_is_overdue(self, log):
        assert self.of(log, short(16, ShortfallCause.STARTING)) == []
        (line,) = self.of(log, short(16, ShortfallCause.OVERDUE, at=1_700.0))
        assert line["message"] == "elser: 16 of 24 running; 8 have not started, for 12 min"

    def test_the_cluster_is_quoted(self, log):
        said = ReportedStatus(state="started", reason="no room on [ml-1]", routes=())
        (line,) = self.of(log, replace(short(16), reported=said))
        assert line["message"].endswith("; the cluster reports: no room on [ml-1]")
        assert line["reported"] == "no room on [ml-1]"

    def test_a_vanished_deployment_begins_again(self, log):
        self.of(log, short(16))
        log.planned()
        assert len(self.of(log, short(16))) == 1


def test_external_changes_and_updates_without_effect_are_warnings(log):
    changed = ExternalChange(
        deployment_id="elser", at=1_000.0, before=Setting(8), after=Setting(4), times=3, hold_s=60.0
    )
    lost = NoEffect(
        deployment_id="elser",
        requested=Setting(6),
        shown=Setting(3),
        accepted_at=900.0,
        at=1_000.0,
        times=1,
        wait_s=60.0,
    )
    observed, plan, outcomes, took = cycle(outcome(steady(), OutcomeKind.UNCHANGED))
    plan = replace(plan, external_changes=(changed,), no_effect=(lost,))
    log.recorder.planned(observed, plan, outcomes, took)
    lines = {line["event"]: line for line in log.take()}
    assert lines["deployment.changed"]["level"] == "warning"
    assert (
        "change 3 in a row; look for a second autoscaler" in lines["deployment.changed"]["message"]
    )
    assert lines["deployment.changed"]["second_writer"]
    assert lines["update.no_effect"]["level"] == "warning"
    assert lines["update.no_effect"]["message"] == (
        "elser: the update to 6 was accepted 100 s ago, but it still has 3; sent again in 60 s"
    )


def test_a_deployment_left_to_adaptive_allocations_is_a_warning_when_that_begins(log):
    def left(current):
        steps = (Step(Reason.ADAPTIVE_ENABLED, current, current),)
        return outcome(steady(current=current, steps=steps), OutcomeKind.UNCHANGED)

    assert events(log.planned(left(3))) == [("warning", "decision.made")]
    assert events(log.planned(left(4))) == [("info", "decision.made")]
    log.planned(outcome(steady(), OutcomeKind.UNCHANGED))
    assert events(log.planned(left(3))) == [("warning", "decision.made")]


class TestConsole:
    @staticmethod
    def lines(*outcomes, **planned):
        stream = io.StringIO()
        configure("console", "info", version="1", environ={}, stream=stream)
        LogRecorder().planned(*cycle(*outcomes, **planned))
        return stream.getvalue().splitlines()

    def test_a_line_is_time_level_sentence_and_the_fields_that_matter(self):
        (line,) = self.lines(outcome(decision(), OutcomeKind.ACCEPTED))
        assert re.fullmatch(
            r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ info    elser 3 -> 6: load 4\.50 at 70% needs 7; "
            r"bounds are 1\.\.6  event=update\.accepted rule=all reason=bounds",
            line,
        )

    def test_no_field_repeats_the_sentence(self):
        (line,) = self.lines(outcome(decision(), OutcomeKind.NO_CAPACITY, "no room"))
        assert line.count("no room") == 1

    def test_a_line_of_a_library_has_its_name(self):
        stream = io.StringIO()
        configure("console", "info", version="1", environ={}, stream=stream)
        logging.getLogger("aiohttp.server").warning("odd request")
        assert stream.getvalue().endswith("Z warning odd request  logger=aiohttp.server\n")

    def test_the_words_of_a_cluster_cannot_act_on_the_terminal_or_begin_a_line(self):
        reason = "a\x1b[2Jb\nc\r2026 info fine\u2028\u202e"
        (line,) = self.lines(outcome(decision(), OutcomeKind.INVALID, reason))
        assert line.isprintable()
        assert r"a\x1b[2Jb\nc\r2026 info fine\u2028\u202e" in line

    def test_the_words_of_a_cluster_in_a_traceback_cannot_either(self):
        stream = io.StringIO()
        configure("console", "info", version="1", environ={}, stream=stream)
        try:
            raise RuntimeError("a\x1b[2J\u202e")
        except RuntimeError:
            structlog.get_logger("test").exception("loop.failed")
        lines = stream.getvalue().split("\n")
        assert all(map(str.isprintable, lines))
        assert r"RuntimeError: a\x1b[2J\u202e" in lines

    def test_each_of_several_problems_has_a_line(self):
        stream = io.StringIO()
        configure("console", "info", version="1", environ={}, stream=stream)
        structlog.get_logger("test").error("config.reload_failed", problems=("a\n", "b"))
        first, *others, end = stream.getvalue().split("\n")
        assert first.endswith("config.reload_failed  logger=test")
        assert (others, end) == (["    a\\n", "    b"], "")


def test_every_event_is_documented():
    root = Path(__file__).parents[2]
    event = r'"([a-z]+(?:_[a-z]+)*\.[a-z_]+)"'
    written = {
        name
        for path in (root / "autoscaler").rglob("*.py")
        for name in re.findall(
            rf"(?:_log\.\w+\(|event = |event, \w+ = |event, \w+, \S+ = )\s*(?:level, )?{event}",
            path.read_text(),
        )
    }
    assert {"decision.made", "update.refused", "observation.failed"} <= written
    described = (root / "docs/operations.md").read_text()
    assert sorted(name for name in written if f"`{name}`" not in described) == []


def test_the_next_poll_is_logged_when_its_cause_differs(log):
    early = NextPoll(within_s=2.0, cause=PollCause.QUEUE, deployment_id="elser")
    slow = NextPoll(within_s=15.0, cause=PollCause.SLOW_CLUSTER)
    for due in (NextPoll(within_s=10.0), early, early, slow, NextPoll(within_s=10.0)):
        log.recorder.planned(*cycle(next_poll=due))
    lines = [line for line in log.take(debug=True) if line["event"] == "poll.due"]
    assert [line["message"] for line in lines] == [
        "next poll in 2 s: a queue stands (deployment elser)",
        "next poll in 15 s: the cluster took long to collect the statistics",
        "next poll in 10 s",
    ]
    assert (lines[0]["deployment"], lines[0]["cause"], lines[0]["within_s"]) == (
        "elser",
        "queue",
        2.0,
    )


def test_polls_further_apart_than_configured_are_logged_once_until_they_are_on_time(log):
    late = NextPoll(within_s=14.0, cause=PollCause.SLOW_CYCLE, stretched_s=4.0)
    early = NextPoll(within_s=4.0, cause=PollCause.SLOW_CYCLE)  # 2 s were wanted
    on_time = NextPoll(within_s=10.0)
    for number, due in enumerate((on_time, early, late, late, on_time, late, on_time)):
        log.recorder.planned(*cycle(next_poll=due, at=10.0 * number))
    log.recorder.planned(*cycle(next_poll=late, at=20.0 + 600.0))
    lines = [line for line in log.take() if line["event"].startswith("poll.")]
    assert [(line["event"], line["level"]) for line in lines] == [
        ("poll.stretched", "warning"),
        ("poll.restored", "info"),
        ("poll.stretched", "warning"),
    ]
    assert lines[0]["message"] == (
        "the next poll is due in 14 s, not in 10 s: planning for all deployments took long"
    )
    assert (lines[0]["within_s"], lines[0]["cause"]) == (14.0, "slow_cycle")
