"""`explain`: a request to a running daemon, and its response as text."""

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

from autoscaler.adapters.admin_http import AdminServer, ClusterPages, DecisionRecorder, Health
from autoscaler.cli import main
from autoscaler.config import Server, load
from autoscaler.core.decision import OutcomeKind, Unmanaged
from autoscaler.core.instructions import Override, Pause, PausedChanges
from autoscaler.core.next_poll import NextPoll, PollCause
from autoscaler.core.rollout_comparison import BlockTotals
from autoscaler.core.rollout_status import RolloutStatus, RolloutVerdict
from autoscaler.core.slo_status import Expectation, SloStatus
from autoscaler.core.values import Candidate, DataIssue, Reason, Sample, Step
from autoscaler.errors import InputError
from autoscaler.explain import DEFAULT_URL, address_of, render
from autoscaler.ports import FailureKind, ObservationFailed
from autoscaler.wire.decision_views import DeploymentsResponse
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

INPUTS = {
    "offered_load": 3.2,
    "load_stddev": 0.25,
    "violation_weight": 20.0,
    "slo_target": 0.99,
    "max_queue_wait_s": 0.2,
    "slo_attainment": 0.9941,
    "backlog_requests": 40,
    "backlog_allocations": 4,
    "forecast_load": 3.61,
    "forecast_error": 0.1234,
    "room": math.inf,
    "reason": "[bold]",
}
CANDIDATES = (
    Candidate(allocations=3, violation_fraction=1.0, queue_wait_s=math.inf, cost=math.inf),
    Candidate(allocations=4, violation_fraction=0.029, queue_wait_s=0.21, cost=5.9),
    Candidate(allocations=5, violation_fraction=0.006, queue_wait_s=0.08, cost=5.4),
    Candidate(allocations=6, violation_fraction=0.001, queue_wait_s=0.03, cost=6.1),
)
HELD = decision(
    current=6,
    steps=(
        Step(Reason.SLO, 6, 5, INPUTS, CANDIDATES),
        Step(Reason.STABILISATION, 5, 6, {"highest": 6, "window_s": 300.0}),
    ),
)


@pytest.fixture(autouse=True)
def own_environment(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.upper().startswith("AUTOSCALER_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def clock():
    return FakeClock(start=1_000.0)


@pytest.fixture
def decisions(clock):
    """One deployment held, one refused, one in a dry run, two not managed."""
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
    """The address of the daemon's server, on a separate event loop."""
    server = AdminServer(
        CollectorRegistry(),
        ClusterPages(Health(clock, 10.0), decisions),
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
    """The error message, which is one line."""
    result = invoke(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    return line.removeprefix("autoscaler: ")


def shown(response, width=120):
    stream = io.StringIO()
    render(response, Console(file=stream, width=width, force_terminal=True, color_system=None))
    return stream.getvalue()


def rows(text):
    """Lines without alignment."""
    return [" ".join(line.split()) for line in text.splitlines()]


class TestAllDeployments:
    @pytest.mark.parametrize("width", [80, 120])
    def test_the_table_fits_the_terminal(self, decisions, width):
        text = shown(decisions.list_deployments(), width)
        assert max(map(len, text.splitlines())) <= width
        for name in (".hidden", "elser", "new[bold]", "odd", "refused", "trial"):
            assert name in text

    def test_the_reasons_are_short(self, decisions):
        found = rows(shown(decisions.list_deployments(), 140))
        for row in (
            "elser stabilisation, recommended 5 6 4.50 30 ms",
            "refused bounds, recommended 7, no capacity 3 → 6 4.50",
            "trial bounds, recommended 7, dry run 3 → 6 4.50",
            "new[bold] data quality, new node 3 ?",
        ):
            assert row in found

    def test_the_heading_names_the_quantile_that_all_rows_share(self, decisions, clock):
        assert "expected p99 wait" in shown(decisions.list_deployments(), 140)
        strict = Step(Reason.SLO, 6, 5, INPUTS | {"slo_target": 0.999}, CANDIDATES)
        decisions.planned(
            *cycle(
                outcome(HELD, OutcomeKind.UNCHANGED),
                outcome(decision("strict", steps=(strict,)), OutcomeKind.ACCEPTED),
            )
        )
        text = shown(decisions.list_deployments(), 140)
        assert "expected wait" in text
        assert "30 ms (p99)" in text
        assert "80 ms (p99.9)" in text

    def test_a_deployment_that_is_not_managed_has_the_reason(self, decisions):
        text = shown(decisions.list_deployments(), 160)
        assert "not managed: its id begins with a dot" in text

    def test_the_age_of_the_observation(self, decisions):
        assert "Observed 4 s ago by autoscaler 1.2.3." in shown(decisions.list_deployments())

    @pytest.mark.parametrize(
        ("age_s", "age"), [(119.0, "119 s"), (180.0, "3 min"), (7200.0, "2 h")]
    )
    def test_the_age_has_few_digits(self, age_s, age):
        response = DeploymentsResponse(
            autoscaler="1", at=0.0, age_s=age_s, failure="", deployments=()
        )
        text = shown(response)
        assert f"Observed {age} ago" in text
        assert "The cluster reports no deployment." in text

    def test_a_failure_since_then(self, decisions, clock):
        decisions.skipped(ObservationFailed(FailureKind.TIMEOUT, "no response"), clock.now())
        first, *_ = shown(decisions.list_deployments()).splitlines()
        assert first == "Not observed since 00:21:52 UTC: no response"

    def test_a_configuration_that_was_not_reloaded(self, decisions):
        decisions.reload_failure = "max_allocations: must be at least 1"
        first, *_ = shown(decisions.list_deployments()).splitlines()
        assert first.endswith("in effect: max_allocations: must be at least 1")


class TestOneDeployment:
    def test_a_stopped_deployment_has_no_load(self, clock):
        found = DecisionRecorder(clock, "1.2.3")
        step = Step(Reason.STOPPED, 0, 0, {"since_s": 3600.0})
        silent = Sample(at=1_000.0, interval_s=0.0)
        stopped = decision(current=0, steps=(step,), sample=silent, load=None, change=None)
        found.planned(*cycle(outcome(stopped, OutcomeKind.UNCHANGED)))
        text = shown(found.get_deployment("elser"))
        assert "elser stays stopped" in text
        assert "stopped 60 min ago" in text
        assert "arrivals" not in text

    def test_everything_about_it(self, decisions):
        found = rows(shown(decisions.get_deployment("elser")))
        for row in (
            "elser stays at 6",
            (
                "Nothing changed: the policy recommends 5, "
                "but 6 was recommended within the last 5 min."
            ),
            "rule all, 1..6 allocations",
            "last update 3 → 6, 5.3 min ago: accepted",
            "arrival rate 60 per second over 60 s",
            "service time 100 ms",
            "offered load 3.20 ± 0.25 erlangs",
            "cache hits 25%",
            "latest interval 200 arrivals in 10 s",
            "in-flight requests 0",
            "SLO target 99%",
            "max queue wait 200 ms",
            "SLO attainment (24 h) 99.4%",
            "SLO-violation weight 20 allocations per erlang",
            "backlog 40 requests",
            "needed for the backlog 4 allocations",
            "forecast 3.61 erlangs",
            "forecast error 0.1234",
            "room unlimited",
            "reason [bold]",
            "allocations expected p99 wait late cost",
            "3 ∞ 100% ∞",
            "4 210 ms 2.9% 5.90",
            "5 80 ms 0.6% 5.40 recommended",
            "6 30 ms 0.1% 6.10 current, desired",
            "stabilisation 5 6 as above",
        ):
            assert row in found, row

    def test_what_is_known_of_the_slo(self, clock):
        slo = SloStatus(
            target=0.99,
            attainment=0.9925,
            now=Expectation(allocations=2, late_fraction=0.4, queue_wait_s=math.inf),
            after_loading=Expectation(allocations=6, late_fraction=0.002, queue_wait_s=0.08),
        )
        found = DecisionRecorder(clock, "1")
        held = (Step(Reason.DATA_QUALITY, 3, 3, {"issues": "new_node"}),)
        found.planned(*cycle(outcome(steady(steps=held, slo=slo), OutcomeKind.UNCHANGED)))
        text = rows(shown(found.get_deployment("elser")))
        for row in (
            "SLO attainment (24 h) 99.2%",
            "error budget left (24 h) 25%",
            "expected now 40% late with 2 allocations, p99 ∞",
            "once all run 0.2% late with 6 allocations, p99 80 ms",
        ):
            assert row in text, row

    @pytest.mark.parametrize("width", [80, 120])
    def test_it_fits_the_terminal(self, decisions, width):
        for name in ("elser", "refused", "trial", "new[bold]", "odd", ".hidden"):
            text = shown(decisions.get_deployment(name), width)
            assert max(map(len, text.splitlines())) <= width

    def test_a_refusal_with_the_message_of_the_cluster(self, decisions):
        assert (
            "Nothing changed: the update to 6 was not applied: "
            "refused for lack of capacity: could not update."
        ) in rows(shown(decisions.get_deployment("refused")))

    def test_a_dry_run(self, decisions):
        found = rows(shown(decisions.get_deployment("trial")))
        assert "rule all, 1..6 allocations, dry run" in found
        assert "Nothing changed: the update to 6 was not applied: dry run, not sent." in found

    def test_all_deployments_have_a_mark_where_an_instruction_is_in_force(self, clock):
        given = {"since": 0.0, "until": 2_000.0, "by": "alice", "reason": "launch"}
        found = DecisionRecorder(clock, "1")
        instructed = steady(
            pauses=(Pause(changes=PausedChanges.INCREASES, **given),),
            override=Override(allocations=3, **given),
        )
        found.planned(*cycle(outcome(instructed, OutcomeKind.UNCHANGED)))
        assert "target tracking, paused, overridden" in shown(found.list_deployments())

    def test_a_gradual_rollout_with_what_it_has_shown_and_what_would_revert_it(self, clock):
        totals = BlockTotals(requests=1000.0, late=4.0, seconds=7200.0, allocation_s=21600.0)
        rollout = RolloutStatus(
            verdict=RolloutVerdict.RUNNING,
            active=True,
            listed=True,
            before="8 allocations",
            since=0.0,
            reverted_at=None,
            because="",
            active_totals=totals,
            before_totals=BlockTotals(),
            difference=None,
            next_active_at=clock.now() + 7200.0,
            evidence=0.25,
        )
        found = DecisionRecorder(clock, "1")
        found.planned(*cycle(outcome(steady("elser", rollout=rollout), OutcomeKind.UNCHANGED)))
        lines = rows(shown(found.get_deployment("elser"), width=200))
        assert (
            "rollout the rule acts in this hour; before it: 8 allocations; it acts again in 2 h"
        ) in lines
        assert (
            "compared active 2.0 h: 99.6% of 1000 requests met the SLO, 3.0 allocations"
        ) in lines
        (reverted,) = [line for line in lines if line.startswith("reverted when most requests")]
        assert "25% of that evidence now" in reverted

    def test_a_change(self, clock):
        decisions = DecisionRecorder(clock, "1")
        decisions.planned(*cycle(outcome(decision(), OutcomeKind.ACCEPTED)))
        text = shown(decisions.get_deployment("elser"))
        assert text.startswith("elser 3 → 6\n")
        assert "last update this change, 0 s ago: accepted" in rows(text)
        assert "Nothing changed" not in text

    def test_a_deployment_that_cannot_be_measured(self, decisions):
        found = rows(shown(decisions.get_deployment("new[bold]")))
        for row in ("load not measured yet", "failed requests 4, of which 3 timed out"):
            assert row in found
        assert "data-quality issues new node" in found

    def test_a_deployment_that_is_not_managed(self, decisions):
        first = rows(shown(decisions.get_deployment(".hidden")))[0]
        assert first.startswith(".hidden is not managed: its id begins with a dot")


class TestTheCommand:
    def test_all_deployments(self, url):
        result = invoke("--url", url)
        assert (result.exit_code, result.stderr) == (0, "")
        assert "recommended 5" in result.stdout

    def test_one_deployment(self, url):
        result = invoke("elser", "--url", url)
        assert (result.exit_code, result.stderr) == (0, "")
        assert "Nothing changed: the policy recommends 5" in result.stdout

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

    @pytest.mark.parametrize("damage", ["\nfrobnicate = 1\n", "\nmax_allocations = 0\n"])
    def test_a_running_daemon_responds_despite_any_error_in_the_file(self, url, tmp_path, damage):
        path = tmp_path / "config.toml"
        config = CONFIG.format(port=url.rpartition(":")[2])
        path.write_text(config.replace("max_allocations = 8\n", damage))
        result = invoke("elser", "--config", str(path))
        assert result.exit_code == 0
        assert "Nothing changed: the policy recommends 5" in result.stdout
        assert "which `autoscaler check` lists" in result.stderr
        assert f"the daemon at {url} runs with an earlier one" in result.stderr

    def test_an_unknown_deployment(self, url):
        assert failed("elsner", "--url", url) == (
            "elsner: not found in the cluster; did you mean elser?"
        )

    def test_a_daemon_that_has_observed_nothing_yet(self, clock):
        with serving(DecisionRecorder(clock, "1"), clock) as url:
            for arguments in ((), ("elser",)):
                text = failed(*arguments, "--url", url)
                assert text == "the cluster has not been observed yet"

    def test_no_daemon(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        text = failed("--url", url)
        assert text.startswith(f"cannot connect to the daemon at {url}: ")
        assert "autoscaler run" in text
        assert "--url" in text

    @pytest.mark.parametrize(
        "url",
        [
            *("ftp://127.0.0.1", "http://", "http://x:99999", "http://[::1"),
            *("http://a..b", f"http://{'a' * 64}.example"),
        ],
    )
    def test_an_invalid_address(self, url):
        assert failed("--url", url).startswith(f"{url.rstrip('/')}: invalid address, expected ")

    def test_a_server_that_does_not_respond(self, monkeypatch):
        monkeypatch.setattr("autoscaler.adapters.admin_http.client.TIMEOUT_S", 0.01)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            text = failed("--url", f"http://127.0.0.1:{listener.getsockname()[1]}")
        assert "no response from" in text
        assert "within 10 ms" in text
        assert "--url" in text

    def test_a_server_that_does_not_speak_http(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=mumble, args=(listener,))
            thread.start()
            text = failed("--url", f"http://127.0.0.1:{listener.getsockname()[1]}")
            thread.join()
        assert "not HTTP" in text
        assert "--url" in text

    @pytest.mark.parametrize(
        "body",
        [b"<h1>Welcome</h1>", b'{"error": "no handler found"}', b"[]", b'"\xff"', b"[" * 9_999],
    )
    @pytest.mark.parametrize("status", [200, 404])
    @pytest.mark.parametrize("arguments", [(), ("elser",)], ids=["all", "one"])
    def test_the_server_of_another_program(self, status, body, arguments):
        with responding_with(status, body) as url:
            text = failed(*arguments, "--url", url)
        assert text.startswith(f"unexpected response from {url}: {status} to GET /decisions")
        assert text.endswith("; set --url to the address in [server]")

    def test_a_newer_daemon_with_more_fields(self, decisions):
        document = msgspec.to_builtins(decisions.list_deployments()) | {"mood": "sunny"}
        with responding_with(200, msgspec.json.encode(document)) as url:
            assert invoke("--url", url).exit_code == 0


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:9464"),
        ("0.0.0.0", "http://127.0.0.1:9464"),
        ("::", "http://[::1]:9464"),
        ("fe80::1", "http://[fe80::1]:9464"),
        ("scaler.example", "http://scaler.example:9464"),
    ],
)
def test_the_address_of_a_daemon_on_its_own_machine(host, url):
    assert address_of(Server(host=host, port=9464)).url == url


def test_the_default_address(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(CONFIG.replace('host = "0.0.0.0"\nport = {port}\n', ""))
    assert address_of(load(path, {}).server).url == DEFAULT_URL


def test_the_port_is_unknown_if_the_daemon_takes_any_free_one():
    with pytest.raises(InputError, match="--url"):
        address_of(Server(host="127.0.0.1", port=0))


def mumble(listener):
    """Respond to one request with text that is not HTTP."""
    connection, _ = listener.accept()
    with connection:
        connection.recv(4096)
        connection.sendall(b"good morning\r\n\r\n")


@contextmanager
def responding_with(status, body):
    """The address of a server with the same response to every request."""

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


@pytest.mark.parametrize(
    ("due", "age_s", "line"),
    [
        (NextPoll(within_s=10.0), 1.0, None),
        (
            NextPoll(within_s=2.0, cause=PollCause.QUEUE, deployment_id="elser"),
            0.5,
            "Next poll in 1.5 s: a queue stands (deployment elser).",
        ),
        (
            NextPoll(within_s=2.0, cause=PollCause.DECREASE, deployment_id="elser"),
            3.0,
            "Next poll due: allocations have just been given up (deployment elser).",
        ),
    ],
)
def test_why_the_next_poll_is_early(due, age_s, line):
    clock = FakeClock(start=1_000.0)
    recorder = DecisionRecorder(clock, "1.2.3")
    recorder.planned(*cycle(outcome(steady("elser"), OutcomeKind.UNCHANGED), next_poll=due))
    clock.pass_by(age_s)
    found = [row for row in rows(shown(recorder.list_deployments())) if row.startswith("Next")]
    assert found == ([] if line is None else [line])
    recorder.skipped(ObservationFailed(FailureKind.TIMEOUT, "no response"), at=1_001.0)
    assert "Next poll" not in shown(recorder.list_deployments()), "it is not known any more"
