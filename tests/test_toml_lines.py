"""The lines of the tables and keys of a TOML file."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.config.toml_lines import TomlLines

ROOT = Path(__file__).parents[1]

TEXT = '''\
# a comment with "quotes' and [brackets
poll_interval = "5s"            # line 2, and a # in a comment
"quoted # key" = 'a = [ # not a comment'

[elasticsearch]                 # line 5
hosts = [                       # line 6
    "https://a#1:9200",         # "
    'https://[::1]:9200',
]
server.port = 1                 # line 10: dotted

[defaults]
slo = { wait = "1s", target = 0.9 }
text = """
[[rules]]
name = "not a rule" \\""" """
[[ rules ]]                     # line 17
name = "first"
schedules = [                   # line 19
    { name = "a", cron = "{" },
    { name = "b", cron = "]" },  # }

]
[[rules]]                       # line 24

name = 'second'                 # line 26
[rules.slo]
wait = "2s"                     # line 28
[[rules.schedules]]
name = "c"                      # line 30
[[rules.schedules]]
name = "d"                      # line 32
[[rules]]
name = "third"                  # line 34
schedules = []
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("poll_interval",), 2),
        (("quoted # key",), 3),
        (("elasticsearch",), 5),
        (("elasticsearch", "hosts"), 6),
        (("elasticsearch", "server", "port"), 10),
        (("defaults", "slo"), 13),
        (("defaults", "slo", "target"), 13),
        (("defaults", "text"), 14),
        (("rules", 0), 17),
        (("rules", 0, "name"), 18),
        (("rules", 0, "schedules"), 19),
        (("rules", 0, "schedules", 0, "cron"), 20),
        (("rules", 0, "schedules", 1), 21),
        (("rules", 1), 24),
        (("rules", 1, "name"), 26),
        (("rules", 1, "slo", "wait"), 28),
        (("rules", 1, "schedules", 0, "name"), 30),
        (("rules", 1, "schedules", 1, "name"), 32),
        (("rules", 2, "name"), 34),
        (("rules", 2, "schedules"), 35),
    ],
)
def test_the_line_of_a_key(path, line):
    tomllib.loads(TEXT)
    assert TomlLines(TEXT).of(path) == line
    assert TomlLines(TEXT.replace("\n", "\r\n")).of(path) == line


def test_a_key_that_is_missing_has_the_line_of_its_table():
    lines = TomlLines(TEXT)
    assert lines.of(("rules", 1, "max_allocations")) == 24
    assert lines.of(("defaults", "slo", "latency")) == 13
    assert lines.of(("server", "port")) is None


KEYS = st.text("ab\"'#[]{}=\\ \né", min_size=1, max_size=6)
VALUES = st.recursive(
    st.integers() | st.booleans() | st.text("ab\"'#[]{}=\\ é", max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


def quoted(text):
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def written(value):
    match value:
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case str():
            return quoted(value) if "'" in value else f"'{value}'"
        case list():
            return "[\n" + "".join(f"  {written(inner)}, # ]\n" for inner in value) + "]"
        case dict():
            pairs = (f"{quoted(key)} = {written(inner)}" for key, inner in value.items())
            return f"{{ {', '.join(pairs)} }}"


@given(st.lists(st.dictionaries(KEYS, VALUES, max_size=3), min_size=1, max_size=4))
def test_every_key_is_found_on_the_line_on_which_it_is_written(tables):
    text, expected = "", {}
    for index, table in enumerate(tables):
        expected["rules", index] = text.count("\n") + 2
        text += "# [\n[[rules]]\n"
        for key, value in table.items():
            expected["rules", index, key] = text.count("\n") + 1
            text += f"{quoted(key)} = {written(value)}\n"
    assert tomllib.loads(text) == {"rules": tables}
    lines = TomlLines(text)
    assert {path: lines.of(path) for path in expected} == expected


def test_the_example():
    text = (ROOT / "config.example.toml").read_text()
    rows = text.splitlines()
    lines = TomlLines(text)
    for table, key in (("elasticsearch", "hosts"), ("server", "port"), ("defaults", "on_exit")):
        assert rows[lines.of((table, key)) - 1].startswith(f"{key} =")
