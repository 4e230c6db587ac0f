"""Configurations with random damage; `make fuzz-configurations` runs more of them."""

from autoscaler.config import load
from tests.fuzzed_configurations import SHORT, fuzzed, violations


def test_each_has_a_sentence_for_each_problem_and_none_shows_a_secret():
    assert list(violations(range(300))) == []


def test_without_damage_they_are_valid(tmp_path):
    (tmp_path / "config.toml").write_text(SHORT)
    assert [rule.name for rule in load(tmp_path / "config.toml", {}).rules] == ["search", "night"]


def test_a_seed_always_gives_the_same():
    assert fuzzed(7) == fuzzed(7) != fuzzed(8)
