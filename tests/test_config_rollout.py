"""The hours of a gradual rollout, as they are written."""

import pytest

from autoscaler.config import ConfigError, load
from autoscaler.config.rollout import hours_of

HOURS = 'hours = ["00:00-24:00"], timezone = "UTC"'
A_SPAN = 'must be a span of whole hours, such as "09:00-17:00", not'
FRACTION = "must be a fraction between 0.1 and 0.9, not"


@pytest.mark.parametrize("span", ["0\u0669:00-17:00", "09:00-1\u0667:00"])
def test_digits_of_other_scripts_are_refused_as_by_the_schema(span):
    with pytest.raises(ValueError, match="must be a span of whole hours"):
        hours_of(span)


def configured(tmp_path, rollout, *keys, top=""):
    """The hours of the rule."""
    path = tmp_path / "config.toml"
    lines = [
        top,
        "[elasticsearch]",
        'hosts = ["http://127.0.0.1:9"]',
        "[[rules]]",
        'name = "all"',
        "max_allocations = 8",
        *keys,
        f"rollout = {rollout}",
    ]
    path.write_text("\n".join(lines))
    (rule,) = load(path, {}).rules
    return rule.rollout


WRONG = {
    '{ hours = ["25:00-26:00"], timezone = "UTC" }': f"rollout.hours[0]: {A_SPAN} '25:00-26:00'",
    '{ hours = ["09:30-10:00"], timezone = "UTC" }': f"rollout.hours[0]: {A_SPAN} '09:30-10:00'",
    '{ hours = ["09:00-09:00"], timezone = "UTC" }': f"rollout.hours[0]: {A_SPAN} '09:00-09:00'",
    '{ hours = ["9-17"], timezone = "UTC" }': f"rollout.hours[0]: {A_SPAN} '9-17'",
    '{ hours = [], timezone = "UTC" }': (
        'rollout.hours: must not be empty, because the rule would never act; use "00:00-24:00"'
    ),
    '{ hours = "09:00-17:00", timezone = "UTC" }': (
        "rollout.hours: must be a list, not '09:00-17:00'"
    ),
    '{ hours = [9], timezone = "UTC" }': (
        "rollout.hours[0]: must be a text, not 9; put it in quotes"
    ),
    f"{{ {HOURS}, share = 0 }}": f"rollout.share: {FRACTION} 0",
    f"{{ {HOURS}, share = 1 }}": f"rollout.share: {FRACTION} 1",
    f"{{ {HOURS}, share = 1.5 }}": f"rollout.share: {FRACTION} 1.5",
    f"{{ {HOURS}, share = -0.5 }}": f"rollout.share: {FRACTION} -0.5",
    f"{{ {HOURS}, share = nan }}": "rollout.share: must be a finite number, not nan",
    f'{{ {HOURS}, share = "50%" }}': "rollout.share: must be a number, not '50%'",
    f"{{ {HOURS}, shares = 0.5 }}": "rollout.shares: no such key; did you mean share?",
    '{ hours = ["00:00-24:00"] }': "rollout.timezone: is required",
    '{ timezone = "UTC" }': "rollout.hours: is required",
    '{ hours = ["00:00-24:00"], timezone = "Mars/Base" }': (
        "rollout.timezone: must be the name of a time zone, such as Europe/Berlin"
    ),
    "true": "rollout: must be a table, not true; its keys are hours, timezone and share",
    "0.5": "rollout: must be a table, not 0.5; its keys are hours, timezone and share",
}


@pytest.mark.parametrize(("rollout", "problem"), WRONG.items())
def test_a_wrong_value_is_one_sentence_with_its_key(tmp_path, rollout, problem):
    with pytest.raises(ConfigError) as raised:
        configured(tmp_path, rollout)
    (found,) = raised.value.problems
    assert found.endswith(f"rule 'all': {problem}")


CONFLICTS = {
    'policy = "utilisation"': (
        "requires a policy that estimates late requests, and utilisation does not; use slo"
    ),
    'scale_to_zero = { after = "1h", via = "stop" }': (
        "is not possible with scale_to_zero via stop, because what ran before cannot be restored "
        'then; remove one of them, or use via = "adaptive"'
    ),
}


@pytest.mark.parametrize(("key", "problem"), CONFLICTS.items())
def test_a_key_that_excludes_a_rollout_is_one_sentence(tmp_path, key, problem):
    with pytest.raises(ConfigError) as raised:
        configured(tmp_path, f"{{ {HOURS} }}", key)
    (found,) = raised.value.problems
    assert found.endswith(f"rule 'all': rollout: {problem}")


def test_without_a_state_there_is_no_rollout(tmp_path):
    with pytest.raises(ConfigError, match='remove the top-level state = "none"'):
        configured(tmp_path, f"{{ {HOURS} }}", top='state = "none"')


def test_spans_that_overlap_are_their_union(tmp_path):
    rollout = '{ hours = ["22:00-01:00", "23:00-02:00"], timezone = "UTC" }'
    assert configured(tmp_path, rollout).hours == (0, 1, 22, 23)


def test_a_rule_with_a_fixed_number_can_have_a_rollout(tmp_path):
    assert configured(tmp_path, f"{{ {HOURS} }}", "min_allocations = 8") is not None


def test_another_share_or_number_is_another_rule_and_a_key_of_its_end_is_none(tmp_path):
    def settings(*keys, more=""):
        return configured(tmp_path, f"{{ {HOURS}{more} }}", *keys).settings

    assert settings(more=", share = 0.3") != settings() != settings("min_allocations = 2")
    assert settings('on_exit = "keep"') == settings() == settings(more=", share = 0.5")
