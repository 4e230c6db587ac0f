"""`explain`: a running daemon's server asked, and its answer for people."""

import asyncio
import io
import json
import math
import os
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import msgspec
import pytest
from click.testing import CliRunner
from prometheus_client import CollectorRegistry
from rich.console import Console

from autoscaler.adapters.admin_http import AdminServer, DecisionRecorder, Health
from autoscaler.adapters.admin_http.document import DeploymentsResponse
from autoscaler.cli import main
from autoscaler.config import Server, load
from autoscaler.core.values import (
    Candidate,
    DataIssue,
    OutcomeKind,
    Reason,
    Sample,
    Step,
    Unmanaged,
)
from autoscaler.errors import InputError
from autoscaler.explain import DEFAULT_URL, address_of, render
from autoscaler.ports import FailureKind, ObservationFailed
from tests.adapters.recorded import cycle, decision, outcome, steady
from tests.fakes import FakeClock

CONFIG = """
[elasticsearch]
hosts = ["http://127.0.0.1:9"]
[server]
host = "0.0.0.0"
port = {port}
[[rules]]
name = "all"
max_allocations = 8
"""

FIGURES = {
    "offered_load": 3.2,
    "load_stddev": 0.25,
    "violation_weight": 20.0,
    "slo_attainment": 0.9941,
    "backlog_requests": 40,
    "backlog_allocations": 4,
    "forecast_load": 3.61,
    "forecast_error": 0.1234,
    "room": math.inf,
    "reason": "[bold]",
}
WEIGHED = (
    Candidate(allocations=3, violation_fraction=1.0, queue_wait_s=math.inf, cost=math.inf),
    Candidate(allocations=4, violation_fraction=0.029, queue_wait_s=0.21, cost=5.9),
    Candidate(allocations=5, violation_fraction=0.006, queue_wait_s=0.08, cost=5.4),
    Candidate(allocations=6, violation_fraction=0.001, queue_wait_s=0.03, cost=6.1),
)
HELD = decision(
    current=6,
    steps=(
        Step(Reason.SLO, 6, 5, FIGURES, WEIGHED),
        Step(Reason.STABILISATION, 5, 6, {"highest": 6, "window_s": 300.0}),
    ),
)


@pytest.fixture(autouse=True)
def own_environment(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.upper().startswith("AUTOSCALER_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def clock():
    return FakeClock(start=1_000.0)


@pytest.fixture
def decisions(clock):
    """What a daemon knows: one held, one refused, one in a dry run, two left alone."""
    found = DecisionRecorder(clock, "1.2.3")
    found.planned(*cycle(outcome(decision(), OutcomeKind.ACCEPTED)))
    clock.pass_by(312.0)
    damaged = Sample(
        at=1_312.0, interval_s=10.0, issues=(DataIssue.NEW_NODE,), failed=4, timeouts=3
    )
    found.planned(
        *cycle(
            outcome(HELD, OutcomeKind.UNCHANGED),
            outcome(decision("refused"), OutcomeKind.NO_CAPACITY, "could not update"),
            outcome(decision("trial", dry_run=True), OutcomeKind.DRY_RUN),
            outcome(
                steady(
                    "new[bold]",
                    load=None,
                    sample=damaged,
                    steps=(Step(Reason.DATA_QUALITY, 3, 3, {"issues": "new_node"}),),
                ),
                OutcomeKind.UNCHANGED,
            ),
            at=1_312.0,
            unmanaged={".hidden": Unmanaged.HIDDEN},
            unreadable={"odd": "$.x: nonsense"},
        )
    )
    clock.pass_by(4.0)
    return found


@contextmanager
def serving(decisions, clock):
    """The address of the daemon's server, on an event loop of its own."""
    server = AdminServer(
        CollectorRegistry(),
        Health(clock, 10.0),
        decisions,
        host="127.0.0.1",
        port=0,
        version=decisions.version,
    )
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result()
        yield f"http://127.0.0.1:{server.port}"
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result()
        asyncio.run_coroutine_threadsafe(loop.shutdown_default_executor(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def url(decisions, clock):
    with serving(decisions, clock) as url:
        yield url


def invoke(*arguments):
    return CliRunner().invoke(main, ["explain", *arguments])


def failed(*arguments):
    """What is said, in one sentence, where there is nothing to tell."""
    result = invoke(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    return line.removeprefix("autoscaler: ")


def shown(answer, width=120):
    stream = io.StringIO()
    render(answer, Console(file=stream, width=width, force_terminal=True, color_system=None))
    return stream.getvalue()


def rows(text):
    """Lines without what aligns them."""
    return [" ".join(line.split()) for line in text.splitlines()]


class TestAllOfThem:
    @pytest.mark.parametrize("width", [80, 120])
    def test_a_table_that_fits(self, decisions, width):
        text = shown(decisions.list_deployments(), width)
        assert max(map(len, text.splitlines())) <= width
        for name in (".hidden", "elser", "new[bold]", "odd", "refused", "trial"):
            assert name in text

    def test_why_in_a_few_words(self, decisions):
        found = rows(shown(decisions.list_deployments(), 140))
        for row in (
            "elser stabilisation, wants 5 6 4.50 30 ms",
            "refused bounds, wants 7, no capacity 3 → 6 4.50",
            "trial bounds, wants 7, dry run 3 → 6 4.50",
            "new[bold] untrusted, new node 3 ?",
            ".hidden left alone: its id begins with a dot, and no rule takes hidden ones",
        ):
            assert row in found

    def test_how_old_it_is(self, decisions):
        assert "Observed 4 s ago by autoscaler 1.2.3." in shown(decisions.list_deployments())

    @pytest.mark.parametrize(
        ("age_s", "told"), [(119.0, "119 s"), (180.0, "3 min"), (7200.0, "2 h")]
    )
    def test_how_old_it_is_in_few_digits(self, age_s, told):
        answer = DeploymentsResponse(
            autoscaler="1", at=0.0, age_s=age_s, failure="", deployments=()
        )
        text = shown(answer)
        assert f"Observed {told} ago" in text
        assert "The cluster reports no deployment." in text

    def test_what_went_wrong_since(self, decisions, clock):
        decisions.skipped(ObservationFailed(FailureKind.TIMEOUT, "no answer"), clock.now())
        assert "Not observed since: no answer" in shown(decisions.list_deployments())


class TestOneOfThem:
    def test_one_that_sleeps_has_no_load_to_tell_of(self, clock):
        found = DecisionRecorder(clock, "1.2.3")
        asleep = Step(Reason.STOPPED, 0, 0, {"since_s": 3600.0})
        silent = Sample(at=1_000.0, interval_s=0.0)
        sleeping = decision(current=0, steps=(asleep,), sample=silent, load=None)
        found.planned(*cycle(outcome(sleeping, OutcomeKind.UNCHANGED)))
        story = shown(found.get_deployment("elser"))
        assert "elser sleeps" in story
        assert "it was stopped 60 min ago" in story
        assert "arrivals" not in story

    def test_the_whole_story(self, decisions):
        found = rows(shown(decisions.get_deployment("elser")))
        for row in (
            "elser stays at 6",
            "Nothing changed: the policy wants 5, but 6 was recommended within 300 s.",
            "rule all, 1..6 allocations",
            "last update 3 → 6, 5 min ago: accepted",
            "arrivals 60 a second over 60 s",
            "service time 100 ms",
            "offered load 3.20 ± 0.25 erlangs",
            "cache hits 25%",
            "latest interval 200 arrivals in 10 s",
            "in time lately 99.4%",
            "to be cleared 40 requests",
            "to clear them in time 4 allocations",
            "forecast 3.61 erlangs",
            "forecast error 0.1234",
            "room unlimited",
            "because [bold]",
            "an erlang of late requests is worth 20 allocations",
            "3 ∞ 100% ∞",
            "4 210 ms 2.9% 5.90",
            "5 80 ms 0.6% 5.40 wanted",
            "6 30 ms 0.1% 6.10 now, decided",
            "stabilisation 5 6 6 was recommended within 300 s",
        ):
            assert row in found, row

    @pytest.mark.parametrize("width", [80, 120])
    def test_it_fits(self, decisions, width):
        for name in ("elser", "refused", "trial", "new[bold]", "odd", ".hidden"):
            text = shown(decisions.get_deployment(name), width)
            assert max(map(len, text.splitlines())) <= width

    def test_a_refusal_with_the_clusters_words(self, decisions):
        assert (
            "Nothing changed: 6 was decided, but not done: "
            "refused for lack of capacity: could not update."
        ) in rows(shown(decisions.get_deployment("refused")))

    def test_a_dry_run(self, decisions):
        found = rows(shown(decisions.get_deployment("trial")))
        assert "rule all, 1..6 allocations, dry run" in found
        assert "Nothing changed: 6 was decided, but not done: dry run, nothing sent." in found

    def test_a_change(self, clock):
        decisions = DecisionRecorder(clock, "1")
        decisions.planned(*cycle(outcome(decision(), OutcomeKind.ACCEPTED)))
        text = shown(decisions.get_deployment("elser"))
        assert text.startswith("elser 3 → 6\n")
        assert "last update 3 → 6, 0 s ago: accepted" in rows(text)
        assert "Nothing changed" not in text

    def test_one_that_cannot_be_measured(self, decisions):
        found = rows(shown(decisions.get_deployment("new[bold]")))
        for row in ("load never measured", "failed 4, of which 3 timed out"):
            assert row in found
        assert "not trusted new node" in found

    def test_one_that_is_left_alone(self, decisions):
        told = rows(shown(decisions.get_deployment(".hidden")))[0]
        assert told.startswith(".hidden is left alone: its id begins with a dot")


class TestTheCommand:
    def test_all_of_them(self, url):
        result = invoke("--url", url)
        assert (result.exit_code, result.stderr) == (0, "")
        assert "stabilisation, wants 5" in result.stdout

    def test_one_of_them(self, url):
        result = invoke("elser", "--url", url)
        assert (result.exit_code, result.stderr) == (0, "")
        assert "Nothing changed: the policy wants 5" in result.stdout

    @pytest.mark.parametrize("arguments", [(), ("elser",)], ids=["all", "one"])
    def test_as_json(self, url, arguments):
        result = invoke(*arguments, "--json", "--url", url)
        assert result.exit_code == 0
        assert json.loads(result.stdout)["autoscaler"] == "1.2.3"

    def test_the_scheme_may_be_left_out(self, url):
        assert invoke("--url", url.removeprefix("http://") + "/").exit_code == 0

    def test_the_configuration_says_where(self, url, tmp_path):
        path = tmp_path / "config.toml"
        path.write_text(CONFIG.format(port=url.rpartition(":")[2]))
        assert invoke("elser", "--config", str(path)).exit_code == 0

    def test_a_configuration_with_an_error(self, tmp_path):
        path = tmp_path / "config.toml"
        path.write_text("frobnicate = 1")
        result = invoke("--config", str(path))
        assert result.exit_code == 78
        assert "frobnicate" in result.stderr

    def test_an_unknown_deployment(self, url):
        assert failed("elsner", "--url", url) == (
            "the cluster reports no deployment elsner; did you mean elser?"
        )

    def test_a_daemon_that_has_observed_nothing_yet(self, clock):
        with serving(DecisionRecorder(clock, "1"), clock) as url:
            for arguments in ((), ("elser",)):
                told = failed(*arguments, "--url", url)
                assert told == "the cluster has not been observed yet"

    def test_nobody_there(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        told = failed("--url", url)
        assert told.startswith(f"no daemon answers at {url}: ")
        assert "autoscaler run" in told
        assert "--url" in told

    @pytest.mark.parametrize("url", ["ftp://127.0.0.1", "http://", "http://x:99999", "http://[::1"])
    def test_what_is_no_address(self, url):
        assert failed("--url", url).startswith(f"{url.rstrip('/')} is no address of the form ")

    def test_somebody_who_does_not_answer(self, monkeypatch):
        monkeypatch.setattr("autoscaler.adapters.admin_http.client.TIMEOUT_S", 0.01)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            told = failed("--url", f"http://127.0.0.1:{listener.getsockname()[1]}")
        assert "did not answer within" in told
        assert "--url" in told

    def test_something_that_speaks_no_http(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=mumble, args=(listener,))
            thread.start()
            told = failed("--url", f"http://127.0.0.1:{listener.getsockname()[1]}")
            thread.join()
        assert "does not speak HTTP" in told
        assert "--url" in told

    @pytest.mark.parametrize("body", [b"<h1>Welcome</h1>", b'{"error": "no handler found"}', b"[]"])
    @pytest.mark.parametrize("status", [200, 404])
    @pytest.mark.parametrize("arguments", [(), ("elser",)], ids=["all", "one"])
    def test_somebody_else(self, status, body, arguments):
        with answering(status, body) as url:
            told = failed(*arguments, "--url", url)
        assert told.startswith(f"{url} is not an autoscaler that explains itself: ")
        assert f"answered {status}" in told
        assert "--url" in told

    def test_a_newer_daemon_that_says_more(self, decisions):
        answer = msgspec.to_builtins(decisions.list_deployments()) | {"mood": "sunny"}
        with answering(200, msgspec.json.encode(answer)) as url:
            assert invoke("--url", url).exit_code == 0


@pytest.mark.parametrize(
    ("host", "told"),
    [
        ("127.0.0.1", "http://127.0.0.1:9464"),
        ("0.0.0.0", "http://127.0.0.1:9464"),
        ("::", "http://[::1]:9464"),
        ("fe80::1", "http://[fe80::1]:9464"),
        ("scaler.example", "http://scaler.example:9464"),
    ],
)
def test_where_a_daemon_answers_on_its_own_machine(host, told):
    assert address_of(Server(host=host, port=9464)) == told


def test_without_a_configuration_it_is_asked_where_it_answers_by_default(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(CONFIG.replace('host = "0.0.0.0"\nport = {port}\n', ""))
    assert address_of(load(path, {}).server) == DEFAULT_URL


def test_nobody_knows_which_port_was_free():
    with pytest.raises(InputError, match="--url"):
        address_of(Server(host="127.0.0.1", port=0))


def mumble(listener):
    """Answer one request with something that is no HTTP."""
    connection, _ = listener.accept()
    with connection:
        connection.recv(4096)
        connection.sendall(b"good morning\r\n\r\n")


@contextmanager
def answering(status, body):
    """The address of a server that answers everything alike."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
