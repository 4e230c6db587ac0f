"""The choice of constants by cross-validation."""

import pytest
from msgspec.structs import replace

from autoscaler.backtest.drivers import as_configured
from autoscaler.backtest.policy_specs import RunInputs, policy_spec
from autoscaler.backtest.results.file import Results, to_json
from autoscaler.config import polling
from autoscaler.core.slo import cost_model, load_jump
from autoscaler.core.slo.policy import SloPolicy
from autoscaler.errors import InputError
from benchmarks.constants import Constant, constant_of, parsed, with_value, with_values
from benchmarks.tuning import (
    CONSTANTS,
    FORMER,
    Outcome,
    choice,
    folds,
    is_without_effect,
    main,
    section,
    totals,
)
from tests.backtest.synthetic import row
from tests.backtest.workloads import poisson, scenario


def outcomes(results, constant="slo.x.Y"):
    """Of families: a list of (value, met, hours) of each trace."""
    return [
        Outcome(
            family=family,
            pair=(f"{family} {trace}", "short"),
            constant=constant,
            value=value,
            met=met,
            hours=hours,
            changes_per_hour=10.0 * value,
            polls_per_hour=360.0 * value,
        )
        for family, traces in results.items()
        for trace, values in enumerate(traces)
        for value, met, hours in values
    ]


CHEAP_IS_ENOUGH = [(1, True, 10.0), (2, True, 20.0)]
CHEAP_IS_LATE = [(1, False, 10.0), (2, True, 20.0)]


class TestConstants:
    @pytest.mark.parametrize("name", [name for name, *_ in CONSTANTS])
    def test_each_constant_exists_and_other_values_are_tried(self, name):
        given = next(others for each, *others in CONSTANTS if each == name)
        constant = constant_of(name, *given)
        assert len(constant.values) >= 3
        assert len(set(constant.values)) == len(constant.values)

    def test_former_values_are_of_constants_that_are_tried(self):
        assert set(FORMER) <= {name for name, *_ in CONSTANTS}

    def test_a_value_holds_in_every_module_that_uses_it_and_only_inside(self):
        before = load_jump.JUMP_RATIO
        with with_value("slo.load_jump.JUMP_RATIO", 7.0) as spec:
            assert load_jump.JUMP_RATIO == 7.0
            assert spec == policy_spec("slo")
        assert before == load_jump.JUMP_RATIO != 7.0

    def test_a_name_may_be_of_another_package_of_the_program(self):
        before = polling.DEFAULT_MIN_POLL_INTERVAL_S
        with with_value("config.polling.DEFAULT_MIN_POLL_INTERVAL_S", 7.0):
            assert polling.polling_of(10.0).min_interval_s == 7.0
        assert polling.polling_of(10.0).min_interval_s == before

    def test_several_values_hold_together_with_a_field(self):
        inputs = RunInputs(workload=poisson(5.0, 100, 0.1), scenario=scenario())
        values = {
            "slo.load_jump.JUMP_RATIO": 7.0,
            "SloPolicy.drain_s": 3.0,
            "slo.cost_model.MIN_SAVING": 9.0,
        }
        with with_values(values) as spec:
            assert (load_jump.JUMP_RATIO, cost_model.MIN_SAVING) == (7.0, 9.0)
            assert spec.build(0.99, inputs).drain_s == 3.0
        with with_values({}) as spec:
            assert spec == policy_spec("slo")

    def test_it_holds_no_longer_after_an_error(self):
        before = cost_model.MIN_SAVING
        with pytest.raises(RuntimeError), with_value("slo.cost_model.MIN_SAVING", 9.0):
            raise RuntimeError
        assert before == cost_model.MIN_SAVING

    def test_a_field_of_the_policy_has_another_value(self):
        inputs = RunInputs(workload=poisson(5.0, 100, 0.1), scenario=scenario())
        with with_value("SloPolicy.weight_settings.planned_fraction", 0.31) as spec:
            policy = spec.build(0.99, inputs)
        usual = policy_spec("slo").build(0.99, inputs)
        assert policy.weight_settings.planned_fraction == 0.31
        assert usual.weight_settings == SloPolicy().weight_settings
        assert as_configured(policy, scenario()) != as_configured(usual, scenario())

    def test_the_value_in_the_code_is_first_and_once(self):
        before = cost_model.SCALE_DOWN_COST_S
        constant = parsed(f"slo.cost_model.SCALE_DOWN_COST_S=1,{before},2")
        assert constant.values == (before, 1, 2)

    @pytest.mark.parametrize(
        "name", ["slo.cost_model.MISSING", "slo.missing.X", "SloPolicy.x", "x"]
    )
    def test_an_unknown_name_is_an_error(self, name):
        with pytest.raises(InputError, match=f"no constant {name}"):
            parsed(f"{name}=1,2")

    @pytest.mark.parametrize(
        "text", ["slo.cost_model.MIN_SAVING", "slo.cost_model.MIN_SAVING=", "x=a"]
    )
    def test_another_form_is_an_error(self, text):
        with pytest.raises(InputError, match="is not NAME=VALUE"):
            parsed(text)


class TestChoice:
    def test_most_pairs_count_first_then_the_hours(self):
        assert choice(outcomes({"a": [CHEAP_IS_ENOUGH]}), (2, 1)) == 1
        assert choice(outcomes({"a": [CHEAP_IS_ENOUGH, CHEAP_IS_LATE]}), (1, 2)) == 2

    def test_of_equals_the_value_in_the_code_is_kept(self):
        same = [(1, True, 10.0), (2, True, 10.0)]
        assert choice(outcomes({"a": [same]}), (2, 1)) == 2
        assert choice(outcomes({"a": [same]}), (1, 2)) == 1

    def test_a_family_has_no_say_in_the_choice_that_is_tried_on_it(self):
        found = outcomes({"clients 0 to 4": [CHEAP_IS_ENOUGH], "functions 0 to 9": [CHEAP_IS_LATE]})
        assert folds(found, (1, 2)) == [
            ["clients 0 to 4", "1", "2", "1", "1", "1", "2.000"],
            ["functions 0 to 9", "1", "1", "2", "0", "0", "1.000"],
        ]

    def test_totals_are_relative_to_the_value_in_the_code(self):
        found = outcomes({"a": [CHEAP_IS_ENOUGH], "b": [CHEAP_IS_LATE]})
        assert totals(found, (1, 2)) == [
            ["1", "1 of 2", "1.000", "10.0", "360"],
            ["2", "2 of 2", "2.000", "20.0", "720"],
        ]

    def test_all_constants_are_in_the_section(self):
        constants = [Constant(name=f"slo.x.{name}", values=(1, 2)) for name in "YZ"]
        found = [
            each
            for constant in constants
            for each in outcomes({"a": [CHEAP_IS_LATE], "b": [CHEAP_IS_LATE]}, constant.name)
        ]
        text = section(found, constants)
        (line,) = [line for line in text.splitlines() if line.startswith("| `slo.x.Y`")]
        cells = [cell.strip() for cell in line.split("|")[2:-1]]
        assert cells == ["", "1", "2", "2", "2 (2)", "2 (2)"]
        assert text.count("family left out") == 2

    def test_the_summary_counts_what_families_choose(self):
        constant = Constant(name="slo.x.Y", values=(1, 2))
        found = outcomes({"a": [CHEAP_IS_LATE], "b": [CHEAP_IS_ENOUGH], "c": [CHEAP_IS_ENOUGH]})
        (line,) = [each for each in section(found, [constant]).splitlines() if "`slo.x.Y` " in each]
        assert [cell.strip() for cell in line.split("|")[5:7]] == ["2", "2 (2), 1 (1)"]

    def test_values_that_make_no_difference_are_named(self):
        """Such as those of a constant that another module has used when it was imported."""
        constant = Constant(name="slo.x.Y", values=(1, 2))
        found = outcomes({"a": [CHEAP_IS_LATE]})
        same = [
            replace(each, met=True, hours=1.0, changes_per_hour=1.0, polls_per_hour=1.0)
            for each in found
        ]
        assert is_without_effect(same)
        assert not is_without_effect(found)
        assert "make no difference" in section(same, [constant])
        assert "make no difference" not in section(found, [constant])


def test_a_mistake_on_the_command_line_is_one_sentence(capsys):
    with pytest.raises(SystemExit):
        main(["flash-crowd", "--constant", "slo.absent.X=1"])
    assert capsys.readouterr().err.startswith("error: there is no constant slo.absent.X; name")


def test_results_without_the_traces_are_one_sentence(tmp_path, capsys):
    result = Results(program="", command="", made_at="", scenarios={}, rows=(row(),))
    path = tmp_path / "rows.json"
    path.write_text(to_json(result))
    with pytest.raises(SystemExit):
        main(["flash-crowd", "--results", str(path)])
    assert capsys.readouterr().err.startswith("error: the result files have no run of these traces")
