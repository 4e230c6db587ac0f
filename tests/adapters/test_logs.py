import io
import json
import logging
import math

import pytest
import structlog

from autoscaler.adapters.logs import LogRecorder, configure
from autoscaler.core.values import Candidate, CompletedRollout, OutcomeKind, Reason, Step, Unmanaged
from autoscaler.ports import FailureKind, ObservationFailed
from tests.adapters.recorded import cycle, decision, outcome, steady


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _configuration_restored():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


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

    def skipped(self, trouble: FailureKind, at: float = 1_000.0) -> list[dict]:
        self.recorder.skipped(ObservationFailed(trouble, "no answer from https://es:9200"), at)
        return self.take()


def events(lines: list[dict]) -> list[tuple[str, str]]:
    return [(line["level"], line["event"]) for line in lines]


class TestDecisions:
    def test_an_accepted_update_is_one_line_complete_in_itself(self, log):
        (line,) = log.planned(outcome(decision(), OutcomeKind.ACCEPTED))
        assert line["event"] == "update.accepted"
        assert line["level"] == "info"
        assert line["logger"] == "autoscaler"
        assert line["message"] == ("elser 3 -> 6: load 4.50 at 70% needs 7; bounds are 1..6")
        assert (line["current"], line["recommended"], line["desired"]) == (3, 7, 6)
        assert (line["rule"], line["reason"], line["outcome"]) == ("all", "bounds", "accepted")
        assert line["steps"][1] == {
            "reason": "bounds", "before": 7, "after": 6, "inputs": {"min_allocations": 1, "max_allocations": 6}
        }  # fmt: skip
        assert line["load"]["arrival_rate_per_s"] == 60.0
        assert line["load"]["offered_load"] == 4.5
        assert (line["min_allocations"], line["max_allocations"]) == (1, 6)
        assert line["sample"]["completed"] == 200

    def test_what_stays_as_it_is_is_told_once(self, log):
        calm = outcome(steady(), OutcomeKind.UNCHANGED)
        assert events(log.planned(calm)) == [("info", "decision.made")]
        assert log.planned(calm) == []
        log.recorder.planned(*cycle(calm))
        assert events(log.take(debug=True)) == [("debug", "decision.made")]

    def test_a_new_reason_is_told_even_if_the_number_stays(self, log):
        log.planned(outcome(steady(), OutcomeKind.UNCHANGED))
        held = steady(steps=(Step(Reason.TARGET_TRACKING, 3, 2, _LOW), Step(Reason.DATA_QUALITY, 2, 3,
                      {"issues": "reset"})))  # fmt: skip
        (line,) = log.planned(outcome(held, OutcomeKind.UNCHANGED))
        assert (line["event"], line["reason"]) == ("decision.made", "data_quality")

    def test_the_noise_of_a_steady_load_is_not(self, log):
        log.planned(outcome(steady(), OutcomeKind.UNCHANGED))
        held = steady(steps=(Step(Reason.TARGET_TRACKING, 3, 2, _LOW), Step(Reason.STABILISATION,
                      2, 3, {"window_s": 300.0, "highest": 3})))  # fmt: skip
        assert log.planned(outcome(held, OutcomeKind.UNCHANGED)) == []

    @pytest.mark.parametrize(
        ("level", "candidates"),
        [("debug", [[2, 1.0, None, 90.0], [3, 0.006, 0.12, 3.1]]), ("info", None)],
    )
    def test_what_was_weighed_is_told_at_debug_only_and_in_few_words(self, level, candidates):
        stream = io.StringIO()
        configure("json", level, version="1", environ={}, stream=stream)
        weighed = steady(steps=(Step(Reason.SLO, 3, 3, _LOAD, _WEIGHED),))
        LogRecorder().planned(*cycle(outcome(weighed, OutcomeKind.UNCHANGED)))
        (step,) = json.loads(stream.getvalue())["steps"]
        assert step["reason"] == _LOAD
        assert step.get("candidates") == candidates

    def test_a_dry_run_says_so(self, log):
        (line,) = log.planned(outcome(decision(dry_run=True), OutcomeKind.DRY_RUN))
        assert (line["level"], line["event"]) == ("info", "decision.made")
        assert line["message"].endswith("(dry run, nothing sent)")
        assert log.planned(outcome(decision(dry_run=True), OutcomeKind.DRY_RUN)) == []

    def test_a_refusal_is_a_warning_with_the_clusters_words_told_once(self, log):
        refused = outcome(decision(), OutcomeKind.NO_CAPACITY, "Could not update deployment")
        (line,) = log.planned(refused)
        assert (line["level"], line["event"]) == ("warning", "update.refused")
        assert line["detail"] == "Could not update deployment"
        assert line["message"].endswith(
            "(refused for lack of capacity: Could not update deployment)"
        )
        assert log.planned(refused) == []

    def test_no_answer_is_not_a_refusal(self, log):
        lines = log.planned(outcome(decision(), OutcomeKind.UNKNOWN, "connection reset"))
        assert events(lines) == [("warning", "update.unanswered")]

    @pytest.mark.parametrize("fate", OutcomeKind)
    def test_every_fate_has_a_sentence(self, log, fate):
        (line,) = log.planned(outcome(decision(), fate))
        assert line["outcome"] == str(fate)

    def test_what_is_forbidden_is_told_once_for_all(self, log):
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

    def test_satisfied_allocations(self, log):
        done = CompletedRollout(
            deployment_id="elser", allocations=6, lead_time_s=25.4, new_node=True
        )
        (line,) = log.planned(completed_rollouts=(done,))
        assert (line["level"], line["event"]) == ("info", "update.completed")
        assert line["message"] == "elser has its 6 allocations after 25 s"
        assert (line["took_s"], line["new_node"]) == (25.4, True)


_LOW = {"offered_load": 1.2, "target_utilisation": 0.7}
_LOAD = {"offered_load": 2.0, "spread": 0.2}
_WEIGHED = (
    Candidate(allocations=2, violation_fraction=1.0, queue_wait_s=math.inf, cost=90.0),
    Candidate(allocations=3, violation_fraction=0.006, queue_wait_s=0.12, cost=3.1),
)


class TestDeployments:
    def test_one_left_alone_is_told_once_per_reason(self, log):
        (line,) = log.planned(unmanaged={".x": Unmanaged.HIDDEN})
        assert (line["event"], line["reason"]) == ("deployment.unmanaged", "hidden")
        assert line["message"].startswith(".x is left alone: its id begins with a dot")
        assert log.planned(unmanaged={".x": Unmanaged.HIDDEN}) == []
        assert len(log.planned(unmanaged={".x": Unmanaged.NO_RULE})) == 1

    def test_an_unreadable_one_is_a_warning_told_once(self, log):
        (line,) = log.planned(unreadable={"x": "trained_model_stats[0]: Expected `int`"})
        assert (line["level"], line["event"]) == ("warning", "deployment.unreadable")
        assert line["problem"] == "trained_model_stats[0]: Expected `int`"
        assert log.planned(unreadable={"x": "trained_model_stats[1]: Expected `int`"}) == []
        log.planned()
        assert len(log.planned(unreadable={"x": "again"})) == 1

    def test_one_that_vanished_is_forgotten(self, log):
        calm = outcome(steady(), OutcomeKind.UNCHANGED)
        log.planned(calm)
        assert events(log.planned()) == [("info", "deployment.vanished")]
        assert log.planned() == []
        assert events(log.planned(calm)) == [("info", "decision.made")]


class TestObservations:
    def test_a_failure_is_told_when_it_begins_changes_and_ends(self, log):
        (line,) = log.skipped(FailureKind.TIMEOUT, at=1_000.0)
        assert (line["level"], line["event"]) == ("warning", "observation.failed")
        assert line["message"] == "no answer from https://es:9200"
        assert line["trouble"] == "timeout"
        assert log.skipped(FailureKind.TIMEOUT, at=1_010.0) == []
        assert len(log.skipped(FailureKind.UNREACHABLE, at=1_020.0)) == 1
        (line,) = log.planned(at=1_030.0)
        assert (line["level"], line["event"]) == ("info", "observation.recovered")
        assert (line["skipped_cycles"], line["lasted_s"]) == (3, 30.0)
        assert log.planned(at=1_040.0) == []

    @pytest.mark.parametrize("trouble", [FailureKind.FORBIDDEN, FailureKind.UNAUTHENTICATED])
    def test_what_only_the_operator_can_change_is_an_error_told_once(self, log, trouble):
        assert events(log.skipped(trouble)) == [("error", "observation.failed")]
        assert log.skipped(trouble) == []

    def test_a_defect_of_ours_comes_with_its_traceback_told_once(self, log):
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

    def test_a_console_shows_the_sentence_and_not_the_data(self):
        stream = io.StringIO()
        configure("console", "info", version="1", environ={}, stream=stream)
        LogRecorder().planned(*cycle(outcome(decision(), OutcomeKind.ACCEPTED)))
        assert "elser 3 -> 6: load 4.50 at 70% needs 7" in stream.getvalue()
        assert "steps=" not in stream.getvalue()

    def test_ecs_has_the_schemas_names_and_nests_the_rest(self):
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

    def test_the_libraries_lines_take_the_same_form_and_threshold(self):
        stream = io.StringIO()
        configure("json", "warning", version="1", environ={}, stream=stream)
        logging.getLogger("aiohttp.client").info("quiet")
        logging.getLogger("aiohttp.client").warning("%d connections left open", 3)
        (line,) = map(json.loads, stream.getvalue().splitlines())
        assert line["event"] == "3 connections left open"
        assert (line["level"], line["logger"]) == ("warning", "aiohttp.client")

    def test_what_is_less_important_than_the_level_is_dropped(self):
        stream = io.StringIO()
        configure("json", "warning", version="1", environ={}, stream=stream)
        LogRecorder().planned(*cycle(outcome(decision(), OutcomeKind.ACCEPTED)))
        assert stream.getvalue() == ""

    def test_json_begins_with_what_one_looks_for_first(self):
        stream = io.StringIO()
        configure("json", "info", version="1", environ={}, stream=stream)
        structlog.get_logger("test").info("thing.done", answer=42, message="it is done")
        assert list(json.loads(stream.getvalue()))[:4] == ["timestamp", "level", "event", "message"]

    def test_configuring_again_does_not_double_the_lines(self):
        stream = io.StringIO()
        for _ in range(2):
            configure("json", "info", version="1", environ={}, stream=stream)
        structlog.get_logger("test").info("thing.done")
        assert len(stream.getvalue().splitlines()) == 1
