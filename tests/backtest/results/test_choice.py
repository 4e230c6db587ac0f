"""The cheapest policy and setting that met the SLO in every case."""

import random
import re
from pathlib import Path

import pytest

from autoscaler.backtest.results.choice import (
    CONFIDENCE,
    LeftOut,
    choices,
    days_to_exclude,
    miss_fraction_not_excluded,
    probability_of_no_miss,
)
from tests.backtest.synthetic import row

USABLE = {
    "small": {
        ("slo", "slo_target=0.99"): "slo at 0.99",
        ("slo", "slo_target=0.97"): "slo at 0.97",
        ("utilisation", "target=0.5"): "at 0.5",
        ("utilisation", "target=0.7"): "at 0.7",
    }
}
LATE, IN_TIME = 0.02, 0.005


def run(day, seed, policy, setting, hours, late, **given):
    """A row; `day` is the number of a day of `week`, or a trace of its own."""
    part = {"trace": f"week, day {day}", "recording": "week", "day": day}
    if isinstance(day, str):
        part = {"trace": day}
    default = (policy, setting) in {("slo", "slo_target=0.99"), ("utilisation", "target=0.7")}
    fields = {"setting": setting, "default": default, "seed": seed, "allocation_hours": hours}
    return row(policy=policy, violation_fraction=late, **part, **fields, **given)


def days(policy, setting, hours, late, seeds=(1,)):
    """A row for each day and seed; `hours` and `late` are one value, or one for each day."""
    late = late if isinstance(late, list) else [late] * 3
    hours = hours if isinstance(hours, list) else [hours] * len(late)
    return [
        run(day, seed, policy, setting, hours[day - 1], late[day - 1])
        for day in range(1, len(late) + 1)
        for seed in seeds
    ]


THREE_DAYS = [
    *days("slo", "slo_target=0.99", 30.0, IN_TIME),
    *days("slo", "slo_target=0.97", 20.0, [IN_TIME, LATE, IN_TIME]),
    *days("utilisation", "target=0.5", 25.0, IN_TIME),
    *days("utilisation", "target=0.7", 15.0, LATE),
]


def only(rows, **given):
    (choice,) = choices(rows, USABLE, **given)
    return choice


class TestCheapest:
    def test_it_met_the_slo_on_every_day_for_the_fewest_hours(self):
        choice = only(THREE_DAYS)
        assert (choice.load, choice.days, choice.seeds) == ("week", 3, 1)
        assert (choice.cheapest.policy, choice.cheapest.setting) == ("utilisation", "target=0.5")
        assert (choice.cheapest.met, choice.cheapest.cases) == (3, 3)
        assert choice.cheapest.allocation_hours == 75.0
        assert choice.configuration == "at 0.5"
        assert choice.default.allocation_hours == 90.0

    def test_the_order_of_the_rows_does_not_matter(self):
        rows = list(THREE_DAYS)
        random.Random(1).shuffle(rows)
        assert only(rows).cheapest.setting == only(THREE_DAYS).cheapest.setting
        assert only(rows).left_out == only(THREE_DAYS).left_out

    def test_the_settings_are_ordered_by_hours(self):
        found = [(each.setting, each.met) for each in only(THREE_DAYS).settings]
        assert found == [
            ("target=0.7", 0),
            ("slo_target=0.97", 2),
            ("target=0.5", 3),
            ("slo_target=0.99", 3),
        ]

    def test_a_late_seed_is_not_made_up_for_by_the_others(self):
        seeds = [run("one", seed, "slo", "slo_target=0.99", 9.0, late) for seed, late in
                 ((1, 0.0), (2, 0.011), (3, 0.0))]  # fmt: skip
        choice = only(seeds)
        assert choice.cheapest is None
        assert (choice.settings[0].met, choice.settings[0].cases) == (2, 3)
        assert choice.configuration == ""

    def test_the_worst_day_is_named(self):
        worst = only(THREE_DAYS).settings[1]
        assert (worst.worst_day, worst.worst_violation_fraction) == ("week, day 2", LATE)

    def test_hours_are_the_sum_over_days_of_the_mean_over_seeds(self):
        rows = [
            run(day, seed, "slo", "slo_target=0.99", hours, 0.0)
            for day, seed, hours in ((1, 1, 10.0), (1, 2, 20.0), (2, 1, 30.0), (2, 2, 50.0))
        ]
        assert only(rows).settings[0].allocation_hours == 55.0

    def test_a_setting_that_was_not_tried_in_all_cases_does_not_count(self):
        once = run(1, 1, "utilisation", "target=0.7", 1.0, 0.0)
        rows = [*days("slo", "slo_target=0.99", 30.0, IN_TIME), once]
        assert [each.policy for each in only(rows).settings] == ["slo"]

    def test_policies_that_cannot_be_used_do_not_count(self):
        rows = [*THREE_DAYS, *days("hpa", "target=0.7", 1.0, 0.0)]
        assert only(rows) == only(THREE_DAYS)
        assert choices(days("hpa", "target=0.7", 1.0, 0.0), USABLE) == ()

    def test_a_rule_with_its_own_slo_does_not_count(self):
        own = [run(day, 1, "rule:all", "", 1.0, 0.0, slo_target=0.9) for day in (1, 2, 3)]
        usable = {"small": {**USABLE["small"], ("rule:all", ""): "the rule"}}
        assert choices([*THREE_DAYS, *own], usable) == choices(THREE_DAYS, usable)

    def test_every_scenario_has_its_own_target(self):
        assert only(THREE_DAYS, targets={"small": 0.95}).cheapest.setting == "target=0.7"


class TestInfeasible:
    ROWS = (
        *days("slo", "slo_target=0.99", 30.0, [IN_TIME, IN_TIME, 0.5]),
        *days("utilisation", "target=0.7", 20.0, [IN_TIME, LATE, 0.5]),
    )

    def test_days_on_which_the_oracle_misses_too_are_not_counted(self):
        choice = only(
            [*self.ROWS, *days("oracle", "slo_target=0.99", 9.0, [IN_TIME, IN_TIME, 0.3])]
        )
        assert choice.infeasible == (("week, day 3", 1),)
        assert (choice.days, choice.cheapest.policy) == (2, "slo")

    def test_without_the_oracle_they_count(self):
        choice = only(self.ROWS)
        assert (choice.infeasible, choice.cheapest) == ((), None)

    def test_without_any_other_case_there_is_no_choice(self):
        rows = [run("one", 1, name, "slo_target=0.99", 9.0, 0.5) for name in ("slo", "oracle")]
        assert choices(rows, USABLE) == ()


class TestLoads:
    def test_several_traces_have_a_choice_together_and_one_each(self):
        rows = [
            *days("slo", "slo_target=0.99", 30.0, IN_TIME),
            *days("utilisation", "target=0.7", 20.0, IN_TIME),
            run("other", 1, "slo", "slo_target=0.99", 9.0, IN_TIME),
            run("other", 1, "utilisation", "target=0.7", 8.0, LATE),
        ]
        found = choices(rows, USABLE)
        assert [(each.load, each.days, each.cheapest.policy) for each in found] == [
            (None, 4, "slo"),
            ("week", 3, "utilisation"),
            ("other", 1, "slo"),
        ]

    def test_scenarios_are_apart(self):
        rows = [*THREE_DAYS, run("one", 1, "slo", "slo_target=0.99", 9.0, 0.0, scenario="large")]
        usable = {**USABLE, "large": USABLE["small"]}
        found = choices(rows, usable)
        assert [(each.scenario, each.load) for each in found] == [
            ("small", "week"),
            ("large", "one"),
        ]


class TestLeftOut:
    def test_a_setting_that_suits_only_the_other_days_is_found_out(self):
        # Each day, another target misses the SLO; each looks best without that day.
        rows = [
            *days("slo", "slo_target=0.99", 30.0, IN_TIME),
            *days("utilisation", "target=0.7", 10.0, [LATE, IN_TIME, IN_TIME]),
            *days("utilisation", "target=0.5", 20.0, [IN_TIME, LATE, IN_TIME]),
        ]
        # Without day 1: 0.7, which misses day 1. Without day 2: 0.5, which misses it. Without day
        # 3, slo.
        assert only(rows).left_out == LeftOut(seeds=False, repetitions=3, met=1, met_by_default=3)

    def test_of_one_day_seeds_are_left_out(self):
        rows = [
            *(run("one", seed, "slo", "slo_target=0.99", 30.0, IN_TIME) for seed in (1, 2)),
            run("one", 1, "utilisation", "target=0.7", 10.0, LATE),
            run("one", 2, "utilisation", "target=0.7", 10.0, IN_TIME),
        ]
        assert only(rows).left_out == LeftOut(seeds=True, repetitions=2, met=1, met_by_default=2)

    def test_a_setting_that_was_not_tried_on_the_day_left_out_is_not_chosen(self):
        partly = days("utilisation", "target=0.7", 10.0, IN_TIME)[:2]
        rows = [*days("slo", "slo_target=0.99", 30.0, IN_TIME), *partly]
        assert only(rows).left_out == LeftOut(seeds=False, repetitions=3, met=3, met_by_default=3)

    def test_one_case_cannot_be_left_out(self):
        assert only([run("one", 1, "slo", "slo_target=0.99", 9.0, 0.0)]).left_out is None

    def test_without_the_default_policy_nothing_is_said_of_it(self):
        choice = only(days("utilisation", "target=0.7", 10.0, IN_TIME))
        assert (choice.default, choice.left_out.met_by_default) == (None, None)

    def test_where_none_meets_the_slo_on_the_others_the_one_that_does_most_often_is_chosen(self):
        rows = [
            *days("utilisation", "target=0.7", 10.0, [LATE, LATE, LATE, IN_TIME]),
            *days("utilisation", "target=0.5", 20.0, [LATE, IN_TIME, IN_TIME, IN_TIME]),
        ]
        assert only(rows).left_out.met == 3


class TestProbabilities:
    @pytest.mark.parametrize("days_", [1, 2, 3, 7, 30])
    def test_what_is_not_excluded_has_one_chance_in_twenty(self, days_):
        fraction = miss_fraction_not_excluded(days_)
        assert probability_of_no_miss(fraction, days_) == pytest.approx(1.0 - CONFIDENCE)

    @pytest.mark.parametrize("fraction", [0.5, 0.1, 0.01])
    def test_enough_days_exclude_a_fraction_and_one_day_fewer_does_not(self, fraction):
        enough = days_to_exclude(fraction)
        assert (
            miss_fraction_not_excluded(enough) <= fraction < miss_fraction_not_excluded(enough - 1)
        )

    def test_the_page_states_them(self):
        page = (Path(__file__).parents[3] / "docs" / "backtest.md").read_text()
        lines = re.findall(r"^\| (\d+) \| (\d+)% \| ([\d.]+)%(?: of days)? \|$", page, re.MULTILINE)
        assert [days_ for days_, *_ in lines] == ["1", "3", "7", "14", "29"]
        for days_, lucky, excluded in lines:
            assert float(lucky) == pytest.approx(
                100.0 * probability_of_no_miss(0.1, int(days_)), abs=0.5
            )
            assert float(excluded) == pytest.approx(
                100.0 * miss_fraction_not_excluded(int(days_)), abs=0.5
            )

    def test_the_probability_is_the_frequency_of_luck(self):
        draw = random.Random(1)
        lucky = sum(all(draw.random() >= 0.1 for _ in range(7)) for _ in range(20_000))
        assert lucky / 20_000 == pytest.approx(probability_of_no_miss(0.1, 7), abs=0.01)
