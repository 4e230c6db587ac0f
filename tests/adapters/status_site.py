"""A server with the status page, and what it has observed."""

import re
import zlib
from html import unescape

import aiohttp
from prometheus_client import CollectorRegistry
from yarl import URL

from autoscaler.adapters.admin_http import AdminServer, ClusterPages, DecisionRecorder, Health
from autoscaler.adapters.history import History, HistoryRecorder
from autoscaler.core.slo_status import Expectation, ForecastStatus, SloStatus
from autoscaler.ports import FailureKind, ObservationFailed
from tests.adapters.recorded import cycle
from tests.fakes import FakeClock

BROWSER = {"Accept": "text/html,application/xhtml+xml"}
SLO = SloStatus(
    target=0.99,
    attainment=0.98,
    max_queue_wait_s=0.25,
    backlog_requests=12,
    now=Expectation(allocations=3, late_fraction=0.001, queue_wait_s=0.1),
    forecast=ForecastStatus(trusted=True, load=5.5),
)


class Site:
    """A server with the status page, and a browser's requests to it."""

    def __init__(self, cluster=""):
        self.clock = FakeClock(start=1_000.0)
        self.decisions = DecisionRecorder(self.clock, "1.2.3")
        self.health = Health(self.clock, 10.0)
        self.history = History(self.clock, None)
        self.pages = ClusterPages(
            self.health, self.decisions, cluster=cluster, read_history=self.history.read
        )
        self._recorders = (
            self.decisions,
            self.health,
            HistoryRecorder(self.history, None),
            self.pages.status_pages,
        )
        self.admin = AdminServer(
            CollectorRegistry(), self.pages, host="127.0.0.1", port=0, version="1.2.3"
        )
        self.session = aiohttp.ClientSession(auto_decompress=False)

    def observe(self, *outcomes, at=1_000.0, **more):
        recorded = cycle(*outcomes, at=at, **more)
        for recorder in self._recorders:
            recorder.planned(*recorded)

    def fail(self, text):
        failure = ObservationFailed(FailureKind.UNREACHABLE, text)
        for recorder in self._recorders:
            recorder.skipped(failure, self.clock.now())

    def url(self, path):
        return URL(f"http://127.0.0.1:{self.admin.port}{path}", encoded=True)

    async def get(self, path, status=200, **headers):
        async with self.session.get(self.url(path), headers=BROWSER | headers) as response:
            assert response.status == status
            self.headers, body = response.headers, await response.read()
            zipped = response.headers.get("Content-Encoding") == "gzip"
            return (zlib.decompress(body, 31) if zipped else body).decode()

    async def text(self, path, status=200):
        """What a person reads."""
        page = re.sub(
            r"<(script|style|title)\b.*?</\1>", "", await self.get(path, status), flags=re.DOTALL
        )
        return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())
