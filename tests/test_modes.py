"""The keys for the control mode, scale to zero, release and the state file."""

import os
import tomllib
from pathlib import Path

import pytest

from autoscaler.config import ConfigError, json_schema, load
from autoscaler.core.decision import Mode
from autoscaler.core.selection import OnExit, ScaleToZero, ZeroMethod
from tests.messages import without_lines
from tests.test_config import REACHABLE


@pytest.fixture
def resolve(tmp_path):
    def resolve(text: str, environ: dict[str, str] | None = None):
        path = tmp_path / "config.toml"
        path.write_text(text)
        return load(path, environ or {})

    return resolve


@pytest.fixture
def problems(resolve, tmp_path):
    def problems(text: str) -> list[str]:
        with pytest.raises(ConfigError) as refused:
            resolve(text)
        return [without_lines(each.replace(f"{tmp_path}/", "")) for each in refused.value.problems]

    return problems


@pytest.fixture
def problem(problems):
    """The only problem."""

    def problem(text: str) -> str:
        (only,) = problems(text)
        return only

    return problem


def rule(text="", *, top="", defaults=""):
    """A configuration of one rule, whose bounds are 2 and 8."""
    bounds = "min_allocations = 2\nmax_allocations = 8"
    return f'{top}\n{REACHABLE}[defaults]\n{defaults}\n[[rules]]\nname = "a"\n{bounds}\n{text}\n'


STOP = 'scale_to_zero = { after = "30m", via = "stop" }'
ADAPTIVE_ZERO = 'scale_to_zero = { after = "1h30m", via = "adaptive" }'
FLOOR = 'on_exit = "floor"\nsafe_allocations = 4'


class TestModes:
    def test_direct_is_the_default(self, resolve):
        (only,) = resolve(rule()).rules
        assert (only.mode, only.take_over, only.dry_run) == (Mode.DIRECT, False, False)
        assert (only.zero, only.on_exit, only.safe_allocations) == (
            None,
            OnExit.KEEP,
            None,
        )

    def test_bounds(self, resolve):
        (only,) = resolve(rule('mode = "bounds"')).rules
        assert (only.mode, only.dry_run) == (Mode.BOUNDS, False)

    def test_an_unknown_one(self, problem):
        assert problem(rule('mode = "both"')) == (
            "config.toml: rule 'a': mode: must be 'direct' or 'bounds', not 'both'"
        )


class TestTakingOver:
    def test_in_mode_direct(self, resolve):
        assert resolve(rule("take_over = true")).rules[0].take_over

    @pytest.mark.parametrize(
        ("text", "place"),
        [
            (rule('mode = "bounds"\ntake_over = true'), "rule 'a': "),
            (rule("take_over = true", defaults='mode = "bounds"'), "rule 'a': "),
            (rule(defaults='mode = "bounds"\ntake_over = true'), "defaults."),
        ],
    )
    def test_has_no_effect_in_mode_bounds(self, problem, text, place):
        assert problem(text) == (
            f"config.toml: {place}take_over: has no effect in mode bounds, "
            "in which adaptive allocations stay enabled; remove it"
        )

    def test_a_rule_of_mode_bounds_ignores_the_default(self, resolve):
        (only,) = resolve(rule('mode = "bounds"', defaults="take_over = true")).rules
        assert (only.mode, only.take_over) == (Mode.BOUNDS, False)

    def test_a_rule_may_override_the_default(self, resolve):
        assert (
            not resolve(rule("take_over = false", defaults="take_over = true")).rules[0].take_over
        )


class TestRelease:
    def test_with_adaptive_allocations(self, resolve):
        given = 'on_exit = "adaptive"\ntake_over = true'
        assert resolve(rule(given)).rules[0].on_exit is OnExit.ADAPTIVE

    @pytest.mark.parametrize(
        "text", [rule('on_exit = "adaptive"'), rule(defaults='on_exit = "adaptive"')]
    )
    def test_the_next_daemon_must_take_over_what_was_released(self, problem, text):
        assert problem(text).endswith(
            "on_exit: adaptive requires take_over = true in mode direct: without it, the next "
            "daemon does not change a deployment whose adaptive allocations are enabled; or use "
            'mode = "bounds"'
        )

    @pytest.mark.parametrize("given", ['mode = "bounds"', "dry_run = true", "exclude = true"])
    def test_other_rules_need_no_take_over(self, resolve, given):
        text = rule(given, defaults='on_exit = "adaptive"')
        assert resolve(text).rules[0].on_exit is OnExit.ADAPTIVE

    @pytest.mark.parametrize("text", [rule(FLOOR), rule(defaults=FLOOR)], ids=["rule", "defaults"])
    def test_with_safe_allocations(self, resolve, text):
        (only,) = resolve(text).rules
        assert (only.on_exit, only.safe_allocations) == (OnExit.FLOOR, 4)

    def test_floor_requires_safe_allocations(self, problem):
        assert problem(rule('on_exit = "floor"')) == (
            "config.toml: rule 'a': safe_allocations: is required "
            'with on_exit = "floor": the allocations to leave when the daemon ends'
        )

    @pytest.mark.parametrize("allocations", [1, 9])
    def test_safe_allocations_are_within_the_bounds(self, problem, allocations):
        assert problem(rule(FLOOR.replace("4", str(allocations)))) == (
            "config.toml: rule 'a': safe_allocations: must be within the bounds of the rule 'a', "
            f"2 to 8, not {allocations}"
        )

    def test_safe_allocations_without_floor(self, problem):
        assert problem(rule("safe_allocations = 4")) == (
            "config.toml: rule 'a': safe_allocations: has no effect "
            'with on_exit = "keep"; set "floor"'
        )

    def test_a_rule_without_floor_ignores_the_default_of_safe_allocations(self, resolve):
        (only,) = resolve(
            rule('on_exit = "adaptive"\nmode = "bounds"', defaults=FLOOR.replace("4", "100"))
        ).rules
        assert (only.on_exit, only.safe_allocations) == (OnExit.ADAPTIVE, None)

    def test_an_unknown_one(self, problem):
        assert problem(rule('on_exit = "stop"')) == (
            "config.toml: rule 'a': on_exit: must be 'keep', 'adaptive' or 'floor', not 'stop'"
        )


class TestScaleToZero:
    def test_via_adaptive(self, resolve):
        (only,) = resolve(rule(f'mode = "bounds"\n{ADAPTIVE_ZERO}')).rules
        assert only.zero == ScaleToZero(after_s=5400.0, via=ZeroMethod.ADAPTIVE)

    @pytest.mark.parametrize("mode", ["direct", "bounds"])
    def test_via_stop(self, resolve, mode):
        (only,) = resolve(rule(f'mode = "{mode}"\n{STOP}')).rules
        assert only.zero == ScaleToZero(after_s=1800.0, via=ZeroMethod.STOP)

    def test_via_adaptive_requires_mode_bounds(self, problem):
        assert problem(rule(defaults=ADAPTIVE_ZERO)) == (
            "config.toml: defaults.scale_to_zero: via adaptive requires mode bounds, "
            'not direct; or use via = "stop"'
        )

    def test_via_stop_requires_a_record(self, problem):
        assert problem(rule(STOP, top='state = "none"')) == (
            "config.toml: rule 'a': scale_to_zero: via stop requires a record of what was stopped; "
            'remove the top-level state = "none"'
        )

    @pytest.mark.parametrize(
        ("text", "problem_text"),
        [
            ('{ after = "59s", via = "stop" }', ".after: must be between 1m and 7d, not 59s"),
            ('{ after = "8d", via = "stop" }', ".after: must be between 1m and 7d, not 8d"),
            ('{ after = "1h" }', ".via: is required"),
            ('{ via = "stop" }', ".after: is required"),
            ('{ after = "1h", via = "magic" }', ".via: must be 'adaptive' or 'stop', not 'magic'"),
            (
                '{ after = "1h", via = "stop", at = 1 }',
                ".at: no such key; its keys are after and via",
            ),
            ("true", ": must be a table, not true; its keys are after and via"),
            ('"30m"', ": must be a table, not '30m'; its keys are after and via"),
        ],
    )
    def test_incomplete_or_invalid(self, problem, text, problem_text):
        reported = problem(rule(f"scale_to_zero = {text}"))
        assert reported == f"config.toml: rule 'a': scale_to_zero{problem_text}"

    def test_a_rule_may_override_the_default(self, resolve):
        (only,) = resolve(rule("scale_to_zero = false", defaults=ADAPTIVE_ZERO)).rules
        assert only.zero is None

    def test_in_the_environment(self, resolve):
        environ = {
            "AUTOSCALER_DEFAULTS__MODE": "bounds",
            "AUTOSCALER_DEFAULTS__SCALE_TO_ZERO__AFTER": "2h",
            "AUTOSCALER_DEFAULTS__SCALE_TO_ZERO__VIA": "adaptive",
        }
        (only,) = resolve(rule(), environ).rules
        assert (only.mode, only.zero) == (
            Mode.BOUNDS,
            ScaleToZero(after_s=7200.0, via=ZeroMethod.ADAPTIVE),
        )

    def test_an_editor_accepts_false(self):
        field = json_schema()["$defs"]["ScalingTable"]["properties"]["scale_to_zero"]
        assert {"const": False} in field["anyOf"]


class TestTheState:
    def test_is_in_the_directory_of_the_service_manager_or_of_the_user(self, resolve):
        users = "/home/user/.local/state/autoscaler/es-9200"
        for environ, expected in (
            ({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b", "HOME": "/home/user"}, "/var/lib/a"),
            (
                {"XDG_STATE_HOME": "/state", "HOME": "/home/user"},
                "/state/autoscaler/es-9200",
            ),
            ({"XDG_STATE_HOME": "x", "HOME": "/home/user"}, users),
            ({"HOME": "/home/user"}, users),
        ):
            assert resolve(rule(), environ).state_dir == Path(expected)
        assert resolve(rule()).state_dir is None

    @pytest.mark.parametrize(
        ("address", "name"),
        [
            ("https://[::1]:9200", "1-9200"),
            ("https://es.example/..", "es.example"),
            (f"https://{'a' * 63}.{'b' * 63}.{'c' * 63}", f"{'a' * 63}.{'b' * 63}."),
        ],
    )
    def test_of_a_user_is_named_after_the_first_address(self, resolve, address, name):
        environ = {"HOME": "/home/user", "AUTOSCALER_ELASTICSEARCH__HOSTS": address}
        assert resolve(rule(), environ).state_dir.name == name

    def test_may_be_elsewhere(self, resolve, tmp_path):
        environ = {"STATE_DIRECTORY": "/var/lib/a"}
        config = resolve(rule(top='state_dir = "state"'), environ)
        assert config.state_dir == tmp_path / "state"
        assert not config.state_dir.exists()
        environ = {"AUTOSCALER_STATE_DIR": "/state"}
        assert resolve(rule(), environ).state_dir == Path("/state")

    def test_may_be_off(self, resolve):
        config = resolve(rule(top='state = "none"'), {"STATE_DIRECTORY": "/var/lib/a"})
        assert config.state_dir is None

    def test_begins_beside_the_file_of_an_earlier_release(self, resolve, tmp_path):
        config = resolve(rule(top='state_file = "old/stopped"'), {"HOME": "/home/user"})
        assert config.state_dir == tmp_path / "old"
        assert config.state_file == tmp_path / "old" / "stopped"
        (warning,) = map(without_lines, config.warnings)
        assert warning == (
            f"{tmp_path}/config.toml: state_file: deprecated; the stopped deployments in it are "
            "taken over into state_dir once; then remove the key"
        )
        config = resolve(rule(top='state_file = "old/stopped"\nstate_dir = "new"'))
        assert config.state_dir == tmp_path / "new"

    @pytest.mark.parametrize("state", ["elasticsearch", "none"])
    def test_the_file_of_an_earlier_release_is_not_forgotten(self, problems, state):
        (problem,) = problems(rule(top=f'state = "{state}"\nstate_file = "stopped"'))
        assert problem == (
            f'config.toml: state_file: is not taken over with state = "{state}"; start the '
            'deployments in it by `autoscaler release` with state = "sqlite", and remove the key'
        )


def test_a_rule_that_excludes_is_not_checked(resolve):
    text = 'exclude = true\nmode = "bounds"\ntake_over = true\non_exit = "floor"'
    assert resolve(rule(text)).rules[0].exclude


def test_the_commented_values_of_the_example_are_valid(resolve, tmp_path):
    """Those of scale_to_zero and safe_allocations."""
    example = os.path.join(os.path.dirname(__file__), "..", "config.example.toml")
    with open(example) as file:
        shown = [line.removeprefix("# ").strip() for line in file]
    (zero,) = [line for line in shown if line.startswith("scale_to_zero = ")]
    (safe,) = [line for line in shown if line.startswith("safe_allocations = ")]
    (only,) = resolve(rule(f'mode = "bounds"\non_exit = "floor"\n{zero}\n{safe}')).rules
    assert only.zero.after_s == 1800.0
    assert only.safe_allocations == tomllib.loads(safe)["safe_allocations"]
