"""The configuration: defaults, problems, the environment and secrets."""

import contextlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.pretty import pretty_repr

from autoscaler.config import (
    Config,
    ConfigError,
    Logging,
    Server,
    json_schema,
    load,
    what_needs_restart,
)
from autoscaler.config.document import ConfigDocument
from autoscaler.config.durations import format_duration, parse_duration
from autoscaler.connection import ApiKey, Basic, Connection
from autoscaler.core.selection import Rule
from autoscaler.core.slo.policy import SloPolicy

ROOT = Path(__file__).parents[1]
REACHABLE = '[elasticsearch]\nhosts = ["https://es:9200"]\n'


@pytest.fixture
def write(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "config.toml"
        path.write_text(text)
        return path

    return write


def problems(path: Path | None, environ: dict[str, str] | None = None) -> list[str]:
    """The problems that `load` reports, with the path of the file shortened to its name."""
    with pytest.raises(ConfigError) as raised:
        load(path, environ or {})
    directory = f"{path.parent}/" if path else ""
    return [problem.replace(directory, "") for problem in raised.value.problems]


def test_the_defaults(write):
    config = load(write(REACHABLE + '[[rules]]\nname = "all"\nmax_allocations = 4\n'), {})
    assert config == Config(
        connection=Connection(hosts=("https://es:9200",), request_timeout_s=10.0),
        poll_interval_s=10.0,
        dry_run=False,
        server=Server(host="127.0.0.1", port=9464),
        logging=Logging(style="auto", level="info"),
        rules=(
            Rule(
                name="all",
                deployments=("*",),
                models=("*",),
                exclude=False,
                hidden=False,
                low_priority=False,
                dry_run=False,
                min_allocations=1,
                max_allocations=4,
                policy=SloPolicy(),
                stabilisation_window_s=0.0,
                growth_factor=100.0,
                shrink_factor=2.0,
            ),
        ),
    )


class TestTheExample:
    def test_loads(self):
        config = load(ROOT / "config.example.toml", {})
        assert [rule.name for rule in config.rules] == ["experiments", "rerankers", "all others"]
        assert config.rules[2].max_allocations == 8

    def test_shows_every_key(self):
        text = (ROOT / "config.example.toml").read_text()
        schema = json_schema()
        tables = [schema["properties"], *(t["properties"] for t in schema["$defs"].values())]
        for key in {key for table in tables for key in table}:
            assert re.search(rf"\b{key} = |\[{key}\]", text), key

    def test_shows_the_true_defaults(self):
        shown = tomllib.loads((ROOT / "config.example.toml").read_text())
        schema = json_schema()
        tables = {"server": "ServerTable", "logging": "LoggingTable", "defaults": "ScalingTable"}
        for table, definition in tables.items():
            for key, field in schema["$defs"][definition]["properties"].items():
                if key != "max_allocations":
                    assert shown[table].get(key) == field["default"], key
        assert shown["poll_interval"] == schema["properties"]["poll_interval"]["default"]


def test_the_committed_schema_is_current():
    """Made by `python -m autoscaler.config > deploy/config.schema.json`."""
    made = subprocess.run(
        [sys.executable, "-m", "autoscaler.config"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert (ROOT / "deploy/config.schema.json").read_text() == made
    assert json.loads(made)["properties"]["poll_interval"]["default"] == "10s"


class TestProblems:
    def test_a_missing_file(self, tmp_path):
        assert problems(tmp_path / "config.toml") == [
            "config.toml: no such file; begin with a copy of config.example.toml"
        ]

    def test_a_file_that_cannot_be_read(self, tmp_path):
        (tmp_path / "config.toml").mkdir()
        assert problems(tmp_path / "config.toml") == ["config.toml: cannot be read: Is a directory"]

    def test_a_file_that_is_not_text(self, tmp_path):
        (tmp_path / "config.toml").write_bytes(b"a = '\xff'")
        assert problems(tmp_path / "config.toml") == ["config.toml: is not UTF-8 at byte 5"]

    def test_a_file_that_is_far_too_large(self, write):
        assert problems(write("#" * (1 << 20) + "\n")) == [
            "config.toml: is larger than 1 MiB, so it cannot be a configuration"
        ]

    def test_a_syntax_error_with_line_and_column(self, write):
        assert problems(write("\n\na = = 3\n")) == ["config.toml:3:5: Invalid value"]

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("pol_interval = '5s'", "pol_interval: no such key; did you mean poll_interval?"),
            ("poll_interval = 10", ("poll_interval: must be a duration with its unit, "
             'such as "30s", "5m" or "1h30m"')),
            ("poll_interval = '1h'", "poll_interval: must be between 1s and 10m, not 1h"),
            ("rules = 3", "rules: must be a list"),
            ("server = 'x'", "server: must be a table"),
            ("[server]\nport = 'x'", "server.port: must be a valid integer, not 'x'"),
            ("[server]\nport = 70000",
             "server.port: must be less than or equal to 65535, not 70000"),
            ("[logging]\nformat = 'xml'",
             "logging.format: must be 'auto', 'console', 'json' or 'ecs', not 'xml'"),
            ("[defaults]\npolicy = 'utilization'", ("defaults.policy: there is no policy "
             "'utilization', only slo and utilisation; did you mean utilisation?")),
            ("[defaults]\nmin_allocations = 0", ("defaults.min_allocations: must be at least 1, "
             "not 0; use scale_to_zero to allow 0")),
            ("[defaults]\ntarget_utilisation = 70",
             "defaults.target_utilisation: must be a fraction between 0.05 and 0.95, not 70"),
            ("[defaults]\nshrink_factor = 1",
             "defaults.shrink_factor: must be above 1 and at most 1000, not 1"),
            ("[defaults]\nload_window = '2h'",
             "defaults.load_window: must be between 1s and 1h, not 2h"),
            ("[[rules]]\nmax_allocations = 3", "rules[0].name: is required"),
            ("[[rules]]\nname = 'a'\ndeployment = 'b'",
             "rules[0].deployment: no such key; did you mean deployments?"),
        ],
    )  # fmt: skip
    def test_one_key(self, write, text, problem):
        assert problems(write(f"{text}\n{REACHABLE}")) == [f"config.toml: {problem}"]

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("", ": set hosts or cloud_id; neither is set"),
            ("hosts = 'http://es'\ncloud_id = 'x:Y2xvdWQuZXhhbXBsZSRhYmM='",
             ": set hosts or cloud_id; not both"),
            ("hosts = ['es:9200']",
             ".hosts: must be an address such as https://localhost:9200"),
            (
                "hosts = ['https://es:9200/?pretty']",
                ".hosts: must be an address such as https://localhost:9200",
            ),
            (
                'hosts = ["https://es\\n:9200"]',
                ".hosts: must be an address such as https://localhost:9200",
            ),
            (
                'hosts = "https://es"\nca_certs = "\\u0000"',
                ".ca_certs: must be a text without control characters",
            ),
            ("hosts = ['https://es:port']", (".hosts: must be an address such as "
             "https://localhost:9200: Port could not be cast to integer value as 'port'")),
            ("hosts = 'http://es'\napi_key = 'a'\nbearer_token = 'b'",
             ": api_key and bearer_token exclude each other; keep one"),
            ("hosts = 'http://es'\nusername = 'a'",
             ": username and password belong together; set both"),
            ("hosts = 'https://es'\nclient_key = 'config.toml'",
             ".client_key: requires client_certificate; set both"),
            ("hosts = 'http://es'\nca_certs = 'config.toml'",
             ".ca_certs: has no effect, because all hosts begin with http://; remove it"),
            ("hosts = 'https://es'\nca_certs = 'gone.crt'",
             ".ca_certs: gone.crt cannot be read: No such file or directory"),
            ("hosts = 'https://es'\nca_fingerprint = '12:34'",
             ".ca_fingerprint: must be a SHA-256 fingerprint: 64 hexadecimal digits"),
            ("hosts = 'http://es'\napi_key_file = 'gone'",
             ".api_key_file: gone cannot be read: No such file or directory"),
            ("hosts = 'http://es'\napi_key_file = 'config.toml'",
             ".api_key_file: config.toml must contain the secret on one line, and nothing else"),
        ],
    )  # fmt: skip
    def test_an_invalid_connection(self, write, text, problem):
        assert problems(write(f"[elasticsearch]\n{text}\n")) == [
            f"config.toml: elasticsearch{problem}"
        ]

    def test_a_rule_without_an_upper_bound(self, write):
        assert problems(write(REACHABLE + '[[rules]]\nname = "all"\n')) == [
            (
                "config.toml: rules[0].max_allocations: is required; "
                "set it in this rule or in [defaults]"
            )
        ]

    def test_conflicting_bounds_of_which_one_is_inherited(self, write):
        text = '[defaults]\nmax_allocations = 4\n[[rules]]\nname = "a"\nmin_allocations = 5\n'
        assert problems(write(REACHABLE + text)) == [
            (
                "config.toml: defaults.max_allocations: must be at least min_allocations, "
                "which is 5, not 4"
            )
        ]

    def test_a_load_window_shorter_than_the_poll_interval(self, write):
        text = '[[rules]]\nname = "a"\nmax_allocations = 5\nload_window = "5s"\n'
        assert problems(write(REACHABLE + text)) == [
            (
                "config.toml: rules[0].load_window: must be at least poll_interval, "
                "which is 10s, not 5s"
            )
        ]

    def test_a_rule_that_never_applies(self, write):
        text = """
            [defaults]
            max_allocations = 5
            [[rules]]
            name = "all"
            [[rules]]
            name = "elser"
            deployments = ["elser*"]
            """
        assert problems(write(REACHABLE + text)) == [
            (
                "config.toml: rules[1]: 'elser' never applies, because 'all' before it matches "
                "all deployments; move it before that rule"
            )
        ]

    def test_a_name_that_is_used_twice(self, write):
        text = "[[rules]]\nname = 'a'\nexclude = true\ndeployments = 'x'\n" * 2
        assert problems(write(REACHABLE + text)) == [
            "config.toml: rules[1].name: 'a' is the name of an earlier rule; use another"
        ]

    def test_all_problems_are_reported_at_once(self, write):
        text = "poll_interval = 5\n[servr]\n[[rules]]\nname = ''\nmax_allocations = 'x'\n"
        assert problems(write(text)) == [
            (
                'config.toml: poll_interval: must be a duration with its unit, such as "30s", "5m" '
                'or "1h30m"'
            ),
            "config.toml: rules[0].max_allocations: must be a valid integer, not 'x'",
            "config.toml: rules[0].name: must be a text without control characters",
            "config.toml: servr: no such key; did you mean server?",
        ]


def test_a_later_rule_may_match_what_an_earlier_one_does_not(write):
    text = """
        [defaults]
        max_allocations = 5
        [[rules]]
        name = "all"
        [[rules]]
        name = "elastic's own"
        hidden = true
        """
    assert len(load(write(REACHABLE + text), {}).rules) == 2


def test_rules_inherit_keys_that_they_do_not_set(write):
    text = """
        [defaults]
        max_allocations = 5
        dry_run = true
        load_window = "2m"
        [[rules]]
        name = "first"
        models = ".elser*"
        dry_run = false
        [[rules]]
        name = "second"
        max_allocations = 9
        """
    first, second = load(write(REACHABLE + text), {}).rules
    assert (first.max_allocations, first.dry_run, first.models) == (5, False, (".elser*",))
    assert (second.max_allocations, second.dry_run, second.models) == (9, True, ("*",))
    assert first.policy.load_window_s == second.policy.load_window_s == 120.0


def test_a_global_dry_run_overrides_all_rules(write):
    text = 'dry_run = true\n[[rules]]\nname = "a"\nmax_allocations = 2\ndry_run = false\n'
    config = load(write(text + REACHABLE), {})
    assert config.dry_run
    assert config.rules[0].dry_run


def test_without_rules_the_program_only_observes(write):
    assert load(write(REACHABLE), {}).rules == ()


HOST = {"AUTOSCALER_ELASTICSEARCH__HOSTS": "https://a:9200,https://b:9200/"}


class TestTheEnvironment:
    def test_may_replace_the_file(self):
        rules = '[{"name": "a", "max_allocations": 3}]'
        config = load(None, {**HOST, "AUTOSCALER_RULES": rules})
        assert config.connection.hosts == ("https://a:9200", "https://b:9200")
        assert config.rules[0].max_allocations == 3

    def test_overrides_single_keys_of_the_file(self, write):
        path = write(REACHABLE + "[server]\nhost = '::1'\nport = 1\n")
        config = load(path, {"AUTOSCALER_SERVER__PORT": "2", "AUTOSCALER_POLL_INTERVAL": "5s"})
        assert config.server == Server(host="::1", port=2)
        assert (config.poll_interval_s, config.connection.request_timeout_s) == (5.0, 5.0)

    def test_is_named_in_problems(self, write):
        environ = {"AUTOSCALER_SERVER__PORT": "many", "AUTOSCALER_RULES": '[{"nam": 1}]'}
        assert problems(write(REACHABLE), environ) == [
            "AUTOSCALER_SERVER__PORT: must be a valid integer, not 'many'",
            "AUTOSCALER_RULES: rules[0].name: is required",
            "AUTOSCALER_RULES: rules[0].nam: no such key; did you mean name?",
        ]

    def test_unknown_names_are_rejected(self):
        assert problems(None, {"AUTOSCALER_POL_INTERVAL": "5s", "AUTOSCALER_XYZZY": "1"}) == [
            "AUTOSCALER_POL_INTERVAL: no such setting; did you mean AUTOSCALER_POLL_INTERVAL?",
            "AUTOSCALER_XYZZY: no such setting",
        ]

    def test_a_table_must_be_json(self):
        assert problems(None, {"AUTOSCALER_RULES": "[{"}) == [
            "AUTOSCALER_RULES: must be JSON, because it sets a table"
        ]

    def test_variables_of_kubernetes_for_a_service_of_this_name_are_ignored(self):
        load(None, {
            **HOST,
            "AUTOSCALER_CONFIG": "/etc/autoscaler/config.toml",
            "AUTOSCALER_SERVICE_HOST": "10.0.0.1",
            "AUTOSCALER_SERVICE_PORT_METRICS": "9464",
            "AUTOSCALER_PORT": "tcp://10.0.0.1:9464",
            "AUTOSCALER_PORT_9464_TCP_ADDR": "10.0.0.1",
        })  # fmt: skip

    def test_an_empty_variable_counts_as_unset(self):
        assert load(None, {**HOST, "AUTOSCALER_POLL_INTERVAL": ""}).poll_interval_s == 10.0

    def test_that_of_the_process_is_not_read(self, monkeypatch, write):
        monkeypatch.setenv("AUTOSCALER_POLL_INTERVAL", "5s")
        monkeypatch.setenv("POLL_INTERVAL", "5s")
        assert load(write(REACHABLE), {}).poll_interval_s == 10.0


class TestSecrets:
    def test_in_files_are_read_later_since_they_may_be_replaced(self, write, tmp_path):
        (tmp_path / "key").write_text("c2VzYW1l\n")
        config = load(write(f"{REACHABLE}api_key_file = 'key'\n"), {})
        assert config.connection.auth == ApiKey(tmp_path / "key")

    def test_are_rejected_when_set_twice(self, write, tmp_path):
        (tmp_path / "key").write_text("c2VzYW1l\n")
        environ = {"AUTOSCALER_ELASTICSEARCH__API_KEY": "other"}
        assert problems(write(f"{REACHABLE}api_key_file = 'key'\n"), environ) == [
            "config.toml: elasticsearch.api_key_file: api_key is set as well; keep one of the two"
        ]

    def test_are_shown_nowhere(self, write):
        config = load(write(f"{REACHABLE}username = 'me'\npassword = 'open sesame'\n"), {})
        assert config.connection.auth == Basic("me", "open sesame")
        assert "sesame" not in repr(config) + str(config) + pretty_repr(config) + config.fingerprint

    @pytest.mark.parametrize(
        "text",
        [
            "[elasticsearch]\nhosts = ['https://me:sesame@es']\n",
            "[elasticsearch]\napi_key = ['sesame']\n",
            "[elasticsearch]\napi_key = 'sesame'\npasword = 'sesame'\nport = 'sesame'\n",
            "elasticsearch = 'sesame'\n",
            "[elasticsearch]\npassword = 'sesame\n",
            "[elasticsearch]\nca_fingerprint = 'sesame'\n",
        ],
    )
    def test_are_not_in_problems(self, write, text):
        with pytest.raises(ConfigError) as raised:
            load(write(text), {})
        assert "sesame" not in str(raised.value)
        assert raised.value.__suppress_context__

    def test_are_not_in_problems_of_the_environment(self):
        environ = {"AUTOSCALER_ELASTICSEARCH": '{"api_key": "sesame'}
        with pytest.raises(ConfigError) as raised:
            load(None, environ)
        assert "sesame" not in str(raised.value)

    def test_a_changed_secret_is_a_changed_configuration(self, write):
        old = load(write(f"{REACHABLE}api_key = 'a'\n"), {})
        new = load(write(f"{REACHABLE}api_key = 'b'\n"), {})
        assert old != new
        assert old.fingerprint == new.fingerprint
        assert what_needs_restart(old, new) == ("[elasticsearch]",)


def test_what_needs_a_restart(write):
    old = load(write(REACHABLE), {})
    live = load(write(f'poll_interval = "20s"\n{REACHABLE}request_timeout = "10s"\n'), {})
    assert what_needs_restart(old, live) == ()
    text = f"state_file = 'stopped'\n{REACHABLE}[server]\nport = 1\n[logging]\nlevel = 'debug'\n"
    assert what_needs_restart(old, load(write(text), {})) == (
        "[server]",
        "[logging]",
        "state_file",
    )


def test_equal_configurations_have_equal_fingerprints_and_others_do_not(write):
    text = f'{REACHABLE}[[rules]]\nname = "a"\nmax_allocations = 5\n'
    config, same = load(write(text), {}), load(write(f"# a comment\n{text}"), {})
    assert config == same
    assert config.fingerprint == same.fingerprint
    for other in (text.replace("5", "6"), f"{text}mode = 'bounds'\n", f"state_file = 'x'\n{text}"):
        assert load(write(other), {}).fingerprint != config.fingerprint


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30.0), ("5m", 300.0), ("1h30m", 5400.0), ("250ms", 0.25), ("1d", 86400.0)],
)
def test_durations_are_parsed_and_formatted_alike(text, seconds):
    assert parse_duration(text) == seconds
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    "text", ["", "5", "m", "5 m", "-5s", "5sec", "1h 30m", "٣s", "9" * 400 + "s", 5, None, True]
)
def test_what_is_not_a_duration(text):
    with pytest.raises(ValueError, match="must be a duration"):
        parse_duration(text)


def test_every_default_is_within_its_range():
    """Defaults are not validated when they are used. Here they are, as they would be written."""
    schema = json_schema()
    tables = {
        "server": schema["$defs"]["ServerTable"],
        "logging": schema["$defs"]["LoggingTable"],
        "defaults": schema["$defs"]["ScalingTable"],
    }
    written = {
        name: {
            key: field["default"]
            for key, field in table["properties"].items()
            if field.get("default") is not None
        }
        for name, table in tables.items()
    }
    ConfigDocument(**written, poll_interval=schema["properties"]["poll_interval"]["default"])


KEYS = st.sampled_from(
    sorted({key for t in json_schema()["$defs"].values() for key in t["properties"]})
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["https://es:9200", "5s", "1h", "utilisation", "*"])
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4)
)
TABLES = st.sampled_from(["ELASTICSEARCH", "SERVER", "LOGGING", "DEFAULTS", "RULES"])


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(TABLES, VALUES, max_size=5))
def test_any_environment_is_resolved_or_rejected(tables):
    environ = {f"AUTOSCALER_{table}": json.dumps(value) for table, value in tables.items()}
    with contextlib.suppress(ConfigError):
        assert isinstance(load(None, environ), Config)


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_file_is_rejected_in_sentences(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("config") / "config.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as raised:
        load(path, {})
    assert all(problem.startswith(str(path)) for problem in raised.value.problems)
