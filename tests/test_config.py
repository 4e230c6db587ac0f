"""The configuration: defaults, problems, the environment and secrets."""

import contextlib
import json
import os
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
    exposures,
    json_schema,
    load,
    read_server,
    what_needs_restart,
)
from autoscaler.config.document import ConfigDocument
from autoscaler.config.durations import format_duration, parse_duration
from autoscaler.connection import ApiKey, Basic, Bearer, Connection
from autoscaler.core.next_poll import Polling
from autoscaler.core.selection import Rule
from autoscaler.core.slo.policy import SloPolicy
from tests.messages import without_lines

ROOT = Path(__file__).parents[1]
NO_SECRET_FILE = (
    "names no file in DIRECTORY; its name is not shown, because it may be the secret itself; put "
    "that into a file, and name the file"
)
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
    found = map(without_lines, raised.value.problems)
    return [shortened(each, path.parent) if path else each for each in found]


def shortened(text: str, directory: Path) -> str:
    return text.replace(f"{directory}/", "").replace(str(directory), "DIRECTORY")


def test_the_defaults(write):
    path = write(REACHABLE + '[[rules]]\nname = "all"\nmax_allocations = 4\n')
    assert load(path, {}) == Config(
        file=path,
        connection=Connection(hosts=("https://es:9200",), request_timeout_s=10.0),
        polling=Polling(interval_s=10.0, min_interval_s=2.0),
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
            assert re.search(rf"\b{key} = |\[(\w+\.)?{key}\]", text), key

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


@pytest.mark.parametrize(
    ("address", "matches"),
    [
        ("https://es:9200", True),
        ("HTTP://es, https://other", True),
        ("ftp://es:9200", False),
        ("es:9200", False),
        ("", False),
    ],
)
def test_the_schema_rejects_addresses_that_are_not_of_the_web(address, matches):
    schema = json.loads((ROOT / "deploy/config.schema.json").read_text())
    items, text, _ = schema["$defs"]["ElasticsearchTable"]["properties"]["hosts"]["anyOf"]
    assert items["items"] == text
    assert bool(re.search(text["pattern"], address)) is matches


class TestPolling:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("", (10.0, 2.0)),
            ('poll_interval = "5m"', (300.0, 2.0)),
            ('poll_interval = "1s"', (1.0, 1.0)),
            ('min_poll_interval = "3s"', (10.0, 3.0)),
            ('poll_interval = "30s"\nmin_poll_interval = "30s"', (30.0, 30.0)),
        ],
    )
    def test_the_shortest_interval_is_2_s_by_default_unless_the_poll_interval_is_shorter(
        self, write, text, expected
    ):
        polling = load(write(f"{text}\n{REACHABLE}"), {}).polling
        assert (polling.interval_s, polling.min_interval_s) == expected

    def test_the_shortest_interval_must_not_be_the_longer_one(self, write):
        assert problems(write(f'min_poll_interval = "20s"\n{REACHABLE}')) == [
            "config.toml: min_poll_interval: must be at most poll_interval, which is 10s, not 20s"
        ]

    def test_an_invalid_poll_interval_is_the_only_problem(self, write):
        text = f'poll_interval = "1h"\nmin_poll_interval = "20s"\n{REACHABLE}'
        (problem,) = problems(write(text))
        assert "must be between 1s and 10m, not 1h" in problem

    def test_both_are_part_of_the_fingerprint(self, write):
        texts = ("", 'poll_interval = "20s"', 'min_poll_interval = "3s"')
        found = {load(write(f"{text}\n{REACHABLE}"), {}).fingerprint for text in texts}
        assert len(found) == len(texts)


class TestFilesOfSecrets:
    KEY = '[elasticsearch]\nhosts = ["https://es"]\napi_key_file = "$CREDENTIALS_DIRECTORY/key"\n'

    def test_a_credential_that_systemd_has_loaded(self, write, tmp_path):
        (tmp_path / "credentials").mkdir()
        (tmp_path / "credentials/key").write_text("c2VzYW1l")
        environ = {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")}
        config = load(write(self.KEY), environ)
        assert config.connection.auth == ApiKey(tmp_path / "credentials/key")

    def test_without_credentials_of_systemd(self, write):
        (problem,) = problems(write(self.KEY))
        assert problem.endswith(
            "$CREDENTIALS_DIRECTORY/key cannot be read: No such file or directory"
        )

    def test_a_secret_in_place_of_its_file_is_not_shown(self, write):
        key = "VnVhQ2ZHY0JDZGJrUW0tZTVhT3g6dWkybHAyYXhUTm1zeWFrdzl0dk5udw"
        (problem,) = problems(write(f'{REACHABLE}api_key_file = "{key}=="\n'))
        assert problem.startswith(
            "config.toml: elasticsearch.api_key_file: names no file; its name is not"
        )
        assert key[:10] not in problem

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            (f'{REACHABLE}api_key = "c2VzYW1l"\n', True),
            (f'{REACHABLE}[server]\ntoken = "{"x" * 32}"\n', True),
            (REACHABLE, False),
        ],
    )
    @pytest.mark.parametrize(("mode", "readable"), [(0o644, True), (0o640, False)])
    def test_a_configuration_with_a_secret_that_every_user_can_read(
        self, write, text, expected, mode, readable
    ):
        path = write(text)
        path.chmod(mode)
        found = list(exposures(load(path, {})))
        assert [f"a secret in {path} can be read" in each for each in found] == (
            [True] if expected and readable else []
        )

    def test_a_configuration_that_every_user_can_change(self, write):
        path = write(REACHABLE)
        path.chmod(0o666)
        assert list(exposures(load(path, {}))) == [
            (
                f"the configuration {path} can be changed by every user of this machine; withdraw "
                f"that with `chmod o-w {path}`"
            )
        ]


class TestProblems:
    def test_a_missing_file(self, tmp_path):
        assert problems(tmp_path / "config.toml") == [
            "config.toml: no such file; begin with a copy of config.example.toml"
        ]

    def test_a_file_that_cannot_be_read(self, tmp_path):
        (tmp_path / "config.toml").mkdir()
        assert problems(tmp_path / "config.toml") == ["config.toml: cannot be read: Is a directory"]

    @pytest.mark.parametrize(
        "key", ["api_key_file", "password_file", "ca_certs", "client_certificate"]
    )
    def test_no_path_may_name_a_fifo(self, write, tmp_path, key):
        os.mkfifo(tmp_path / "fifo")
        table = f'{REACHABLE}{key} = "fifo"\n'
        if key == "password_file":
            table += 'username = "me"\n'
        (problem,) = problems(write(f'{table}[[rules]]\nname = "all"\nmax_allocations = 4\n'))
        assert problem == (
            f"config.toml: elasticsearch.{key}: fifo cannot be read: it is a FIFO, not a regular "
            "file"
        )

    def test_a_fifo(self, tmp_path):
        os.mkfifo(tmp_path / "config.toml")
        assert problems(tmp_path / "config.toml") == [
            "config.toml: cannot be read: it is a FIFO, not a regular file"
        ]

    def test_a_file_that_is_not_text(self, tmp_path):
        (tmp_path / "config.toml").write_bytes(b"a = '\xff'")
        assert problems(tmp_path / "config.toml") == ["config.toml: is not UTF-8 at byte 5"]

    def test_a_file_that_is_far_too_large(self, write):
        assert problems(write("#" * (1 << 20) + "\n")) == [
            "config.toml: is larger than 1 MiB, so it cannot be a configuration"
        ]

    def test_a_syntax_error_with_line_and_column(self, write):
        assert problems(write("\n\na = [1\n")) == [
            "config.toml: a comma or the closing ] is missing; the line is: a = [1"
        ]
        assert problems(write("\n\n[a\n")) == [
            "config.toml:3:3: the closing ] is missing: [a]; the line is: [a"
        ]

    @pytest.mark.parametrize(
        ("text", "fix"),
        [
            ("dry_run = yes", "a boolean is true or false, in lower case and without quotes"),
            ("dry_run = True", "a boolean is true or false, in lower case and without quotes"),
            (
                "poll_interval = 10s",
                'texts and durations need quotes: "10s", and booleans are true or false',
            ),
            (
                "dry_run = = true",
                "texts and durations need quotes, and booleans are true or false",
            ),
        ],
    )
    def test_a_value_without_quotes(self, write, text, fix):
        (problem,) = problems(write(f"# a comment\n{text}\n"))
        assert re.fullmatch(
            rf"config\.toml:2:\d+: the value of {text.split()[0]} is not TOML: {fix}"
            f"; the line is: {text}",
            problem,
        )

    def test_what_is_set_twice(self, write):
        assert problems(write('poll_interval = "5s"\npoll_interval = "6s"\n')) == [
            (
                "config.toml:2:21: poll_interval is set twice in the same table; keep one; "
                'the line is: poll_interval = "6s"'
            )
        ]
        assert problems(write("[server]\n[logging]\n[server]\n")) == [
            (
                "config.toml:3:8: the table [server] is there twice; merge the two; "
                "the line is: [server]"
            )
        ]

    def test_a_byte_order_mark_is_ignored(self, write):
        assert load(write(f"\ufeff{REACHABLE}"), {}).polling.interval_s == 10.0

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("pol_interval = '5s'", "pol_interval: no such key; did you mean poll_interval?"),
            ("poll_interval = 10", ("poll_interval: must be a duration with its unit, "
             'such as "30s", "5m" or "1h30m", not 10')),
            ("poll_interval = '1h'", "poll_interval: must be between 1s and 10m, not 1h"),
            ("rules = 3", "rules: must be a list, not 3"),
            ("server = 'x'", ("server: must be a table; its keys are host, port, token, "
             "token_file, tokens, open_reads, allowed_hosts, tls, users and rate_limit")),
            ("[server]\nport = 'x'", "server.port: must be an integer, not 'x'"),
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
            ("[[rules]]\nname = 'a'\ndeployment = 'b'\nmax_allocations = 3",
             "rule 'a': deployment: no such key; did you mean deployments?"),
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
             ".hosts: must be an address such as https://localhost:9200, not 'es:9200'"),
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
            *[
                (
                    f"hosts = 'https://{name}:9200'",
                    (f".hosts: must be an address such as https://localhost:9200{shown}its name "
                    "has a part that is empty or too long"),
                )
                for name, shown in (
                    ("es..example", ", not 'https://es..example:9200': "),
                    ("a" * 64, ": "),
                )
            ],
            ("hosts = ['https://es:port']", (".hosts: must be an address such as "
             "https://localhost:9200, not 'https://es:port': Port could not be cast to integer "
             "value as 'port'")),
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
             f".api_key_file: {NO_SECRET_FILE}"),
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
                "config.toml: rule 'all': max_allocations: is required; "
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
                "config.toml: rule 'a': load_window: must be at least poll_interval, "
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
                "config.toml: rule 'elser': 'elser' never applies, because 'all' before it matches "
                "all deployments; move it before that rule"
            )
        ]

    def test_a_name_that_is_used_twice(self, write):
        text = "[[rules]]\nname = 'a'\nexclude = true\ndeployments = 'x'\n" * 2
        assert problems(write(REACHABLE + text)) == [
            "config.toml: rule 'a': name: 'a' is the name of an earlier rule; use another"
        ]

    def test_all_problems_are_reported_at_once(self, write):
        text = "poll_interval = 5\n[servr]\n[[rules]]\nname = ''\nmax_allocations = 'x'\n"
        assert problems(write(text)) == [
            "config.toml: elasticsearch: set hosts or cloud_id; neither is set",
            (
                'config.toml: poll_interval: must be a duration with its unit, such as "30s", "5m" '
                'or "1h30m", not 5'
            ),
            "config.toml: servr: no such key; did you mean server?",
            ("config.toml: rules[0].name: must not be empty; remove the key if there is no value"),
            "config.toml: rules[0].max_allocations: must be an integer, not 'x'",
        ]

    def test_of_every_kind_at_once_with_lines_and_names_of_rules(self, tmp_path):
        """Syntax of values, unknown keys, relations between keys, former names and variables."""
        path = tmp_path / "config.toml"
        path.write_text("""\
poll_interval = "10s"
dry_run = "yes"
[elasticsearch]
hosts = ["https://es:9200"]
api_key_file = "gone"
[defaults]
max_allocations = 4

[[rules]]
name = "search"
deployments = ["*-search"]
min_allocations = 5

[[rules]]
name = "ingest"
deployments = ["*-ingest"]
growth = 2
slo = { latency = "2h", target = 0.9, percentile = 0.9 }

[[rules]]
name = "ingest"
max_allocations = 3
schedules = [
    { name = "day", cron = "0 8 * * *", timezone = "UTC", length = "8h", min_allocations = 9 },
]
""")
        environ = {"AUTOSCALER_SERVER__PORT": "many", "AUTOSCALER_POL_INTERVAL": "5s"}
        with pytest.raises(ConfigError) as raised:
            load(path, environ)
        assert shortened(str(raised.value), tmp_path).splitlines() == [
            "config.toml:2: dry_run: must be true or false, not 'yes'",
            f"config.toml:5: elasticsearch.api_key_file: {NO_SECRET_FILE}",
            (
                "config.toml:7: defaults.max_allocations: must be at least min_allocations, "
                "which is 5, not 4"
            ),
            "config.toml:17: rule 'ingest': growth: no such key; did you mean growth_factor?",
            "config.toml:18: rule 'ingest': slo.latency: must be between 1ms and 1h, not 2h",
            (
                "config.toml:21: rule 'ingest': name: 'ingest' is the name of an earlier rule; "
                "use another"
            ),
            (
                "config.toml:24: rule 'ingest': schedules[0].min_allocations: must be within the "
                "bounds of the rule 'ingest', 1 to 3, not 9"
            ),
            "AUTOSCALER_SERVER__PORT: must be an integer, not 'many'",
            (
                "config.toml:18: rule 'ingest': slo.percentile: former name of target, "
                "which is set too; remove percentile"
            ),
            "AUTOSCALER_POL_INTERVAL: no such setting; did you mean AUTOSCALER_POLL_INTERVAL?",
        ]

    @pytest.mark.parametrize(
        "text",
        [
            "[elasticsearch]\nhost = 'https://es'",
            "[elasticsearh]\nhosts = 'https://es'",
            "[elasticsearch]\nhosts = 3",
            "elasticsearch = 'https://es'",
        ],
    )
    def test_a_wrong_key_is_not_reported_as_missing_too(self, write, text):
        (problem,) = problems(write(text))
        assert "neither is set" not in problem

    @pytest.mark.parametrize(
        "text",
        [
            "[[rules]]\nname = 'a'\nmax_allocation = 3",
            "[[rules]]\nname = 'a'\nmax_allocations = '3'",
            "[defaults]\nmax_allocations = 0\n[[rules]]\nname = 'a'",
            (
                "poll_interval = 60\n[defaults]\nmax_allocations = 1\nload_window = '5s'\n"
                "[[rules]]\nname = 'a'"
            ),
            (
                "state = 'none'\n[defaults]\nmax_allocations = 1\n[[rules]]\nname = 'a'\n"
                "scale_to_zero = {after = '1h', via = 'stop'}"
            ),
            "[defaults]\nmax_allocations = 1\n[[rules]]\nname = ''",
            (
                "[defaults]\nmax_allocations = 1\n[[rules]]\nname = 'b'\n"
                "scale_to_zero = {after = '1h'}"
            ),
            (
                "[defaults]\nmax_allocations = 1\n[[rules]]\nname = 'b'\n"
                "schedules = [{name = 'x', length = '1h'}, 3]"
            ),
        ],
    )
    def test_consequences_of_a_wrong_key_are_not_reported(self, write, text):
        found = problems(write(f"{text}\n{REACHABLE}"))
        assert all("max_allocations: is required" not in problem for problem in found)
        assert not any("never applies" in problem for problem in found)
        assert len(found) == text.count("{name = 'x'") * 2 + 1

    @pytest.mark.parametrize(
        "given", ['"yes"', '"true"', '"false"', '"on"', "1", "0", "'no'", "[]"]
    )
    @pytest.mark.parametrize("key", ["dry_run", "take_over", "exclude", "hidden"])
    def test_only_true_and_false_are_booleans(self, write, given, key):
        text = f"[[rules]]\nname = 'a'\nmax_allocations = 3\n{key} = {given}\n"
        (problem,) = problems(write(REACHABLE + text))
        assert problem.startswith(f"config.toml: rule 'a': {key}: must be true or false")
        assert ("remove the quotes" in problem) == (given in {'"true"', '"false"'})

    @pytest.mark.parametrize("given", ["'3'", "true", "3.0", "'three'", "nan"])
    def test_only_integers_are_counts(self, write, given):
        text = f"[[rules]]\nname = 'a'\nmax_allocations = {given}\n"
        (problem,) = problems(write(REACHABLE + text))
        assert problem.startswith("config.toml: rule 'a': max_allocations: must be an integer")

    @pytest.mark.parametrize("given", ["'0.5'", "true", "nan", "inf"])
    def test_only_numbers_are_numbers(self, write, given):
        (problem,) = problems(write(f"{REACHABLE}[defaults]\ntarget_utilisation = {given}\n"))
        assert problem.startswith("config.toml: defaults.target_utilisation: must be a")

    def test_an_integer_is_a_number(self, write):
        text = f"{REACHABLE}[[rules]]\nname = 'a'\nmax_allocations = 3\ngrowth_factor = 3\n"
        assert load(write(text), {}).rules[0].growth_factor == 3.0

    @pytest.mark.parametrize(("given", "hint"), [("3", "; put it in quotes"), ("true", "")])
    def test_only_texts_are_texts(self, write, given, hint):
        (problem,) = problems(write(f"state_dir = {given}\n{REACHABLE}"))
        assert problem.startswith("config.toml: state_dir: must be a text, not ")
        assert problem.endswith(hint)


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
        assert (config.polling.interval_s, config.connection.request_timeout_s) == (5.0, 5.0)

    def test_is_named_in_problems(self, write):
        environ = {
            "AUTOSCALER_SERVER__PORT": "many",
            "AUTOSCALER_RULES": '[{"nam": 1, "exclude": true}]',
        }
        assert problems(write(REACHABLE), environ) == [
            "AUTOSCALER_SERVER__PORT: must be an integer, not 'many'",
            "AUTOSCALER_RULES: rules[0].name: is required",
            "AUTOSCALER_RULES: rules[0].nam: no such key; did you mean name?",
        ]

    def test_unknown_names_are_rejected(self):
        environ = {**HOST, "AUTOSCALER_POL_INTERVAL": "5s", "AUTOSCALER_XYZZY": "1"}
        assert problems(None, environ) == [
            "AUTOSCALER_POL_INTERVAL: no such setting; did you mean AUTOSCALER_POLL_INTERVAL?",
            "AUTOSCALER_XYZZY: no such setting",
        ]

    def test_a_table_must_be_json(self):
        assert problems(None, {**HOST, "AUTOSCALER_RULES": "[{"}) == [
            "AUTOSCALER_RULES: must be JSON, because it sets a table"
        ]

    @pytest.mark.parametrize("text", ["true", "True", "TRUE", "false"])
    def test_booleans(self, text):
        config = load(None, {**HOST, "AUTOSCALER_DRY_RUN": text})
        assert config.dry_run is (text.lower() == "true")

    @pytest.mark.parametrize("text", ["yes", "1", "on", "t"])
    def test_what_is_not_a_boolean(self, text):
        assert problems(None, {**HOST, "AUTOSCALER_DEFAULTS__TAKE_OVER": text}) == [
            f"AUTOSCALER_DEFAULTS__TAKE_OVER: must be true or false, not '{text}'"
        ]

    def test_numbers(self):
        rules = '[{"name": "a"}]'
        config = load(None, {
            **HOST,
            "AUTOSCALER_DEFAULTS__MIN_ALLOCATIONS": "3",
            "AUTOSCALER_DEFAULTS__MAX_ALLOCATIONS": "6",
            "AUTOSCALER_DEFAULTS__GROWTH_FACTOR": "2.5",
            "AUTOSCALER_RULES": rules,
        })  # fmt: skip
        (rule,) = config.rules
        assert (rule.min_allocations, rule.max_allocations, rule.growth_factor) == (3, 6, 2.5)

    @pytest.mark.parametrize("table", ["SERVER", "LOGGING", "DEFAULTS", "ELASTICSEARCH"])
    def test_every_key_accepts_its_default(self, table):
        definition = {t: f"{t.capitalize()}Table" for t in ("SERVER", "LOGGING", "ELASTICSEARCH")}
        schema = json_schema()["$defs"][definition.get(table, "ScalingTable")]["properties"]
        environ = {
            f"AUTOSCALER_{table}__{key.upper()}": str(field["default"])
            for key, field in schema.items()
            if isinstance(field.get("default"), str | int | float)
        }
        load(None, HOST | environ)

    def test_rules_have_the_types_of_json(self):
        rules = '[{"name": "a", "max_allocations": "3", "dry_run": "true"}]'
        assert problems(None, {**HOST, "AUTOSCALER_RULES": rules}) == [
            (
                "AUTOSCALER_RULES: rule 'a': max_allocations: must be an integer, not '3'; "
                "remove the quotes"
            ),
            (
                "AUTOSCALER_RULES: rule 'a': dry_run: must be true or false, not 'true'; "
                "remove the quotes"
            ),
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
        assert load(None, {**HOST, "AUTOSCALER_POLL_INTERVAL": ""}).polling.interval_s == 10.0

    def test_that_of_the_process_is_not_read(self, monkeypatch, write):
        monkeypatch.setenv("AUTOSCALER_POLL_INTERVAL", "5s")
        monkeypatch.setenv("POLL_INTERVAL", "5s")
        assert load(write(REACHABLE), {}).polling.interval_s == 10.0


class TestServer:
    TOKEN = "0123456789abcdef"

    def test_a_token_in_a_file_is_read_later(self, write, tmp_path):
        (tmp_path / "token").write_text(f"{self.TOKEN}\n")
        config = load(write(f"[server]\ntoken_file = 'token'\n{REACHABLE}"), {})
        assert config.server.token == Bearer(tmp_path / "token")

    def test_named_tokens(self, write, tmp_path):
        for name in ("alice", "bob"):
            (tmp_path / name).write_text(f"the-token-of-{name:>5}")
        text = "[server]\ntokens = {alice = 'alice', bob = 'bob'}\nopen_reads = false"
        config = load(write(f"{text}\n{REACHABLE}"), {})
        assert config.server.tokens == {
            "alice": Bearer(tmp_path / "alice"),
            "bob": Bearer(tmp_path / "bob"),
        }
        without = load(write(REACHABLE), {})
        assert what_needs_restart(without, config) == ("[server]",)  # open_reads

    @pytest.mark.parametrize(
        ("tokens", "problem"),
        [
            ("{alice = 'gone'}", f"alice: {NO_SECRET_FILE}"),
            ("{alice = 'one', bob = 'one'}", "bob: the same as that of alice; make one for each"),
            (
                "{alice = 'one', operator = 'two'}\ntoken = '0123456789abcdef'",
                "operator is the name of the token in token_file; use another name",
            ),
            (
                f"{{{'x' * 65} = 'one'}}",
                "the name of an operator has at most 64 characters",
            ),
        ],
    )
    def test_problems_of_named_tokens(self, write, tmp_path, tokens, problem):
        (tmp_path / "one").write_text("the-first-token-of-it")
        (tmp_path / "two").write_text("the-other-token-of-it")
        found = problems(write(f"[server]\ntokens = {tokens}\n{REACHABLE}"))
        assert found[0] == f"config.toml: server.tokens: {problem}"

    def test_a_token_in_the_environment(self, write):
        config = load(write(REACHABLE), {"AUTOSCALER_SERVER__TOKEN": self.TOKEN})
        assert config.server.token == Bearer(self.TOKEN)
        assert self.TOKEN not in repr(config)

    def test_it_changes_neither_the_fingerprint_nor_requires_a_restart(self, write):
        without = load(write(REACHABLE), {})
        with_token = load(write(REACHABLE), {"AUTOSCALER_SERVER__TOKEN": self.TOKEN})
        assert without.fingerprint == with_token.fingerprint
        assert without != with_token
        assert what_needs_restart(without, with_token) == ()

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("token = '0123456789abcde'", ("token: the token must have at least 16 characters; "
             "`openssl rand -hex 32` makes one")),
            ("token_file = 'gone'", f"token_file: {NO_SECRET_FILE}"),
            ("token = '0123456789abcdef'\ntoken_file = 'config.toml'",
             "token_file: token is set as well; keep one of the two"),
            ("open_reads = false",
             "open_reads: must be true without a token and users; set token_file or users"),
        ],
    )  # fmt: skip
    def test_problems(self, write, text, problem):
        found = problems(write(f"[server]\n{text}\n{REACHABLE}"))
        assert found[0] == f"config.toml: server.{problem}"

    def test_names_of_the_server(self, write):
        text = f"[server]\nallowed_hosts = 'a, *.b.example'\n{REACHABLE}"
        assert load(write(text), {}).server.allowed_hosts == ("a", "*.b.example")

    def test_it_can_be_read_although_the_rest_is_invalid(self, write, tmp_path):
        path = write(f"frobnicate = 1\n[server]\ntoken_file = 'token'\n{REACHABLE}")
        assert read_server(path, {}).token == Bearer(tmp_path / "token")


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
        assert what_needs_restart(old, new) == (), "new credentials are used at once"


def test_what_needs_a_restart(write):
    old = load(write(REACHABLE), {})
    live = load(write(f'poll_interval = "20s"\n{REACHABLE}request_timeout = "10s"\n'), {})
    assert what_needs_restart(old, live) == ()
    text = f"state_dir = 'state'\n{REACHABLE}[server]\nport = 1\n[logging]\nlevel = 'debug'\n"
    assert what_needs_restart(old, load(write(text), {})) == (
        "[server]",
        "[logging]",
        "state_dir",
        "[recording]",
    )


def test_equal_configurations_have_equal_fingerprints_and_others_do_not(write):
    text = f'{REACHABLE}[[rules]]\nname = "a"\nmax_allocations = 5\n'
    config, same = load(write(text), {}), load(write(f"# a comment\n{text}"), {})
    assert config == same
    assert config.fingerprint == same.fingerprint
    for other in (text.replace("5", "6"), f"{text}mode = 'bounds'\n", f"state_dir = 'x'\n{text}"):
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


class TestBlindAllocations:
    RULE = '[elasticsearch]\nhosts = ["http://es"]\n[[rules]]\nname = "a"\nmax_allocations = 8\n'

    def rule(self, tmp_path, more):
        path = tmp_path / "config.toml"
        path.write_text(f"{self.RULE}{more}")
        (found,) = load(path, {}).rules
        return found

    def test_by_default_the_allocations_are_held(self, tmp_path):
        assert self.rule(tmp_path, "").blind_allocations is None

    def test_a_rule_may_have_a_number_for_many_cycles_without_statistics(self, tmp_path):
        found = self.rule(tmp_path, 'blind_allocations = 6\nblind_after = "2m"\n')
        assert (found.blind_allocations, found.blind_after_s) == (6, 120.0)

    def test_it_is_within_the_bounds_of_the_rule(self, tmp_path):
        with pytest.raises(ConfigError, match=r"blind_allocations: must be within the bounds"):
            self.rule(tmp_path, "blind_allocations = 9\n")

    def test_the_time_is_bounded(self, tmp_path):
        with pytest.raises(ConfigError, match="blind_after: must be between 30s and 1d"):
            self.rule(tmp_path, 'blind_after = "1s"\n')


@pytest.mark.parametrize("digits", [7, 23, 400])
def test_no_rule_has_more_allocations_than_a_cluster_has_processors(write, digits):
    text = REACHABLE + f"[[rules]]\nname = 'a'\nmax_allocations = 1{'0' * digits}\n"
    assert problems(write(text)) == [
        "config.toml: rule 'a': max_allocations: must be at most 1000000"
    ]
