"""The keys for the two levers, for zero, and for what is left behind."""

import os
import tomllib

import pytest

from autoscaler.config import ConfigError, json_schema, load
from autoscaler.core.selection import OnExit, ScaleToZero, ZeroMethod
from autoscaler.core.values import Mode
from tests.test_config import REACHABLE


@pytest.fixture
def settle(tmp_path):
    def settle(text: str, environ: dict[str, str] | None = None):
        path = tmp_path / "config.toml"
        path.write_text(text)
        return load(path, environ or {})

    return settle


@pytest.fixture
def problems(settle, tmp_path):
    def problems(text: str) -> list[str]:
        with pytest.raises(ConfigError) as refused:
            settle(text)
        return [each.replace(f"{tmp_path}/", "") for each in refused.value.problems]

    return problems


@pytest.fixture
def problem(problems):
    """The only thing that is wrong, as it is told."""

    def problem(text: str) -> str:
        (told,) = problems(text)
        return told

    return problem


def rule(text="", *, top="", defaults=""):
    """A configuration of one rule, whose bounds are 2 and 8."""
    bounds = "min_allocations = 2\nmax_allocations = 8"
    return f'{top}\n{REACHABLE}[defaults]\n{defaults}\n[[rules]]\nname = "a"\n{bounds}\n{text}\n'


STOP = 'scale_to_zero = { after = "30m", via = "stop" }'
NATIVE = 'scale_to_zero = { after = "1h30m", via = "adaptive" }'
FLOOR = 'on_exit = "floor"\nsafe_allocations = 4'


class TestModes:
    def test_the_number_is_the_lever_unless_something_else_is_said(self, settle):
        (settled,) = settle(rule()).rules
        assert (settled.mode, settled.take_over, settled.dry_run) == (Mode.DIRECT, False, False)
        assert (settled.zero, settled.on_exit, settled.safe_allocations) == (
            None,
            OnExit.KEEP,
            None,
        )

    def test_bounds(self, settle):
        (settled,) = settle(rule('mode = "bounds"')).rules
        assert (settled.mode, settled.dry_run) == (Mode.BOUNDS, False)

    def test_to_observe_is_a_dry_run_of_setting_the_number(self, settle):
        (settled,) = settle(rule('mode = "observe"\ntake_over = true')).rules
        assert (settled.mode, settled.dry_run, settled.take_over) == (Mode.DIRECT, True, True)

    def test_an_unknown_one(self, problem):
        assert problem(rule('mode = "both"')) == (
            "config.toml: rules[0].mode: must be 'direct', 'bounds' or 'observe', not 'both'"
        )


class TestTakingOver:
    def test_where_the_number_is_set(self, settle):
        assert settle(rule("take_over = true")).rules[0].take_over

    @pytest.mark.parametrize(
        ("text", "place"),
        [
            (rule('mode = "bounds"\ntake_over = true'), "rules[0]"),
            (rule("take_over = true", defaults='mode = "bounds"'), "rules[0]"),
            (rule(defaults='mode = "bounds"\ntake_over = true'), "defaults"),
        ],
    )
    def test_bounds_leave_the_clusters_scaler_on(self, problem, text, place):
        assert problem(text) == (
            f"config.toml: {place}.take_over: has no effect, since the mode is bounds, "
            "which leaves Elasticsearch's own scaler on"
        )

    def test_a_rule_of_another_mode_has_no_use_for_what_the_defaults_say(self, settle):
        (settled,) = settle(rule('mode = "bounds"', defaults="take_over = true")).rules
        assert (settled.mode, settled.take_over) == (Mode.BOUNDS, False)

    def test_a_rule_may_take_it_back(self, settle):
        assert not settle(rule("take_over = false", defaults="take_over = true")).rules[0].take_over


class TestWhatIsLeftBehind:
    def test_the_clusters_scaler(self, settle):
        assert settle(rule('on_exit = "adaptive"')).rules[0].on_exit is OnExit.ADAPTIVE

    @pytest.mark.parametrize("text", [rule(FLOOR), rule(defaults=FLOOR)], ids=["rule", "defaults"])
    def test_a_safe_number(self, settle, text):
        (settled,) = settle(text).rules
        assert (settled.on_exit, settled.safe_allocations) == (OnExit.FLOOR, 4)

    def test_which_number_is_safe_must_be_said(self, problem):
        assert problem(rule('on_exit = "floor"')) == (
            "config.toml: rules[0].safe_allocations: is missing; "
            "on_exit is floor, so say how many are enough without anybody"
        )

    @pytest.mark.parametrize("number", [1, 9])
    def test_a_safe_number_is_within_the_bounds(self, problem, number):
        assert problem(rule(FLOOR.replace("4", str(number)))) == (
            "config.toml: rules[0].safe_allocations: must be within the bounds of the rule 'a', "
            f"2 to 8, not {number}"
        )

    def test_a_safe_number_of_no_use(self, problem):
        assert problem(rule("safe_allocations = 4")) == (
            "config.toml: rules[0].safe_allocations: has no effect, since on_exit is keep; "
            "set floor"
        )

    def test_a_rule_that_leaves_another_way_has_no_use_for_what_the_defaults_say(self, settle):
        (settled,) = settle(rule('on_exit = "adaptive"', defaults=FLOOR.replace("4", "100"))).rules
        assert (settled.on_exit, settled.safe_allocations) == (OnExit.ADAPTIVE, None)

    def test_no_such_way(self, problem):
        assert problem(rule('on_exit = "stop"')) == (
            "config.toml: rules[0].on_exit: must be 'keep', 'native' or 'floor', not 'stop'"
        )


class TestDownToZero:
    def test_by_the_clusters_scaler(self, settle):
        (settled,) = settle(rule(f'mode = "bounds"\n{NATIVE}')).rules
        assert settled.zero == ScaleToZero(after_s=5400.0, via=ZeroMethod.ADAPTIVE)

    @pytest.mark.parametrize("mode", ["direct", "bounds", "observe"])
    def test_by_a_stop(self, settle, mode):
        (settled,) = settle(rule(f'mode = "{mode}"\n{STOP}', top='state_file = "asleep"')).rules
        assert settled.zero == ScaleToZero(after_s=1800.0, via=ZeroMethod.STOP)

    @pytest.mark.parametrize("mode", ["direct", "observe"])
    def test_only_the_clusters_scaler_sets_zero(self, problem, mode):
        assert problem(rule(f'mode = "{mode}"', defaults=NATIVE)) == (
            "config.toml: defaults.scale_to_zero: via native needs the mode bounds, "
            f"not {mode}: only Elasticsearch sets 0"
        )

    def test_what_is_stopped_must_be_written_down(self, problem):
        assert problem(rule(STOP)) == (
            "config.toml: rules[0].scale_to_zero: via stop needs state_file, "
            "a key at the top, where what was stopped is written down"
        )

    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            ('{ after = "59s", via = "stop" }', ".after: must be between 1m and 7d, not 59s"),
            ('{ after = "8d", via = "stop" }', ".after: must be between 1m and 7d, not 8d"),
            ('{ after = "1h" }', ".via: is missing"),
            ('{ via = "stop" }', ".after: is missing"),
            ('{ after = "1h", via = "magic" }', ".via: must be 'native' or 'stop', not 'magic'"),
            ('{ after = "1h", via = "stop", at = 1 }', ".at: no such key"),
            ("true", ": must be a table"),
            ('"30m"', ": must be a table"),
        ],
    )
    def test_half_said(self, problem, text, complaint):
        told = problem(rule(f"scale_to_zero = {text}", top='state_file = "asleep"'))
        assert told == f"config.toml: rules[0].scale_to_zero{complaint}"

    def test_a_rule_may_take_it_back(self, settle):
        (settled,) = settle(rule("scale_to_zero = false", defaults=NATIVE)).rules
        assert settled.zero is None

    def test_said_by_the_environment(self, settle):
        environ = {
            "AUTOSCALER_DEFAULTS__MODE": "bounds",
            "AUTOSCALER_DEFAULTS__SCALE_TO_ZERO__AFTER": "2h",
            "AUTOSCALER_DEFAULTS__SCALE_TO_ZERO__VIA": "adaptive",
        }
        (settled,) = settle(rule(), environ).rules
        assert (settled.mode, settled.zero) == (
            Mode.BOUNDS,
            ScaleToZero(after_s=7200.0, via=ZeroMethod.ADAPTIVE),
        )

    def test_an_editor_accepts_false(self):
        field = json_schema()["$defs"]["ScalingTable"]["properties"]["scale_to_zero"]
        assert {"const": False} in field["anyOf"]


class TestTheStateFile:
    def test_there_is_none_unless_it_is_named(self, settle):
        assert settle(rule()).state_file is None

    def test_lies_beside_the_configuration_and_need_not_be_there(self, settle, tmp_path):
        assert settle(rule(top='state_file = "asleep.json"')).state_file == tmp_path / "asleep.json"
        assert not (tmp_path / "asleep.json").exists()

    def test_elsewhere(self, settle, tmp_path):
        (tmp_path / "state").mkdir()
        path = tmp_path / "state" / "asleep.json"
        assert settle(rule(top=f'state_file = "{path}"')).state_file == path

    def test_in_a_directory_that_is_not_there(self, problem):
        assert problem(rule(top='state_file = "gone/asleep.json"')) == (
            "config.toml: state_file: gone/asleep.json cannot be written: "
            "there is no directory gone"
        )

    def test_that_is_a_directory(self, problem, tmp_path):
        (tmp_path / "state").mkdir()
        assert problem(rule(top='state_file = "state"')) == (
            "config.toml: state_file: state cannot be written: it is a directory"
        )

    def test_on_a_disk_that_is_read_only(self, problem, tmp_path, monkeypatch):
        (tmp_path / "state").mkdir()
        monkeypatch.setattr(os, "access", lambda _path, mode: not mode & os.W_OK)
        assert problem(rule(top='state_file = "state/asleep.json"')) == (
            "config.toml: state_file: state/asleep.json cannot be written: "
            "the directory state is not writable"
        )

    def test_is_named_by_the_environment_too(self, settle, tmp_path):
        environ = {"AUTOSCALER_STATE_FILE": str(tmp_path / "asleep")}
        assert settle(rule(STOP), environ).state_file == tmp_path / "asleep"


def test_a_rule_that_excludes_is_asked_for_none_of_it(settle):
    text = 'exclude = true\nmode = "bounds"\ntake_over = true\non_exit = "floor"'
    assert settle(rule(text)).rules[0].exclude


def test_what_the_example_shows_can_be_used(settle, tmp_path):
    """The values that are commented out, put into force."""
    example = os.path.join(os.path.dirname(__file__), "..", "config.example.toml")
    with open(example) as file:
        shown = [line.removeprefix("# ").strip() for line in file]
    (zero,) = [line for line in shown if line.startswith("scale_to_zero = ")]
    (safe,) = [line for line in shown if line.startswith("safe_allocations = ")]
    (settled,) = settle(rule(f'mode = "bounds"\non_exit = "floor"\n{zero}\n{safe}')).rules
    assert settled.zero.after_s == 1800.0
    assert settled.safe_allocations == tomllib.loads(safe)["safe_allocations"]
