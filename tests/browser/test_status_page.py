"""The status page in a browser: drawn, current, reachable by keyboard, and readable by all.

With SCREENSHOTS=DIRECTORY, a picture of each situation is written there.
"""

import os
import re
import shutil
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from autoscaler.adapters.admin_http.live import Live
from autoscaler.core.decision import OutcomeKind, Unmanaged
from autoscaler.core.instructions import Override, Pause, PausedChanges
from autoscaler.core.shortfall import Shortfall, ShortfallCause
from autoscaler.core.slo_status import Expectation, SloStatus
from autoscaler.core.values import Reason, Step
from tests.adapters.recorded import decision, outcome, steady
from tests.adapters.status_site import SLO, Site

CHROMIUM = shutil.which("chromium")
AXE = Path(__file__).parent / "node_modules/axe-core/axe.min.js"

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    pytest.mark.skipif(not AXE.exists(), reason="npm has not installed axe-core; see `make test`"),
]

ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
]
DESKTOP = {"viewport": {"width": 1360, "height": 900}}
PHONE = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
DARK = {**DESKTOP, "color_scheme": "dark"}
WITHOUT_SCRIPTS = {**DESKTOP, "java_script_enabled": False}
READERS = {"desktop": DESKTOP, "phone": PHONE, "dark": DARK, "no-scripts": WITHOUT_SCRIPTS}
HEALTHY = SloStatus(
    target=0.99,
    attainment=0.997,
    max_queue_wait_s=0.25,
    load_stddev=0.3,
    after_loading=Expectation(allocations=3, late_fraction=0.001, queue_wait_s=0.04),
)


def healthy(site):
    names = ("e5-ingest", "elser-search", "reranker")
    for i in range(30):
        at = 1_000.0 + 10 * i
        decisions = [steady(n, at=at, slo=HEALTHY, running=3, requested=3) for n in names]
        site.clock.pass_by(at - site.clock.now())
        site.observe(*(outcome(each, OutcomeKind.UNCHANGED) for each in decisions), at=at)


def lost_node(site):
    healthy(site)
    lose_node(site)


def lose_node(site):
    lost = Shortfall(
        since=1_270.0,
        progress_at=1_270.0,
        requested=6,
        running=2,
        lost=4,
        cause=ShortfallCause.LOST,
    )
    site.observe(
        outcome(steady("e5-ingest", at=1_300.0, slo=HEALTHY, running=3), OutcomeKind.UNCHANGED),
        outcome(
            decision("elser-search", at=1_300.0, slo=SLO, shortfall=lost, running=2, requested=6),
            OutcomeKind.NO_CAPACITY,
            "Could not start deployment because there are not enough resources to provide 6",
        ),
        outcome(
            steady(
                "reranker",
                at=1_300.0,
                steps=(Step(Reason.DATA_QUALITY, 3, 3, {"issues": "incomplete"}),),
            ),
            OutcomeKind.UNCHANGED,
        ),
        at=1_300.0,
        unmanaged={".hidden": Unmanaged.HIDDEN},
    )


def dry_run(site):
    site.observe(
        outcome(decision("elser-search", dry_run=True, slo=SLO, running=3), OutcomeKind.DRY_RUN)
    )


def paused(site):
    healthy(site)
    given = {"since": 900.0, "until": 4_600.0, "by": "alice", "reason": "load test until noon"}
    pause = Pause(changes=PausedChanges.EVERYTHING, **given)
    override = Override(allocations=5, **given)
    at = 1_300.0
    site.observe(
        outcome(steady("e5-ingest", at=at, slo=HEALTHY, pauses=(pause,)), OutcomeKind.UNCHANGED),
        outcome(steady("elser-search", at=at, override=override), OutcomeKind.UNCHANGED),
        at=at,
    )
    site.history.note("instruction", "elser-search: overridden to 5 allocations by alice")


def dead_cluster(site):
    healthy(site)
    site.clock.pass_by(300.0)
    site.fail("no connection to https://es-1:9200: connection refused")
    site.pages.note_reload("config.toml:12: rules[0].max_allocations must be at least 1")


def not_observed(site):
    site.fail("no connection to https://es-1:9200: connection refused")


SITUATIONS = {
    "healthy": healthy,
    "lost-node": lost_node,
    "dry-run": dry_run,
    "paused": paused,
    "dead-cluster": dead_cluster,
    "not-observed": not_observed,
}


class Visit:
    """A page in a browser, and what went wrong there."""

    def __init__(self, site, page):
        self.site, self.page = site, page
        self.problems, self.requests = [], []
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", self._hear)
        page.on("request", lambda request: self.requests.append(request.url))

    def _hear(self, message):
        if message.type in ("error", "warning"):
            self.problems.append(message.text)

    async def go(self, path="/"):
        await self.page.goto(str(self.site.url(path)))

    async def live(self):
        await self.page.locator("#connection:text-is('live')").wait_for()

    async def shows(self, text):
        """Wait for a text."""
        await self.page.get_by_text(text).first.wait_for()

    async def legend(self):
        """The latest figures below the charts."""
        labels = await self.page.locator(".u-series .u-label").all_text_contents()
        values = await self.page.locator(".u-series .u-value").all_text_contents()
        return dict(zip(labels, values, strict=True))

    async def text(self):
        return " ".join((await self.page.inner_text("body")).split())


@asynccontextmanager
async def browsing(situation):
    """A site in a situation, and a function that opens a page for a reader."""
    from playwright.async_api import async_playwright

    site = Site()
    async with site.session, site.admin, async_playwright() as playwright:
        situation(site)
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)

        async def opened(reader):
            context = await browser.new_context(**reader)
            return Visit(site, await context.new_page())

        yield opened
        await browser.close()


@asynccontextmanager
async def visiting(situation=healthy):
    async with browsing(situation) as opened:
        yield await opened(DESKTOP)


async def look(visit, name):
    """Write a picture, if pictures are wanted."""
    if directory := os.environ.get("SCREENSHOTS"):
        path = Path(directory) / f"{name}.png"
        await visit.page.screenshot(path=path, full_page=True)


@pytest.mark.parametrize("situation", SITUATIONS)
async def test_all_can_read_every_situation(situation):
    paths = {"all": "/", "one": "/deployments/elser-search"}
    if situation == "not-observed":
        del paths["one"]
    async with browsing(SITUATIONS[situation]) as opened:
        for reader, options in READERS.items():
            visit = await opened(options)
            for name, path in paths.items():
                await visit.go(path)
                if reader != "no-scripts":
                    await visit.live()
                    await is_readable(visit.page, name)
                await look(visit, f"{situation}-{name}-{reader}")
            assert visit.problems == []
            own = str(visit.site.url(""))
            assert [url for url in visit.requests if not url.startswith(own)] == []
            await visit.page.context.close()


async def is_readable(page, name):
    """By people who use a screen reader, and without scrolling it sideways."""
    if name == "one":
        await page.wait_for_selector(".chart canvas")
    await page.evaluate(AXE.read_text())
    found = await page.evaluate("axe.run().then((found) => found.violations)")
    assert [
        (each["id"], [node["html"] for node in each["nodes"]])
        for each in found
        if each["impact"] in ("serious", "critical")
    ] == []
    beyond = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert await page.evaluate(beyond) <= 0


async def test_the_page_follows_the_cycles_and_keeps_the_focus():
    async with visiting() as visit:
        await visit.go()
        await visit.live()
        await visit.page.focus("a[href='/deployments/reranker']")
        lose_node(visit.site)
        await visit.page.wait_for_selector("tr.trouble")
        assert "6 requested" not in await visit.text()
        assert "2 of 6 running: 4 lost, for 30 s" in await visit.text()
        focused = "document.activeElement.getAttribute('href')"
        assert await visit.page.evaluate(focused) == "/deployments/reranker"
        assert visit.problems == []


async def test_the_charts_follow_the_cycles_and_show_the_latest_figures():
    async with visiting() as visit:
        await visit.go("/deployments/elser-search")
        await visit.live()
        await visit.page.wait_for_selector(".chart canvas")
        assert await visit.page.locator(".chart canvas").count() == 5
        assert (await visit.legend())["running"] == "3"
        lose_node(visit.site)
        await visit.shows("4 lost, for 30 s")
        legend = await visit.legend()
        assert (legend["running"], legend["requested"], legend["forecast"]) == ("2", "6", "5.5")
        assert visit.problems == []


async def test_every_part_is_reached_by_keyboard():
    async with visiting(lost_node) as visit:
        await visit.go()
        await visit.live()
        reached = []
        for _ in range(14):
            await visit.page.keyboard.press("Tab")
            reached.append(
                await visit.page.evaluate(
                    "document.activeElement.innerText || document.activeElement.name"
                )
            )
        expected = ["Skip to the content", "autoscaler", "q", "Filter", "all 4", "in trouble 1"]
        assert reached[:6] == expected
        assert reached.index("elser-search") < reached.index("reranker")
        await visit.page.focus("a[href='/deployments/elser-search']")
        await visit.page.keyboard.press("Enter")
        await visit.page.wait_for_selector("#charts canvas")
        await visit.page.focus("summary")
        await visit.page.keyboard.press("Enter")
        assert await visit.page.locator("#figures[open]").count() == 1
        visit.site.observe(
            outcome(steady("elser-search", at=1_310.0), OutcomeKind.UNCHANGED), at=1_310.0
        )
        await visit.shows("00:21:50")
        assert await visit.page.locator("#figures[open]").count() == 1  # it stays open


async def test_without_a_stream_the_page_polls_until_there_is_one():
    async with visiting() as visit:
        pages, live = visit.site.pages.status_pages, visit.site.pages.status_pages.live
        pages.live = Live(max_streams=0)
        await visit.page.clock.install()
        await visit.go()
        await visit.shows("polled every 10 s")
        assert "elser-search" in await visit.text()
        lose_node(visit.site)
        await visit.page.clock.run_for(61_000)  # until after another attempt
        await visit.shows("4 lost, for 30 s")
        await visit.shows("polled every 10 s")
        pages.live = live
        await visit.page.clock.run_for(61_000)
        await visit.live()


async def test_a_daemon_that_does_not_respond_is_told_from_one_that_has_nothing_new():
    async with visiting() as visit:
        await visit.go()
        await visit.live()
        await visit.site.admin.stop()
        await visit.page.wait_for_selector("#connection.lost")
        assert "what is shown is old" in await visit.text()


async def test_an_unknown_deployment_is_no_daemon_that_does_not_respond():
    async with visiting() as visit:
        await visit.page.clock.install()
        await visit.go("/deployments/new")
        await visit.shows("polled every 10 s")
        assert "new: not found in the cluster" in await visit.text()
        assert "does not respond" not in await visit.text()
        visit.site.observe(
            outcome(steady("new", at=1_310.0, slo=HEALTHY), OutcomeKind.UNCHANGED), at=1_310.0
        )
        await visit.page.clock.run_for(11_000)
        await visit.page.wait_for_selector("#charts canvas")  # it is shown as soon as it exists


async def test_a_daemon_that_refuses_the_page_is_no_daemon_that_does_not_respond():
    async with visiting() as visit:
        visit.site.pages.status_pages.live = Live(max_streams=0)
        await visit.page.clock.install()
        await visit.go("/deployments/reranker")
        await visit.shows("polled every 10 s")
        path = "**/deployments/reranker"
        await visit.page.route(path, lambda route: route.fulfill(status=429, body="{}"))
        await visit.page.clock.run_for(11_000)
        await visit.shows("the daemon responds with 429; what is shown is old")


async def test_on_a_phone_sentences_are_read_without_scrolling_sideways():
    async with browsing(paused) as opened:
        visit = await opened(PHONE)
        for path in ("/", "/deployments/e5-ingest"):
            await visit.go(path)
            await visit.live()
            tables = visit.page.locator(".scroll:has(.marks, .steps)")
            beyond = "(all) => all.map((each) => each.scrollWidth - each.clientWidth)"
            found = await tables.evaluate_all(beyond)
            assert found
            assert max(found) <= 0


async def test_hostile_text_stays_text():
    name = "<img src=x onerror=alert(1)>\u202e'\"/"

    def hostile(site):
        site.observe(
            outcome(decision(name, slo=SLO), OutcomeKind.FORBIDDEN, "<script>x()</script>")
        )

    async with visiting(hostile) as visit:
        await visit.go()
        await visit.live()
        assert "<script>x()</script>" in await visit.text()
        hostile(visit.site)
        await visit.page.click("table a")
        await visit.page.wait_for_selector("#charts canvas")
        await visit.live()
        assert "<img src=x" in await visit.page.inner_text("h1")
        assert re.fullmatch(r"/deployments/%3Cimg.*%2F", visit.page.url.split(":", 2)[2][5:])
        assert visit.problems == []
