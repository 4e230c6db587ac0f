"""The table [recording]: where cycles are recorded, and how much of that is kept."""

from pathlib import Path

import pytest

from autoscaler.config import ConfigError, RecordingSettings, load, what_needs_restart
from tests.messages import without_lines

BASE = """
{top}
[elasticsearch]
hosts = ["https://es:9200"]
[recording]
{table}
[[rules]]
name = "all"
max_allocations = 4
"""


@pytest.fixture
def configured(tmp_path):
    def configured(table="", top="state_dir = 'state'", environ=None):
        path = tmp_path / "config.toml"
        path.write_text(BASE.format(table=table, top=top))
        return load(path, environ or {})

    return configured


def test_by_default_cycles_are_recorded_beside_the_state(configured, tmp_path):
    assert configured().recording == RecordingSettings(
        directory=tmp_path / "state", max_age_s=14 * 86_400.0, max_bytes=100_000_000
    )
    home = configured(top="", environ={"HOME": "/home/user"})
    assert home.recording.directory == home.state_dir


@pytest.mark.parametrize("state", ["none", "elasticsearch"])
def test_without_a_directory_nothing_is_recorded(configured, tmp_path, state):
    top = f"state = '{state}'"
    assert configured(top=top).recording is None
    named = configured("directory = 'kept'", top).recording
    assert named.directory == tmp_path / "kept"


def test_it_can_be_switched_off(configured):
    assert configured("enabled = false").recording is None


def test_limits_are_as_set(configured):
    found = configured("directory = '/r'\nmax_age = '30d'\nmax_mb = 4000").recording
    assert found == RecordingSettings(
        directory=Path("/r"), max_age_s=30 * 86_400.0, max_bytes=4_000_000_000
    )


def test_a_directory_without_a_recording_is_rejected(configured):
    with pytest.raises(ConfigError) as error:
        configured("enabled = false\ndirectory = '/r'")
    (problem,) = error.value.problems
    assert without_lines(problem).endswith(
        "config.toml: recording.directory: has no effect with enabled = false; remove it, or set "
        "enabled = true"
    )


def test_a_change_takes_effect_at_the_next_start(configured):
    assert what_needs_restart(configured(), configured("max_mb = 20")) == ("[recording]",)
