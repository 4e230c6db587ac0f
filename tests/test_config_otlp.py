"""The table [otlp]: where metrics are sent."""

import sys
from importlib.util import find_spec

import pytest

from autoscaler.config import ConfigError, exposures, load, what_needs_restart
from autoscaler.otlp_access import OtlpSettings, headers_in
from tests.messages import without_lines

BASE = """
[elasticsearch]
hosts = ["https://es:9200"]
[otlp]
{table}
[[rules]]
name = "all"
max_allocations = 4
"""
SECRET = "Zx81-long-secret-of-the-test"


@pytest.fixture
def configured(tmp_path):
    def configured(table=""):
        path = tmp_path / "config.toml"
        path.write_text(BASE.format(table=table))
        return load(path, {})

    return configured


@pytest.fixture
def installed():
    """The extra."""
    try:
        found = find_spec("opentelemetry.proto")
    except ModuleNotFoundError:
        found = None
    if found is None:
        pytest.skip("needs the extra otel, which the dev lock has")


def problem_of(configured, table):
    with pytest.raises(ConfigError) as raised:
        configured(table)
    (problem,) = raised.value.problems
    return without_lines(problem).partition("config.toml: ")[2]


def test_by_default_nothing_is_sent(configured):
    assert configured().otlp is None


@pytest.mark.usefixtures("installed")
def test_a_collector(configured, tmp_path):
    (tmp_path / "headers").write_text("Authorization: abc")
    (tmp_path / "ca.pem").touch()
    table = 'headers_file = "headers"\nca_certs = "ca.pem"\ninterval = "30s"\ndecisions = false'
    assert configured(f'endpoint = "https://collector:4318/"\n{table}').otlp == OtlpSettings(
        endpoint="https://collector:4318",
        headers_file=tmp_path / "headers",
        ca_certs=tmp_path / "ca.pem",
        interval_s=30.0,
        decisions=False,
    )


@pytest.mark.usefixtures("installed")
def test_the_cluster_itself(configured):
    assert configured('endpoint = "elasticsearch"').otlp == OtlpSettings(endpoint="")


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('endpoint = "collector:4318"', "must be an address such as"),
        ('endpoint = "https://me:pw@collector"', "must not contain credentials; use headers_file"),
        ('endpoint = "http://c"\nheaders_file = "none"', "none cannot be read"),
        ('endpoint = "http://c"\nca_certs = "none"', "none cannot be read"),
        ('endpoint = "http://c"\nheaders_file = "."', "cannot be read"),
        ('endpoint = "elasticsearch"\nheaders_file = "none"', "has no effect with endpoint ="),
        ('endpoint = "http://c"\ninterval = "1s"', "must be between 5s and 1h"),
    ],
)
def test_what_is_wrong_with_it(configured, table, words):
    assert words in problem_of(configured, table)


def test_keys_without_an_endpoint_have_no_effect(configured):
    assert "has no effect without endpoint" in problem_of(configured, 'ca_certs = "ca.pem"')


def test_without_the_extra_it_says_what_to_install(configured, monkeypatch):
    for name in ("opentelemetry", "opentelemetry.proto"):
        monkeypatch.setitem(sys.modules, name, None)
    problem = problem_of(configured, 'endpoint = "http://collector:4318"')
    assert "pip install 'autoscaler[otel]'" in problem


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization {SECRET}",
        f": {SECRET}",
        f"Author ization: {SECRET}",
        f"A: {SECRET}\x00",
        f"A: {SECRET}ü",
        f"Host: {SECRET}",
        f"content-TYPE: {SECRET}",
        f"A: b\n\nAuthorization={SECRET}",
    ],
)
def test_a_line_that_is_no_header_is_named_and_not_shown(tmp_path, text):
    (tmp_path / "headers").write_text(text)
    with pytest.raises(ValueError, match=f"line {text.count(chr(10)) + 1} of ") as raised:
        headers_in(tmp_path / "headers")
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("content", [b"\xff", b"A: b\n" * 20_000])
def test_a_file_that_has_no_headers(tmp_path, content):
    (tmp_path / "headers").write_bytes(content)
    with pytest.raises(ValueError, match=r"headers is "):
        headers_in(tmp_path / "headers")


@pytest.mark.usefixtures("installed")
def test_a_change_needs_a_restart(configured):
    one, other = (configured(f'endpoint = "http://{host}"') for host in "ab")
    assert what_needs_restart(one, other) == ("[otlp]",)
    assert one.fingerprint != other.fingerprint


@pytest.mark.usefixtures("installed")
def test_headers_that_every_user_can_read_are_a_warning(configured, tmp_path):
    (tmp_path / "headers").write_text("Authorization: abc")
    (tmp_path / "headers").chmod(0o644)
    config = configured('endpoint = "https://c"\nheaders_file = "headers"')
    assert any("the headers for OTLP in" in each for each in exposures(config))
