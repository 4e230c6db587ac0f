"""The table [leadership]: defaults, and what conflicts with other keys."""

import pytest

from autoscaler.config import ConfigError, LeaseSettings, load, what_needs_restart
from tests.messages import without_lines

BASE = """
poll_interval = "{poll}"
[elasticsearch]
hosts = ["https://es:9200"]
request_timeout = "{timeout}"
[leadership]
{table}
[[rules]]
name = "all"
max_allocations = 4
"""


@pytest.fixture
def configured(tmp_path):
    def configured(table, *, poll="10s", timeout="10s"):
        path = tmp_path / "config.toml"
        path.write_text(BASE.format(table=table, poll=poll, timeout=timeout))
        return load(path, {})

    return configured


def problem_of(configured, table, **settings):
    with pytest.raises(ConfigError) as raised:
        configured(table, **settings)
    (problem,) = raised.value.problems
    return without_lines(problem).partition("config.toml: ")[2]


def test_without_a_lease_there_is_one_instance(configured):
    assert configured("").lease is None
    assert configured('lease = "none"').lease is None


def test_the_defaults(configured):
    assert configured('lease = "elasticsearch"').lease == LeaseSettings(
        kind="elasticsearch", ttl_s=30.0, name="autoscaler", index="autoscaler-leases"
    )


@pytest.mark.parametrize(
    ("poll", "timeout", "ttl_s"), [("10s", "10s", 30.0), ("5s", "5s", 15.0), ("1s", "1s", 15.0)]
)
def test_a_slow_cycle_ends_within_the_default_of_ttl(configured, poll, timeout, ttl_s):
    lease = configured('lease = "kubernetes"', poll=poll, timeout=timeout).lease
    assert lease is not None
    assert lease.ttl_s == ttl_s


def test_a_ttl_in_which_a_slow_cycle_does_not_end_is_a_problem(configured):
    assert configured('lease = "elasticsearch"\nttl = "30s"').lease is not None
    problem = problem_of(configured, 'lease = "elasticsearch"\nttl = "29s"')
    assert problem == (
        "leadership.ttl: must be at least poll_interval and two request_timeout, 30s, not 29s, so "
        "that a slow cycle ends within its lease"
    )


def test_a_file_is_relative_to_the_configuration(configured, tmp_path):
    lease = configured('lease = "file"\nfile = "lease"').lease
    assert lease is not None
    assert lease.file == tmp_path / "lease"


@pytest.mark.parametrize(
    ("table", "fragment"),
    [
        ('lease = "file"', 'file: is required for lease = "file"'),
        ('lease = "file"\nfile = "missing/lease"', "directory is missing or read-only"),
        ('lease = "kubernetes"\nindex = "leases"', "index: has no effect"),
        ('lease = "elasticsearch"\nnamespace = "search"', "namespace: has no effect"),
        ('lease = "elasticsearch"\nfile = "lease"', "file: has no effect"),
        ('lease = "elasticsearch"\nname = "Search_1"', "lower-case letters"),
        ('lease = "elasticsearch"\nindex = ".leases"', "lower-case letters"),
        ('lease = "zookeeper"', "lease"),
        ('lease = "elasticsearch"\nttl = "2h"', "between 3s and 1h"),
    ],
)
def test_problems(configured, table, fragment):
    assert fragment in problem_of(configured, table)


def test_another_lease_needs_a_restart(configured):
    before, after = configured(""), configured('lease = "elasticsearch"')
    assert what_needs_restart(before, after) == ("[leadership]",)
    assert before.fingerprint != after.fingerprint
