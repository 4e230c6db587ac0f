"""A secret at each place of a configuration: no command shows it, whatever the cluster does."""

import json
import os
import threading
from base64 import b64encode
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from click.testing import CliRunner

from autoscaler.cli import main
from autoscaler.config import exposures, load

SECRET = "Tr0ub4dor-and-3-correct-horses"
COMMANDS = (
    ["check"],
    ["explain"],
    ["explain", "e5", "--json"],
    ["start", "e5"],
    ["stop", "e5"],
    ["resume", "e5"],
    ["release", "--to", "floor"],
    ["run"],
)

CONFIG = """
{top}
[elasticsearch]
hosts = ["http://127.0.0.1:{port}"]
{elasticsearch}
[server]
port = {taken}
{server}
[[rules]]
name = "all"
max_allocations = 8
{rule}
"""

VALID = {
    "an API key": {"elasticsearch": f'api_key = "{SECRET}"'},
    "an API key of two parts": {"elasticsearch": f'api_key = "id:{SECRET}"'},
    "a password": {"elasticsearch": f'username = "me"\npassword = "{SECRET}"'},
    "a bearer token": {"elasticsearch": f'bearer_token = "{SECRET}"'},
    "a token of the server": {"server": f'token = "{SECRET}"'},
    "a file": {"elasticsearch": 'api_key_file = "secret"'},
    "a file of the password": {"elasticsearch": 'username = "me"\npassword_file = "secret"'},
    "a file of the server": {"server": 'token_file = "secret"'},
}
INVALID = {
    "two kinds": {"elasticsearch": f'api_key = "{SECRET}"\nbearer_token = "{SECRET}"'},
    "no user": {"elasticsearch": f'password = "{SECRET}"'},
    "a list": {"elasticsearch": f'api_key = ["{SECRET}"]'},
    "a table": {"elasticsearch": f'api_key = {{ value = "{SECRET}" }}'},
    "two lines": {"elasticsearch": f'api_key = """{SECRET}\nb"""'},
    "a typing error": {"elasticsearch": f'apikey = "{SECRET}"'},
    "another table": {"server": f'api_key = "{SECRET}"'},
    "a rule": {"rule": f'password = "{SECRET}"'},
    "the top": {"top": f'bearer_token = "{SECRET}"'},
    "the address": {"elasticsearch": f'hosts = ["https://me:{SECRET}@es:9200"]'},
    "the name of the file": {"elasticsearch": 'api_key_file = "VnVhQ2ZHY0JDZGJrUW0tZTVhT3g6"'},
    "the name of the file of the password": {
        "elasticsearch": f'username = "me"\npassword_file = "{SECRET.lower()}"'
    },
    "the name of the file of the token": {"server": f'token_file = "{SECRET}"'},
    "a name that is too long": {"elasticsearch": f'api_key_file = "{SECRET * 20}"'},
    "no TOML": {"elasticsearch": f'api_key = "{SECRET}'},
    "no TOML, and a typing error": {"elasticsearch": f"pasword = {SECRET}"},
}
VARIABLES = {
    name: {f"AUTOSCALER_{name}": SECRET}
    for name in (
        *("ELASTICSEARCH__API_KEY", "ELASTICSEARCH__BEARER_TOKEN", "ELASTICSEARCH__PASSWORD"),
        *("SERVER__TOKEN", "ELASTICSEARCH__APIKEY", "API_KEY", "ELASTICSEARCH", "RULES"),
    )
}


HOSTILE = "\x1b[2J\x9b31m\u202e\u2028forged"


class Echoing(BaseHTTPRequestHandler):
    """Refuses every request, with its headers and escape sequences as the reason."""

    def do_GET(self):
        reason = f"{self.path} {dict(self.headers)} {HOSTILE}"
        body = json.dumps({"error": {"type": "security_exception", "reason": reason}}).encode()
        self.send_response(401)
        self.send_header("X-Elastic-Product", "Elasticsearch")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        self.do_GET()

    def log_message(self, *_):
        pass


@contextmanager
def echoing():
    with ThreadingHTTPServer(("127.0.0.1", 0), Echoing) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def own_environment(monkeypatch, tmp_path, logging_restored):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for name in list(os.environ):
        if name.upper().startswith("AUTOSCALER_"):
            monkeypatch.delenv(name)


def written(tmp_path, port, **parts):
    """A configuration. `run` ends, since the port of its server is taken."""
    given = {"top": "", "elasticsearch": "", "server": "", "rule": ""} | parts
    if given["elasticsearch"].startswith("hosts"):
        text = CONFIG.replace('hosts = ["http://127.0.0.1:{port}"]\n', "")
    else:
        text = CONFIG
    path = tmp_path / "config.toml"
    path.write_text(text.format(port=port, taken=port, **given))
    (tmp_path / "secret").write_text(SECRET)
    return path


def output_of(capfd, path, environ=None):
    """Everything that all commands print, and their exit codes."""
    shown, codes = [], set()
    for arguments in COMMANDS:
        result = CliRunner().invoke(main, [*arguments, "--config", str(path)], env=environ)
        codes.add(result.exit_code)
        shown += [result.stdout, result.stderr, *capfd.readouterr()]
    return "\n".join(shown), codes


def assert_hidden(shown):
    assert "Traceback" not in shown
    assert "internal error" not in shown
    forms = (
        SECRET,
        SECRET.lower(),
        SECRET[:14],
        b64encode(SECRET.encode()).decode()[:20],
        "VnVhQ2ZHY0JD",
    )
    assert [form for form in forms if form in shown] == []


@pytest.mark.parametrize("parts", VALID.values(), ids=VALID)
def test_a_valid_configuration(tmp_path, capfd, parts):
    with echoing() as port:
        path = written(tmp_path, port, **parts)
        shown, codes = output_of(capfd, path)
    assert_hidden(shown)
    assert codes == {1}
    assert "401" in shown
    assert r"\x1b[2J" in shown
    assert shown.replace("\n", "").isprintable()
    config = load(path, {})
    assert_hidden(f"{config!r} {config.fingerprint} {list(exposures(config))}")


@pytest.mark.parametrize("parts", INVALID.values(), ids=INVALID)
def test_an_invalid_configuration(tmp_path, capfd, parts):
    with echoing() as port:
        shown, codes = output_of(capfd, written(tmp_path, port, **parts))
    assert_hidden(shown)
    assert 78 in codes


@pytest.mark.parametrize("environ", VARIABLES.values(), ids=VARIABLES)
def test_in_the_environment(tmp_path, capfd, environ):
    with echoing() as port:
        shown, _ = output_of(capfd, written(tmp_path, port), environ)
    assert_hidden(shown)
