"""A choice in words, and on a terminal."""

import io

import pytest
from msgspec.structs import replace
from rich.console import Console

from autoscaler.backtest.results.choice import choices
from autoscaler.backtest.results.choice_markdown import render
from autoscaler.backtest.results.choice_table import MAX_IN_FULL, show
from autoscaler.backtest.results.choice_text import choice_text
from tests.backtest.results.test_choice import (
    IN_TIME,
    LATE,
    THREE_DAYS,
    USABLE,
    days,
    run,
)

NASTY = "[bold]week[/bold]"


def text_of(rows, **given):
    (choice,) = choices(rows, USABLE, **given)
    return choice_text(choice)


def paragraph(rows, subject):
    return next(each.text for each in text_of(rows).paragraphs if each.subject == subject)


def printed(rows, width=100, notes=(), usable=USABLE):
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    show(console, choices(rows, usable), notes)
    return console.file.getvalue()


class TestCheapest:
    def test_it_is_compared_with_the_default(self):
        assert paragraph(THREE_DAYS, "Cheapest") == (
            "utilisation target=0.5 met the SLO in all 3 cases, with 75.0 allocation-hours for the "
            "3 days. slo slo_target=0.99 (default) met it in 3 of 3, with 90.0 (20% more)."
        )

    def test_it_may_be_the_default(self):
        rows = [run("one", 1, "slo", "slo_target=0.99", 9.0, IN_TIME)]
        assert paragraph(rows, "Cheapest") == (
            "slo slo_target=0.99 (default) met the SLO in the only case, with 9.0 allocation-hours."
        )

    def test_the_default_is_compared_with_the_cheapest_of_another_policy(self):
        cheapest = (
            "slo slo_target=0.99 (default) met the SLO in all 3 cases, with 90.0 allocation-hours"
        )
        rows = days("slo", "slo_target=0.99", 30.0, IN_TIME)
        late = [*rows, *days("utilisation", "target=0.7", 20.0, LATE)]
        assert paragraph(late, "Cheapest") == (
            f"{cheapest} for the 3 days. No setting of another policy did."
        )
        both = [*late, *days("utilisation", "target=0.5", 36.0, IN_TIME)]
        assert paragraph(both, "Cheapest") == (
            f"{cheapest} for the 3 days. The cheapest setting of another policy that did is "
            "utilisation target=0.5, with 108.0 (20% more)."
        )

    def test_without_one_the_best_and_its_worst_day_are_named(self):
        rows = [
            *days("slo", "slo_target=0.99", 30.0, [IN_TIME, IN_TIME, LATE]),
            *days("utilisation", "target=0.7", 10.0, LATE),
        ]
        assert paragraph(rows, "Cheapest") == (
            "no policy and setting in the table met the SLO in all 3 cases. slo slo_target=0.99 "
            "(default) met it in 2 of 3; its worst day was week, day 3, with an attainment of "
            "98.00%."
        )
        assert text_of(rows).configuration == ""


class TestOtherDays:
    def test_it_says_how_the_choice_does_on_days_left_out(self):
        assert paragraph(THREE_DAYS, "Other days").startswith(
            "each day was left out once, and the setting chosen by the others. The setting chosen "
            "met the SLO on the day left out in 2 of 3 repetitions; slo at its default, in 3."
        )

    def test_of_one_day_it_says_seeds(self):
        rows = [run("one", seed, "slo", "slo_target=0.99", 9.0, IN_TIME) for seed in (1, 2)]
        assert paragraph(rows, "Other seeds").startswith(
            "each seed was left out once, and the setting chosen by the others. The setting chosen "
            "met the SLO with the seed left out in 2 of 2 repetitions"
        )

    def test_it_says_what_the_cheapest_does_not_know(self):
        assert "utilisation does not know the SLO" in paragraph(THREE_DAYS, "Other days")
        rows = [
            *days("slo", "slo_target=0.99", 30.0, 0.0),
            *days("slo", "slo_target=0.97", 20.0, 0.0),
        ]
        assert "A target below that of the SLO" in paragraph(rows, "Other days")

    @pytest.mark.parametrize(
        ("policy", "setting", "part"),
        [
            ("slo", "slo_target=0.97", "A target below that of the SLO"),
            ("slo", "slo_target=0.998", "A target above that of the SLO"),
            ("slo-bounds", "slo_target=0.99", ""),
        ],
    )
    def test_a_target_is_called_lower_or_higher_if_it_is(self, policy, setting, part):
        rows = [*days("slo", "slo_target=0.99", 30.0, LATE), *days(policy, setting, 40.0, 0.0)]
        usable = {"small": dict.fromkeys([("slo", "slo_target=0.99"), (policy, setting)], "rule")}
        (choice,) = choices(rows, usable)
        (text,) = [
            each.text for each in choice_text(choice).paragraphs if each.subject == "Other days"
        ]
        assert part in text
        assert text.count("A target") == (1 if part else 0)


class TestCertainty:
    @pytest.mark.parametrize(
        ("number", "part"),
        [
            (1, "one day shows nothing about other days"),
            (3, "meets it on 3 of 3 days with a probability of 73%"),
            (3, "more than 63% of such days; to exclude one day in ten takes 29 days."),
            (30, "meets it on 30 of 30 days with a probability of 4.2%"),
            (30, "more than 9.5% of such days. "),
        ],
    )
    def test_it_states_what_so_few_days_can_show(self, number, part):
        assert (
            part
            in paragraph(days("slo", "slo_target=0.99", 9.0, [0.0] * number), "Certainty") + " "
        )

    def test_one_seed_may_be_chance(self):
        assert "With one seed, chance may decide" in paragraph(THREE_DAYS, "Certainty")
        rows = days("slo", "slo_target=0.99", 30.0, IN_TIME, seeds=(1, 2))
        assert "they are no other days" in paragraph(rows, "Certainty")

    def test_the_choice_among_several_is_said_to_look_better(self):
        assert "The cheapest of 4 settings" in paragraph(THREE_DAYS, "Certainty")
        assert "looks better" not in paragraph(
            days("slo", "slo_target=0.99", 9.0, 0.0), "Certainty"
        )

    def test_where_no_setting_was_chosen_none_is_said_to_look_better(self):
        rows = [
            *days("slo", "slo_target=0.99", 9.0, LATE),
            *days("utilisation", "target=0.7", 8.0, LATE),
        ]
        assert "looks better" not in paragraph(rows, "Certainty")


class TestTable:
    def test_a_line_has_all_figures(self):
        (line,) = [
            each for each in text_of(THREE_DAYS).lines if each.cells[0] == "slo slo_target=0.97"
        ]
        assert line.cells[1:] == ("2 of 3", "day 2", "98.00", "60.0", "0.67")
        assert (line.met, line.cheapest) == (False, False)
        assert [each.cells[0] for each in text_of(THREE_DAYS).lines if each.cheapest] == [
            "utilisation target=0.5"
        ]

    def test_every_line_has_a_cell_for_each_heading(self):
        for rows in (THREE_DAYS, [run("one", 1, "utilisation", "target=0.7", 9.0, 0.0)]):
            text = text_of(rows)
            assert {len(line.cells) for line in text.lines} == {len(text.headings)}

    def test_eighty_columns_are_enough(self):
        rows = days("slo", "slo_target=0.99", 30.0, 0.0) + days(
            "utilisation", "target=0.7", 9.0, LATE
        )
        text = printed(rows, width=80, notes=("A note.",))
        assert max(map(len, text.splitlines())) <= 80
        assert "…" not in text
        assert text.rstrip().endswith("A note.")

    def test_on_sixty_columns_no_figure_is_cut(self):
        lines = printed(THREE_DAYS, width=60).partition("Cheapest:")[0].splitlines()
        (line,) = [each for each in lines if "✓ utilisation" in each]
        assert line.split()[-4:] == ["1", "99.50", "75.0", "0.83"]

    def test_on_eighty_columns_long_names_of_traces_are_left_out(self):
        rows = [each for n in range(2) for each in two_settings(f"azure_fn_diurnal_smooth_{n}")]
        assert "azure_fn_diurnal_smooth_0  " in printed(rows, width=120)
        text = printed(rows, width=80)
        assert "worst" not in text.partition("✓ SLO met")[0]
        assert max(map(len, text.splitlines())) <= 80

    def test_the_configuration_can_be_copied(self):
        assert "\n  at 0.5\n" in printed(THREE_DAYS)

    def test_names_are_plain_text(self):
        rows = [run(NASTY, 1, policy, setting, 9.0, 0.0) for policy, setting in USABLE["small"]]
        assert f"Which setting for {NASTY} in small?" in printed(rows)

    def test_several_traces_are_shown_together_and_in_a_line_each(self):
        traces = [f"trace {n}" for n in range(3)]
        text = printed([each for trace in traces for each in two_settings(trace)])
        assert "Which setting for all traces together in small? 3 cases (3 traces, 1 seed)" in text
        assert "a setting that misses the SLO on one trace in ten" in " ".join(text.split())
        assert "Which setting for trace 0" not in text
        for trace in traces:
            line = next(line for line in text.splitlines() if f" {trace}, small" in line)
            assert "utilisation target=0.7 (default)" in line
            assert line.split()[-5:] == ["9.0", "0.90", "1", "of", "1"]

    @pytest.mark.parametrize("number", [1, MAX_IN_FULL, MAX_IN_FULL + 1])
    def test_with_many_scenarios_each_has_a_line(self, number):
        rows = [
            replace(each, scenario=f"place {n}")
            for n in range(number)
            for each in two_settings("a")
        ]
        usable = {f"place {n}": USABLE["small"] for n in range(number)}
        text = printed(rows, usable=usable)
        in_full = number <= MAX_IN_FULL
        assert text.count("Which setting for a in place ") == (number if in_full else 0)
        assert text.count("\n a, place ") == (0 if in_full else number)
        assert ("With --report" in text) is not in_full

    def test_a_trace_without_any_such_setting_has_a_line_too(self):
        late = [replace(each, violation_fraction=LATE) for each in two_settings("late")]
        text = printed([*two_settings("a"), *late])
        line = next(line for line in text.splitlines() if " late, small" in line)
        assert line.split()[2:] == ["none", "-", "-", "0", "of", "1"]

    def test_one_setting_is_no_choice(self):
        assert printed(days("slo", "slo_target=0.99", 9.0, 0.0), notes=("A note.",)) == ""


def two_settings(trace):
    return [
        run(trace, 1, "slo", "slo_target=0.99", 10.0, IN_TIME),
        run(trace, 1, "utilisation", "target=0.7", 9.0, IN_TIME),
    ]


class TestNotCounted:
    @pytest.mark.parametrize(
        ("number", "end"), [(2, "2 (seed 2)."), (13, ", and in 3 more cases.")]
    )
    def test_of_many_cases_some_are_named(self, number, end):
        rows = [run("load", number + 1, "slo", "slo_target=0.99", 9.0, IN_TIME)]
        for seed in range(1, number + 1):
            rows.append(run("day 2", seed, "slo", "slo_target=0.99", 9.0, LATE))
            rows.append(run("day 2", seed, "oracle", "slo_target=0.99", 9.0, LATE))
        (choice,) = [each for each in choices(rows, USABLE) if each.load is None]
        (text,) = [
            each.text for each in choice_text(choice).paragraphs if each.subject == "Not counted"
        ]
        assert text.startswith("not even the oracle met the SLO on day 2 (seed 1), ")
        assert text.endswith(end)


class TestMarkdown:
    def of(self, rows):
        found = choices(rows, USABLE)
        return render(found, command="autoscaler backtest", made_at="today", notes=("A note.",))

    def test_it_has_the_table_the_sentences_and_the_configuration(self):
        assert self.of(days("slo", "slo_target=0.99", 30.0, IN_TIME)).partition("**Certainty")[
            0
        ] == (
            "# Which setting for these days\n\nCreated today by autoscaler backtest\n\nA note.\n\n"
            "## Which setting for week in small? 3 cases (3 days, 1 seed)\n\n"
            "| policy, setting | SLO met | worst day | attainment, % | alloc. hours | × slo |\n"
            "| --- | ---: | ---: | ---: | ---: | ---: |\n"
            "| **slo slo\\_target=0.99 (default)** | 3 of 3 | day 1 | 99.50 | 90.0 | 1.00 |\n\n"
            "**Cheapest:** slo slo\\_target=0.99 (default) met the SLO in all 3 cases, with 90.0 "
            "allocation-hours for the 3 days.\n\n"
            "**Other days:** each day was left out once, and the setting chosen by the others. The "
            "setting chosen met the SLO on the day left out in 3 of 3 repetitions; slo at its "
            "default, in 3.\n\n"
        )
        assert "\n```\nat 0.5\n```\n" in self.of(THREE_DAYS)

    def test_names_are_plain_text(self):
        rows = [each for name in ("a|b", "*c*\n# d") for each in two_settings(name)]
        text = self.of(rows)
        assert r"for a\|b in" in text
        assert r"for \*c\* \# d in" in text

    def test_without_a_setting_it_says_so(self):
        assert "There is nothing to compare" in self.of(days("hpa", "", 9.0, 0.0))

    def test_where_not_even_the_oracle_meets_the_slo_it_says_so(self):
        rows = [
            *days("slo", "slo_target=0.99", 9.0, LATE),
            *days("oracle", "slo_target=0.99", 9.0, LATE),
        ]
        assert "in every case that the oracle can meet" in self.of(rows)
