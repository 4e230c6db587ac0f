"""The report of a replay in a browser: readable by all, without scripts and without requests.

With SCREENSHOTS=DIRECTORY, a picture of each situation is written there.
"""

import os
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from autoscaler.config.values import ReportSettings
from autoscaler.replay.presentation import html
from tests.browser.test_status_page import ARGUMENTS, AXE, CHROMIUM, DARK, DESKTOP, PHONE
from tests.replay.replays import hostile, refused, replayed, results, working_day

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    pytest.mark.skipif(not AXE.exists(), reason="npm has not installed axe-core; see `make test`"),
]

SITUATIONS = {
    "day": results,
    "fortnight": lambda: results(replayed(hours=working_day(14))),
    "no-verdict": lambda: results(refused()),
    "hostile": hostile,
}
READERS = {"desktop": DESKTOP, "phone": PHONE, "dark": DARK}
COSTS = ReportSettings(cost_per_allocation_hour=0.12, currency="EUR")


@asynccontextmanager
async def browsing():
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest.mark.parametrize("situation", SITUATIONS)
async def test_all_can_read_it_and_it_loads_nothing(situation, tmp_path):
    file = tmp_path / "report.html"
    file.write_text(html.render(SITUATIONS[situation](), COSTS, made_at="2025-11-04 09:00 UTC"))
    async with browsing() as browser:
        for reader, options in READERS.items():
            context = await browser.new_context(**options)
            page = await context.new_page()
            problems, requests = [], []
            page.on("pageerror", lambda error, problems=problems: problems.append(str(error)))
            page.on("console", lambda said, problems=problems: problems.append(said.text))
            page.on("request", lambda sent, requests=requests: requests.append(sent.url))
            await page.goto(file.as_uri())
            assert await page.locator("script").count() == 0
            assert await page.locator("svg.chart").count() >= 1
            beyond = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            assert await page.evaluate(beyond) <= 0
            await page.evaluate(AXE.read_text())
            found = await page.evaluate("axe.run().then((found) => found.violations)")
            assert [
                (each["id"], [node["html"] for node in each["nodes"]])
                for each in found
                if each["impact"] in ("serious", "critical")
            ] == []
            assert problems == []
            assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
            if directory := os.environ.get("SCREENSHOTS"):
                path = Path(directory) / f"report-{situation}-{reader}.png"
                await page.screenshot(path=path, full_page=True)
            await context.close()


async def test_every_link_and_table_is_reached_by_keyboard(tmp_path):
    file = tmp_path / "report.html"
    file.write_text(html.render(results(), COSTS, made_at=""))
    async with browsing() as browser:
        page = await browser.new_page()
        await page.goto(file.as_uri())
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.innerText") == "elser-search"
        await page.keyboard.press("Enter")
        assert page.url.endswith("#deployment-1")
