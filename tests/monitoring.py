"""Prometheus and Alertmanager as they are, as processes, and what they report."""

import json
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

ROOT = Path(__file__).parents[1]
LOOPBACK = "127.0.0.1"


class Monitoring:
    """Scrapes targets every second, evaluates the rules of deploy/, and receives the alerts.

    A context manager: the processes run inside the block.

    Args:
        targets: the port of each, by the name of its job.
        rules: further alerts, as Prometheus' configuration has them.
    """

    def __init__(
        self, directory: Path, targets: dict[str, int], rules: tuple[dict[str, str], ...] = ()
    ) -> None:
        self._directory = directory
        self._targets = targets
        self._rules = rules
        self._received: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._stack = ExitStack()
        self._port, self._alertmanager_port = free_port(), free_port()

    def __enter__(self) -> "Monitoring":
        with ExitStack() as stack:
            webhook = stack.enter_context(_webhook(self._received))
            self._write("alertmanager.yml", self._alertmanager(webhook))
            self._write("further.yml", {"groups": [{"name": "test", "rules": list(self._rules)}]})
            self._write("prometheus.yml", self._prometheus())
            stack.enter_context(
                _running(
                    "prometheus-alertmanager",
                    f"--config.file={self._directory / 'alertmanager.yml'}",
                    f"--storage.path={self._directory / 'alertmanager'}",
                    f"--web.listen-address={LOOPBACK}:{self._alertmanager_port}",
                    "--cluster.listen-address=",
                )
            )
            stack.enter_context(
                _running(
                    "prometheus",
                    f"--config.file={self._directory / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self._directory / 'prometheus'}",
                    f"--web.listen-address={LOOPBACK}:{self._port}",
                )
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def alert(self, name: str) -> dict[str, Any]:
        """The next notification about this alert, once it arrives."""
        while True:
            received = self._received.get()
            if received["labels"]["alertname"] == name:
                return received

    def query(self, expr: str) -> list[dict[str, Any]]:
        """The result of an instant query."""
        answer = self._get("query", query=expr)
        assert answer["status"] == "success", answer
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def _get(self, path: str, **parameters: str) -> dict[str, Any]:
        address = f"http://{LOOPBACK}:{self._port}/api/v1/{path}?{urlencode(parameters)}"
        with urlopen(address) as response:
            answer: dict[str, Any] = json.load(response)
        return answer

    def _write(self, name: str, content: object) -> None:
        # JSON is YAML, too.
        (self._directory / name).write_text(json.dumps(content))

    def _prometheus(self) -> dict[str, Any]:
        manager = f"{LOOPBACK}:{self._alertmanager_port}"
        return {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [
                str(ROOT / "deploy/prometheus/rules.yml"),
                str(ROOT / "deploy/slo/rules.yml"),
                str(self._directory / "further.yml"),
            ],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [manager]}]}]},
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": [f"{LOOPBACK}:{port}"]}]}
                for job, port in self._targets.items()
            ],
        }

    @staticmethod
    def _alertmanager(webhook: str) -> dict[str, Any]:
        return {
            "route": {"receiver": "test", "group_by": ["..."], "group_wait": "0s"},
            "receivers": [{"name": "test", "webhook_configs": [{"url": webhook}]}],
        }


@contextmanager
def autoscaler(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A command of the program, which is killed at the end of the block."""
    with _running(sys.executable, "-m", "autoscaler", *arguments, stdout=subprocess.PIPE) as found:
        yield found


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def _running(*command: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **options}
    with subprocess.Popen(command, cwd=ROOT, text=True, **options) as started:
        try:
            yield started
        finally:
            started.kill()


@contextmanager
def _webhook(received: "queue.SimpleQueue[dict[str, Any]]") -> Iterator[str]:
    """The address to which alerts are posted."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            for alert in body["alerts"]:
                received.put(alert)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer((LOOPBACK, 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://{LOOPBACK}:{server.server_port}/"
        finally:
            server.shutdown()
