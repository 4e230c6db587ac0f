"""The command line: output and exit codes."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from autoscaler import __version__
from autoscaler.cli import main
from autoscaler.cli.shared import output

ROOT = Path(__file__).parents[1]

# Seconds within which a daemon ends after a signal, even if the cluster does not respond.
STOPS_WITHIN_S = 5.0

VALID = """
[elasticsearch]
hosts = ["http://127.0.0.1:9"]
[server]
port = 0
[[rules]]
name = "all"
max_allocations = 8
"""


@pytest.fixture(autouse=True)
def own_environment(monkeypatch, tmp_path, logging_restored):
    """No variables from outside."""
    for name in list(os.environ):
        if name.upper().startswith("AUTOSCALER_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def invoke(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def written(tmp_path, text, name="config.toml"):
    path = tmp_path / name
    path.write_text(text)
    return path


def command(*arguments):
    return [sys.executable, "-m", "autoscaler", *(str(argument) for argument in arguments)]


def environment(**variables):
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONASYNCIODEBUG": "", **variables}


class Process:
    """A command in another process, which is killed at the end of the block."""

    def __init__(self, *arguments):
        self._process = subprocess.Popen(
            command(*arguments),
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.communicate()

    def line(self):
        """The next line of standard output; waits for it."""
        return self._process.stdout.readline()

    def error_line(self):
        return self._process.stderr.readline()

    def errors_after_closing_its_output(self):
        self._process.stdout.close()
        self._process.wait(timeout=60)
        return self._process.stderr.read()

    def ended_by(self, signum):
        """Exit code, output, errors and seconds it took after the signal."""
        begin = time.monotonic()
        self._process.send_signal(signum)
        output, errors = self._process.communicate(timeout=30)
        return self._process.returncode, output, errors, time.monotonic() - begin


def deaf_server():
    """A port that accepts connections and never responds."""
    listener = socket.create_server(("127.0.0.1", 0))
    return listener, listener.getsockname()[1]


class TestWithoutACluster:
    @pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["--version"], ["run", "--help"]])
    def test_help_and_version_import_nothing_heavy(self, arguments):
        script = (
            "import sys\n"
            "from autoscaler.cli import main\n"
            f"main({arguments!r}, standalone_mode=False)\n"
            "heavy = {'aiohttp', 'numpy', 'pydantic', 'rich', 'structlog', 'msgspec', 'asyncio'}\n"
            "print('imported:', sorted(heavy & set(sys.modules)))\n"
        )
        ran = subprocess.run(
            [sys.executable, "-c", script],
            env=environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        assert ran.stdout.endswith("imported: []\n")

    def test_version(self):
        assert __version__ in invoke("--version").output

    def test_help_describes_every_command_in_one_line_of_a_narrow_terminal(self):
        shown = invoke("--help").output
        visible = [name for name, command in main.commands.items() if not command.hidden]
        for name in visible:
            assert re.search(rf"^  {name} +\S.*[^.]\.$", shown, re.MULTILINE), shown
        assert not re.search(r"\w\.\.\.$", shown, re.MULTILINE), "cut off"

    @pytest.mark.parametrize(
        "arguments",
        [
            ["frobnicate"],
            ["run", "--frobnicate"],
            ["emulate", "--port", "99999"],
            ["emulate", "--port", "-1"],
            ["emulate", "--speed", "0"],
            ["emulate", "--speed", "nan"],
            ["emulate", "--speed", "1e300"],
            ["demo", "--speed", "-1"],
            ["demo", "--speed", "nan"],
            ["demo", "--speed", "1e9"],
            ["demo", "--duration", "0"],
            ["demo", "--duration", "-3"],
            ["demo", "--duration", "nan"],
            ["demo", "--duration", "inf"],
            ["start"],
            ["start", "e5", "--allocations", "0"],
            ["start", "e5", "--min", "1"],
            ["start", "e5", "--max", "1"],
            ["start", "e5", "--min", "2", "--max", "1"],
            ["start", "e5", "--min", "1", "--max", "2", "--allocations", "1"],
            ["start", "e5", "--wait-for", "ever"],
            ["start", "e5", "--timeout", "5"],
            ["start", "e5", "--timeout", "0s"],
            ["stop"],
            ["resume"],
            ["wake"],
            ["release", "--to", "floors"],
            ["release", "--to", "keep"],
        ],
        ids=" ".join,
    )
    def test_wrong_usage(self, arguments):
        result = invoke(*arguments)
        assert result.exit_code == 2
        assert "Error: " in result.stderr

    @pytest.mark.parametrize(
        "arguments",
        [["run"], ["check"], ["start", "e5"], ["stop", "e5"], ["release"]],
        ids=" ".join,
    )
    def test_no_configuration_at_all(self, arguments):
        result = invoke(*arguments)
        assert result.exit_code == 78
        assert len(result.stderr.splitlines()) == 1
        assert "--config" in result.stderr

    @pytest.mark.parametrize("given", ["", "  "])
    def test_an_empty_path_is_not_the_working_directory(self, given):
        result = invoke("check", "--config", given)
        assert result.exit_code == 2
        assert "it is empty; name a file" in result.stderr

    @pytest.mark.parametrize("name", ["run", "check"])
    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            ("[elasticsearch\n", r"config\.toml:1:\d+: "),
            (VALID + "growth = 2", r"rule 'all': growth: no such key"),
            (VALID.replace("8", "0"), r"rule 'all': max_allocations: must be at least 1"),
            (
                VALID.replace("http:", "https:").replace("[server]", 'ca_certs = "x"\n[server]'),
                r"ca_certs: \S+ cannot be read",
            ),
        ],
    )
    def test_a_configuration_with_an_error(self, name, text, complaint, tmp_path):
        result = invoke(name, "--config", written(tmp_path, text))
        assert result.exit_code == 78
        assert re.search(f"^autoscaler: .*{complaint}", result.stderr), result.stderr
        assert result.stdout == ""

    @pytest.mark.parametrize(
        "arguments",
        [
            ["run"],
            ["check"],
            ["explain"],
            ["start", "e5"],
            ["stop", "e5"],
            ["resume", "e5"],
            ["release"],
            ["backtest", "bursts", "--rule", "all"],
        ],
        ids=" ".join,
    )
    def test_former_names_are_reported_before_the_errors_that_they_cause(self, arguments, tmp_path):
        text = VALID + 'mode = "observe"\non_exit = "native"\nsafe_allocations = 2\n'
        result = invoke(*arguments, "--config", written(tmp_path, text))
        assert result.exit_code == 78
        lines = [line.replace(f"{tmp_path}/", "") for line in result.stderr.splitlines()]
        assert lines == [
            (
                "autoscaler: warning: config.toml:9: rule 'all': mode: \"observe\" is deprecated; "
                "use dry_run = true"
            ),
            (
                "autoscaler: warning: config.toml:10: rule 'all': on_exit: "
                '"native" is deprecated; use "adaptive"'
            ),
            (
                "autoscaler: config.toml:11: rule 'all': safe_allocations: has no effect with "
                'on_exit = "adaptive"; set "floor"'
            ),
        ]

    @pytest.mark.parametrize("arguments", [["check"], ["explain"], ["stop", "e5"], ["release"]])
    def test_former_names_are_reported_by_every_command(self, arguments, tmp_path):
        text = VALID + 'mode = "observe"\n'
        lines = invoke(*arguments, "--config", written(tmp_path, text)).stderr.splitlines()
        assert [line for line in lines if "deprecated" in line] == lines[:1]

    def test_each_problem_is_a_line(self, tmp_path):
        path = written(tmp_path, 'poll_interval = "10"\n[server]\nport = -1\n')
        result = invoke("check", "--config", path)
        assert len(result.stderr.splitlines()) >= 2
        assert all(line.startswith("autoscaler: ") for line in result.stderr.splitlines())

    @pytest.mark.parametrize("name", ["run", "check"])
    def test_a_missing_file(self, name):
        result = invoke(name, "--config", "missing.toml")
        assert result.exit_code == 78
        assert "missing.toml: no such file" in result.stderr

    def test_the_file_can_be_set_by_a_variable(self, monkeypatch):
        monkeypatch.setenv("AUTOSCALER_CONFIG", "named.toml")
        assert "named.toml: no such file" in invoke("check").stderr

    @pytest.mark.parametrize("name", ["run", "check"])
    def test_an_empty_variable_names_no_file(self, name, monkeypatch):
        monkeypatch.setenv("AUTOSCALER_CONFIG", "")
        assert "no configuration; name a file" in invoke(name).stderr

    @pytest.mark.parametrize(
        ("arguments", "complaint"),
        [
            (["emulate", "--scenario", "missing.toml"], "missing.toml: cannot be read"),
            (["emulate", "--scenario", "bad.toml"], "bad.toml: "),
            (["emulate", "--version", "six"], "version: "),
            (["emulate", "--user", "elastic"], "user: "),
            (["demo", "--trace", "missing.csv"], "missing.csv: cannot be read"),
            (["demo", "--trace", "bad.toml"], "bad.toml, line 1: "),
            (["demo", "--trace", "idle.csv"], "idle.csv: "),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else None,
    )
    def test_a_scenario_or_trace_with_an_error(self, arguments, complaint, tmp_path):
        written(tmp_path, "frobnicate = 1\n", "bad.toml")
        written(tmp_path, "t_seconds,requests\n0,0\n60,0\n", "idle.csv")
        result = invoke(*arguments)
        assert result.exit_code == 78
        assert result.stderr.startswith(f"autoscaler: {complaint}")
        assert len(result.stderr.splitlines()) == 1

    def test_an_internal_error_is_a_sentence_with_its_place(self, monkeypatch, tmp_path):
        monkeypatch.setattr("autoscaler.config.load", lambda *_: 1 / 0)
        result = invoke("check", "--config", written(tmp_path, VALID))
        assert result.exit_code == 70
        assert len(result.stderr.splitlines()) == 1
        assert (
            "internal error, please report it: ZeroDivisionError('division by zero') (shared.py:"
            in result.stderr
        )

    def test_a_closed_pipe_is_not_reported(self, monkeypatch, tmp_path):
        def close(*_):
            raise BrokenPipeError(32, "Broken pipe")

        monkeypatch.setattr("autoscaler.config.load", close)
        result = invoke("check", "--config", written(tmp_path, VALID))
        assert (result.exit_code, result.stderr) == (1, "")

    def test_a_check_that_fails_is_json_too(self, tmp_path):
        result = invoke("check", "--json", "--config", written(tmp_path, VALID))
        assert result.exit_code == 1
        (problem,) = json.loads(result.stdout)["problems"]
        assert result.stderr == f"autoscaler: {problem}\n"


class TestOutput:
    """Elsewhere than on a terminal, nothing is wrapped or filled with spaces."""

    def test_a_table_in_a_file_is_not_wrapped(self, capsys):
        from rich.table import Table

        table = Table("id", "status")
        table.add_row("a", "word " * 100)
        output().print(table)
        (row,) = [line for line in capsys.readouterr().out.splitlines() if "word" in line]
        assert row.count("word") == 100

    def test_lines_do_not_end_in_spaces(self, capsys):
        from rich import box
        from rich.table import Table

        table = Table("id", "status", box=box.SIMPLE_HEAD)
        table.add_row("a", "b")
        table.add_row("a", "a long status")
        output().print(table)
        lines = capsys.readouterr().out.splitlines()
        assert lines == [line.rstrip() for line in lines]

    @pytest.mark.parametrize("arguments", [["--help"], ["backtest", "--help"], ["check"]])
    def test_a_reader_that_ends_early_is_no_error(self, arguments, tmp_path):
        """As in `autoscaler check | head -1`."""
        if arguments == ["check"]:
            arguments = ["check", "--config", written(tmp_path, VALID)]
        with Process(*arguments) as process:
            errors = process.errors_after_closing_its_output()
        assert "Traceback" not in errors
        assert "BrokenPipe" not in errors


class AnotherServer(BaseHTTPRequestHandler):
    """A web server without any page."""

    def do_GET(self):
        self.send_error(404)

    def log_message(self, *_):
        pass


class TestAnUnexpectedCluster:
    def check(self, tmp_path, port):
        path = written(tmp_path, VALID.replace(":9", f":{port}"))
        result = invoke("check", "--config", path)
        folder = tmp_path / "autoscaler" / f"127.0.0.1-{port}"
        places = (
            f"state       {folder}/autoscaler.sqlite, not written yet\n"
            f"recording   {folder}/recording.db, not written yet\n"
        )
        assert (result.exit_code, result.stdout) == (1, places)
        (line,) = result.stderr.splitlines()
        return line

    def test_no_server(self, tmp_path):
        listener, port = deaf_server()
        listener.close()
        line = self.check(tmp_path, port)
        assert line.startswith(f"autoscaler: http://127.0.0.1:{port} cannot be reached")

    def test_another_server(self, tmp_path):
        with HTTPServer(("127.0.0.1", 0), AnotherServer) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                line = self.check(tmp_path, server.server_port)
            finally:
                server.shutdown()
                thread.join()
        assert "Elasticsearch" in line
        assert "check the address" in line

    def test_the_daemon_continues_until_a_signal(self, tmp_path, capfd):
        listener, port = deaf_server()
        path = written(tmp_path, VALID.replace(":9", f":{port}"))

        def stop_after_a_connection():
            listener.accept()[0].close()
            listener.close()
            os.kill(os.getpid(), signal.SIGTERM)

        thread = threading.Thread(target=stop_after_a_connection)
        thread.start()
        result = invoke("run", "--config", path)
        thread.join()
        assert result.exit_code == 0
        assert "daemon.stopped" in capfd.readouterr().err
        assert "Traceback" not in result.stderr


def test_a_demo_ends_by_itself():
    result = invoke("demo", "--duration", 1, "--speed", 100)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "Compared with" in result.stdout


class TestPortsInUse:
    def test_the_emulator(self):
        listener, port = deaf_server()
        with listener:
            result = invoke("emulate", "--port", port)
        assert result.exit_code == 1
        assert re.fullmatch(rf"autoscaler: cannot listen on \S+:{port}: .*\n", result.stderr)

    def test_the_metrics(self, tmp_path):
        listener, port = deaf_server()
        path = written(tmp_path, VALID.replace("port = 0", f"port = {port}"))
        with listener, Process("run", "--config", path) as daemon:
            code, _, errors, _ = daemon.ended_by(0)
        assert code == 1
        assert re.fullmatch(rf"autoscaler: cannot listen on .*:{port}: .*server\.port.*\n", errors)


class TestDeployments:
    @pytest.fixture
    def configured(self, tmp_path):
        """A command for an idle cluster, of which a minute passes in each second."""
        with Process("emulate", "--port", "0", "--speed", "60", "--no-load") as emulator:
            url = re.search(r"http://\S+", emulator.line())[0]
            text = VALID.replace("http://127.0.0.1:9", url).replace("port = 0", "port = 1")
            path = written(tmp_path, f"state_dir = 'state'\n{text}")
            yield lambda *arguments: invoke(*arguments, "--config", path)

    def test_from_the_start_to_the_stop(self, configured):
        started = configured("start", "e5-small", "--deployment-id", "mine", "--timeout", "60s")
        assert (started.exit_code, started.stderr) == (0, "")
        last = started.stdout.splitlines()[-1]
        assert re.fullmatch(r"mine is .*: 1 of 1 allocations run, after [\d.]+ m?s", last)

        would = configured("release", "mine", "--to", "floor", "--dry-run")
        assert (would.exit_code, would.stdout) == (0, "mine would be given 8 allocations\n")
        unknown = configured("release", "theirs")
        assert unknown.exit_code == 1
        assert unknown.stdout == "theirs: not found in the cluster or in the saved state\n"
        assert unknown.stderr == (
            "autoscaler: 1 deployment was not released; the lines above state the reasons\n"
        )

        stopped = configured("stop", "mine")
        assert (stopped.exit_code, stopped.stdout) == (0, "mine is stopped\n")
        gone = configured("stop", "mine")
        assert (gone.exit_code, gone.stdout) == (1, "")
        assert gone.stderr.startswith("autoscaler: deployment mine not found; ")

    def test_a_start_that_is_refused(self, configured):
        refused = configured("start", "no-such-model")
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert refused.stderr.startswith("autoscaler: no-such-model was not started: ")

    def test_resume_needs_a_daemon(self, configured):
        result = configured("resume", "mine")
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith("autoscaler: ")
        assert "http://127.0.0.1:1" in result.stderr

    def test_former_names_work_with_a_warning(self, configured):
        configured("start", "e5-small", "--deployment-id", "mine")
        former, present = configured("wake", "mine"), configured("resume", "mine")
        warning = "autoscaler: warning: `autoscaler wake` is deprecated; use `autoscaler resume`\n"
        assert former.stderr == warning + present.stderr
        assert (former.exit_code, former.stdout) == (present.exit_code, present.stdout)

        former, present = (
            configured("release", "mine", "--to", to, "--dry-run") for to in ("native", "adaptive")
        )
        warning = "autoscaler: warning: --to native is deprecated; use --to adaptive\n"
        assert (former.exit_code, former.stderr, present.stderr) == (0, warning, "")
        assert former.stdout == present.stdout


class TestEndToEnd:
    def test_a_daemon_and_an_emulator_until_sigterm(self, tmp_path):
        with Process("emulate", "--port", "0") as emulator:
            url = re.search(r"http://\S+", emulator.line())[0]
            path = written(tmp_path, VALID.replace("http://127.0.0.1:9", url))
            checked = subprocess.run(
                command("check", "--config", path),
                env=environment(),
                capture_output=True,
                text=True,
                check=False,
            )
            assert (checked.returncode, checked.stderr) == (0, "")
            assert "elser-search" in checked.stdout
            with Process("run", "--config", path) as daemon:
                seen = daemon.error_line()
                while "decision.made" not in seen:
                    assert seen, "the daemon has ended"
                    seen = daemon.error_line()
                code, _, errors, took_s = daemon.ended_by(signal.SIGTERM)
            assert (code, "daemon.stopped" in errors, "Traceback" in errors) == (0, True, False)
            assert took_s < STOPS_WITHIN_S
            code, _, errors, _ = emulator.ended_by(signal.SIGINT)
            assert (code, errors) == (0, "")

    def test_ctrl_c_ends_a_check_of_a_cluster_that_does_not_respond(self, tmp_path):
        listener, port = deaf_server()
        path = written(tmp_path, VALID.replace(":9", f":{port}"))
        with listener, Process("check", "--config", path) as check:
            connection, _ = listener.accept()  # now it waits for a response
            with connection:
                code, output, errors, took_s = check.ended_by(signal.SIGINT)
        assert (code, output, errors) == (130, "", "autoscaler: interrupted\n")
        assert took_s < STOPS_WITHIN_S

    def test_ctrl_c_ends_a_demo_with_its_summary(self):
        with Process("demo", "--keep-running", "--speed", "200") as demo:
            while "Metrics: " not in demo.line():
                pass
            code, output, errors, _ = demo.ended_by(signal.SIGINT)
        assert (code, errors) == (0, "")
        assert "fixed at the peak" in output


@pytest.mark.parametrize("command", [["stop", "e5"], ["release"]], ids=["stop", "release"])
@pytest.mark.parametrize(
    ("body", "warns"),
    [
        ('{"autoscaler":"0.1.0","at":1.0,"age_s":1.0,"failure":"","deployments":[]}', True),
        ('{"autoscaler":"0.1.0","error":"the cluster has not been observed yet"}', True),
        ("<html>Welcome</html>", False),
        ("{}", False),
    ],
    ids=["daemon", "new daemon", "another program", "another API"],
)
def test_stop_and_release_warn_of_a_daemon_that_runs(tmp_path, command, body, warns):
    class Responder(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Responder) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        port = server.server_address[1]
        path = written(tmp_path, VALID.replace("port = 0", f"port = {port}"))
        result = invoke(*command, "--config", path)  # there is no cluster
        server.shutdown()
        thread.join()
    warning = f"autoscaler: warning: a daemon responds at http://127.0.0.1:{port}; "
    assert (warning in result.stderr) is warns
