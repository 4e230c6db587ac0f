"""The tables in the document: each run counts once, and the other text stays unchanged."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from autoscaler.backtest.results.file import Results, to_json
from autoscaler.errors import InputError, UserError
from benchmarks.evidence import combined, merged
from benchmarks.families import family_of
from benchmarks.frontier import inserted, main, markers, publish, update
from benchmarks.markdown import figure, table, wrapped
from benchmarks.tables import default_section, sweep_section
from tests.backtest.synthetic import SKILLS, row, trials

SCENARIO = "short-three-nodes"
FACTS = {"slo_target": 0.99, "nodes": 3}
TRACES = ("diurnal", "flash crowd")


def results(rows, command="autoscaler backtest diurnal", **given):
    figures = {
        "program": "autoscaler 1.0",
        "command": command,
        "made_at": "2026-01-01T00:00:00Z",
        "scenarios": {SCENARIO: FACTS},
        "rows": tuple(rows),
    }
    return Results(**{**figures, **given})


def swept():
    """Every setting with one seed, with the policy name of adaptive allocations."""
    skills = {{"adaptive": "adaptive-9"}.get(name, name): skill for name, skill in SKILLS.items()}
    return [each.row for each in trials(TRACES, (SCENARIO,), skills=skills)]


def by_default(seeds=(1, 2, 3)):
    """The default settings of the same, with several seeds."""
    return [
        replace(each, seed=seed, allocation_hours=each.allocation_hours + seed - 1)
        for each in swept()
        if each.default
        for seed in seeds
    ]


def part_of(text, heading):
    return text.partition(f"# {heading}\n")[2].partition("\n#")[0]


def cells(text, first):
    """Of the line of a table that begins with this."""
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    return next(line for line in lines if line and line[0] == first)


class TestEvidence:
    def test_a_run_that_is_in_two_files_counts_once(self):
        rows = merged([by_default(), swept()])
        assert len(rows) == len(by_default()) + sum(not each.default for each in swept())
        assert merged([by_default(), swept(), by_default()]) == rows

    def test_how_long_a_run_took_may_differ(self):
        assert merged([[row(elapsed_s=1.0)], [row(elapsed_s=2.0)]]) == (row(elapsed_s=1.0),)

    def test_files_that_contradict_each_other_are_refused(self):
        with pytest.raises(
            UserError, match="different results for utilisation on steady, small, seed 1"
        ):
            merged([[row(violations=10)], [row(violations=11)]])

    def test_files_with_different_scenarios_of_one_name_are_refused(self):
        other = results(swept(), scenarios={SCENARIO: FACTS | {"nodes": 1}})
        with pytest.raises(UserError, match=f"different scenarios named {SCENARIO}"):
            combined([results(by_default()), other])

    def test_files_without_runs_are_refused(self):
        with pytest.raises(UserError, match="no runs"):
            combined([results([])])

    def test_settings_are_compared_on_the_same_requests(self):
        evidence = combined([results(by_default()), results(swept())])
        assert {each.seed for each in evidence.by_default} == {1, 2, 3}
        assert {each.seed for each in evidence.swept} == {1}
        assert sorted(evidence.swept, key=str) == sorted(swept(), key=str)

    def test_settings_are_compared_with_the_seeds_that_all_policies_were_swept_with(self):
        once, twice = (
            [row(policy=name, setting=each, default=each == "a", seed=seed)
             for each in ("a", "b") for seed in seeds]
            for name, seeds in (("hpa", (1,)), ("utilisation", (1, 2)))
        )  # fmt: skip
        assert {each.seed for each in combined([results([*once, *twice])]).swept} == {1}

    def test_without_a_sweep_all_rows_are_compared(self):
        evidence = combined([results(by_default())])
        assert evidence.swept == evidence.by_default == evidence.rows

    def test_infeasible_pairs_do_not_count(self):
        rows = [
            row(trace="a", scenario=SCENARIO, policy="oracle", violation_fraction=0.2),
            row(trace="b", scenario=SCENARIO, policy="oracle", violation_fraction=0.01),
        ]
        evidence = combined([results(rows)])
        assert evidence.infeasible == (("a", SCENARIO),)
        assert evidence.pairs == {("b", SCENARIO)}


def section(found):
    """All tables."""
    return f"{default_section(found)}\n\n{sweep_section(found)}"


class TestSection:
    TEXT = section([results(by_default()), results(swept())])

    def test_what_was_run_is_counted(self):
        rows = merged([by_default(), swept()])
        requests = sum(each.requests for each in rows)
        opening = " ".join(self.TEXT.partition("```")[0].split())
        assert opening == (
            f"2 traces in 1 scenario, {len(SKILLS)} policies: with default settings and 3 seeds, "
            f"and at all {len(swept()) // 2} settings with 1 seed. {len(rows)} runs of "
            f"{requests:,} requests in total, {len(rows) / 2:.0f} s of computing with "
            "autoscaler 1.0."
        )

    def test_failed_parts_are_counted(self):
        text = section([results(by_default(), missing=1)])
        assert "; 1 part failed." in " ".join(text.split())

    def test_the_commands_have_no_absolute_paths(self):
        command = "autoscaler backtest /srv/traces ../more --json build/matrix.json"
        text = section([results(by_default(), command=command)])
        assert "```sh\nautoscaler backtest traces ../more --json build/matrix.json\n```" in text

    def test_every_policy_is_in_every_summary(self):
        for heading in ("With default settings", "At equal attainment", "At equal cost"):
            lines = part_of(self.TEXT, heading)
            names = ["adaptive-9" if name == "adaptive" else name for name in SKILLS]
            assert all(cells(lines, name) for name in names)

    def test_infeasible_pairs_are_named_by_trace(self):
        rows = [
            row(trace=trace, scenario=scenario, policy="oracle", violation_fraction=late)
            for trace, scenario, late in [
                *[("a", "long", 0.2), ("a", "short", 0.3)],
                *[("b", "long", 0.2), ("b", "short", 0.0)],
                *[("c", "long", 0.0), ("c", "short", 0.0)],
            ]
        ]
        text = " ".join(section([results(rows)]).split())
        assert "so these pairs are infeasible: a (all), b (long)." in text
        assert "The 3 feasible pairs count here" in text

    def test_several_seeds_have_an_interval(self):
        # Violations of the three seeds 1%, 2%, 3%: 4.303 x 1% / sqrt(3).
        rows = [
            row(scenario=SCENARIO, seed=seed, violations=10 * seed, violation_fraction=seed / 100.0)
            for seed in (1, 2, 3)
        ]
        line = cells(part_of(section([results(rows)]), "With default settings"), "utilisation")
        assert line == [
            *["utilisation", "0 of 1", "98.00", "2.00 ±2.48", "-", "2.0 ±0.0", "4 ±0"],
        ]

    @staticmethod
    def duel():
        """`slo` meets the SLO on no pair by default, and on half of them at `slo_target=0.999`."""
        points = [
            *[("a", "oracle", "slo_target=0.99", 10.0, 0.01)],
            *[("b", "oracle", "slo_target=0.99", 10.0, 0.01)],
            *[("a", "adaptive-9", "", 20.0, 0.02), ("b", "adaptive-9", "", 10.0, 0.04)],
            *[("a", "slo", "slo_target=0.99", 20.0, 0.1)],
            *[("a", "slo", "slo_target=0.999", 40.0, 0.001)],
            *[("b", "slo", "slo_target=0.99", 20.0, 0.1)],
            *[("b", "slo", "slo_target=0.999", 40.0, 0.02)],
        ]
        return [
            row(
                trace=trace,
                scenario=SCENARIO,
                policy=policy,
                setting=setting,
                default=setting != "slo_target=0.999",
                allocation_hours=hours,
                violation_fraction=late,
            )
            for trace, policy, setting, hours, late in points
        ]

    def test_at_equal_attainment_by_hand(self):
        text = part_of(section([results(self.duel())]), "At equal attainment")
        # Half-way from 20 to 40, on `a` alone.
        assert cells(text, "slo") == [
            *["slo", "slo_target=0.999", "1 of 2", "3.00 (1)", "1.00 (1)"]
        ]
        assert cells(text, "adaptive-9") == ["adaptive-9", "-", "0 of 2", "-", "-"]

    def test_at_equal_cost_by_hand(self):
        text = part_of(section([results(self.duel())]), "At equal cost")
        # 10% to 2% on `a`; on `b` it costs at least twice as much.
        assert cells(text, "slo") == ["slo", "5.00", "1", "1", "0"]
        assert cells(text, "adaptive-9") == ["adaptive-9", "1.00", "2", "0", "0"]
        without = [each for each in self.duel() if each.trace == "b"]
        text = part_of(section([results(without)]), "At equal cost")
        assert cells(text, "slo") == ["slo", "-", "0", "-", "-"]

    def test_every_trace_has_its_line(self):
        text = part_of(section([results(self.duel())]), SCENARIO)
        shown = ["-", "-", "-", "-", "99.00 / 10.0"]
        assert cells(text, "a") == ["a", "90.00 / 20.0", "-", "98.00 / 20.0", *shown]
        assert cells(text, "b") == ["b", "90.00 / 20.0", "-", "96.00 / 10.0", *shown]

    @staticmethod
    def references(trace="wide_fn_07", **given):
        """All references and `slo`."""
        hours = {
            "oracle": 10.0,
            "rate-oracle-10s": 11.0,
            "rate-oracle-60s": 12.0,
            "rate-follower": 16.5,
            "slo": 33.0,
        }
        return [
            row(trace=trace, scenario=SCENARIO, policy=name, allocation_hours=each, **given)
            for name, each in hours.items()
        ]

    def test_the_factors_of_the_hours_by_hand(self):
        text = part_of(
            default_section([results(self.references())]), "Why more hours than the oracle"
        )
        assert cells(text, "slo") == ["slo", "1 of 1", "3.30", "1.10", "1.50", "2.00", "2.75"]

    def test_families_have_their_own_figures(self):
        found = [*self.references(), *self.references("wide_fn_33")]
        found += [
            replace(each, violation_fraction=0.03) if each.policy == "slo" else each
            for each in self.references("wide_fn_39")
        ]
        text = part_of(default_section([results(found)]), "By family")
        assert cells(text, "functions 0 to 9")[1:4] == ["1 of 1", "99.00", "3.30"]
        burstier = ["1 of 2", "97.00", "3.30", "1.10", "1.50", "2.00", "2.75"]
        assert cells(text, "functions 30 to 39")[1:] == burstier

    def test_many_traces_are_not_shown_one_by_one(self):
        few, many = (
            default_section(
                [results([each for n in range(count) for each in self.references(f"wide_fn_{n}")])]
            )
            for count in (30, 31)
        )
        assert "Trace by trace" in few
        assert "Trace by trace" not in many

    def test_policies_may_have_different_seeds(self):
        found = [*self.references(), *self.references(seed=2)[-1:]]
        text = " ".join(default_section([results(found)]).split())
        assert "with default settings and 1 seed (2 seeds for slo). 6 runs" in text

    def test_a_scenario_that_was_not_run_has_no_table(self):
        assert "long-three-nodes" not in self.TEXT

    def test_without_feasible_pairs_the_count_is_0(self):
        rows = [replace(each, violation_fraction=0.5) for each in by_default()]
        assert "The 0 feasible pairs" in section([results(rows)])


class TestFamilies:
    @pytest.mark.parametrize(
        ("trace", "family"),
        [
            ("servegen_m_large_diurnal", "daily cycle"),
            ("azure_fn_idle_bursts", "idle gaps"),
            ("servegen_mm_image", "mixed"),
            ("wide_fn_09", "functions 0 to 9"),
            ("wide_fn_10", "functions 10 to 19"),
            ("wide_client_04", "clients 0 to 4"),
            ("wide_client_05", "clients 5 to 9"),
            ("week", "other"),
        ],
    )
    def test_a_trace_belongs_to_the_first_family_that_matches(self, trace, family):
        assert family_of(trace) == family


class TestMarkdown:
    def test_figures_are_aligned(self):
        assert table(["policy", "pairs"], [["a", "9"], ["hpa", "10"]]).splitlines() == [
            "| policy | pairs |",
            "| ------ | ----: |",
            "| a      |     9 |",
            "| hpa    |    10 |",
        ]

    @given(st.lists(st.tuples(st.text("a|\\ ±", max_size=9), st.text("0.,", max_size=9))))
    def test_all_lines_have_the_same_length(self, lines):
        assert len({len(line) for line in table(["x", "y"], lines).splitlines()}) == 1

    @pytest.mark.parametrize(
        ("value", "shown"),
        [(0.0, "0.000"), (0.0123, "0.012"), (1.234, "1.23"), (12.34, "12.3"), (1234.5, "1,234")],
    )
    def test_figures_have_about_three_digits(self, value, shown):
        assert figure(value) == shown

    @given(st.text("ab- \n", max_size=400))
    def test_wrapping_changes_only_the_space_between_words(self, text):
        assert wrapped(text).split() == text.split()


NAME = "frontier"
BEGIN, END = markers(NAME)
documents = st.text().filter(lambda text: BEGIN not in text and END not in text)


class TestTheDocument:
    @given(documents, documents, documents, documents)
    def test_only_what_is_between_the_markers_changes(self, before, old, new, after):
        once = inserted(f"{before}{BEGIN}{old}{END}{after}", new, NAME, "x.md")
        assert once == f"{before}{BEGIN}\n\n{new}\n\n{END}{after}"
        assert inserted(once, new, NAME, "x.md") == once

    @pytest.mark.parametrize(
        "text", ["", BEGIN, END, f"{END} {BEGIN}", f"{BEGIN} {BEGIN} {END}", f"{BEGIN}{END}{END}"]
    )
    def test_without_both_markers_once_and_in_order_it_is_refused(self, text):
        with pytest.raises(InputError, match=r"^x\.md must have the line"):
            inserted(text, "new", NAME, "x.md")

    def written(self, folder, *, document=f"# Before\r\n{BEGIN}\nold\n{END}\r\nafter"):
        names = [folder / "matrix.json", folder / "sweep.json"]
        for name, rows in zip(names, (by_default(), swept()), strict=True):
            name.write_text(to_json(results(rows)))
        target = folder / "benchmarks.md"
        target.write_bytes(document.encode())
        return names, target

    def test_it_is_updated(self, tmp_path):
        names, target = self.written(tmp_path)
        main(["default", NAME, *map(str, names), str(target)])
        text = target.read_bytes().decode()
        assert text.startswith(f"# Before\r\n{BEGIN}\n\n2 traces in 1 scenario")
        assert text.endswith(f"|\n\n{END}\r\nafter")
        assert "old" not in text.split()
        update("default", NAME, names, target)
        assert target.read_bytes().decode() == text

    def test_a_section_of_another_name_stays_unchanged(self, tmp_path):
        other = "<!-- wide: begin -->\nkept\n<!-- wide: end -->\n"
        names, target = self.written(tmp_path, document=f"{other}{BEGIN}\nold\n{END}\n")
        update("sweep", NAME, names, target)
        text = target.read_text()
        assert text.startswith(other)
        assert "At equal cost" in text
        assert "With default settings" not in text

    def test_a_document_without_markers_stays_unchanged(self, tmp_path, capsys):
        names, target = self.written(tmp_path, document="# Nothing\n")
        with pytest.raises(SystemExit) as ended:
            main(["default", NAME, *map(str, names), str(target)])
        assert ended.value.code == InputError.exit_code
        assert capsys.readouterr().err.startswith(f"error: {target} must have the line")
        assert target.read_text() == "# Nothing\n"

    def test_an_absent_document_is_reported_in_one_sentence(self, tmp_path):
        names, target = self.written(tmp_path)
        target.unlink()
        with pytest.raises(InputError, match=r"cannot read .*: no such file"):
            update("default", NAME, names, target)

    def test_a_document_in_another_encoding_is_reported_in_one_sentence(self, tmp_path):
        names, target = self.written(tmp_path)
        target.write_bytes(b"\xff")
        with pytest.raises(InputError, match="is not UTF-8"):
            update("default", NAME, names, target)

    def test_a_document_without_the_section_is_refused_before_the_text_is_computed(self, tmp_path):
        target = tmp_path / "page.md"
        target.write_text("# Nothing\n")

        def text() -> str:
            raise AssertionError("an hour of work for a document that cannot have its result")

        with pytest.raises(InputError, match="must have the line"):
            publish(text, NAME, target)

    def test_a_text_is_printed_and_inserted(self, tmp_path, capsys):
        _, target = self.written(tmp_path)
        publish(lambda: "new", NAME, target)
        assert f"{BEGIN}\n\nnew\n\n{END}" in target.read_text()
        assert capsys.readouterr().out == "new\n"

    def test_without_a_document_a_text_is_only_printed(self, capsys):
        publish(lambda: "new", NAME, None)
        assert capsys.readouterr().out == "new\n"
