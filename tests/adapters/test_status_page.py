"""The status page, as a browser without JavaScript gets it, and its events."""

import asyncio
import json
import re
import zlib
from types import SimpleNamespace
from urllib.parse import quote

import pytest
import structlog

from autoscaler.adapters.admin_http.decisions import ROWS_PER_PAGE
from autoscaler.adapters.admin_http.live import MAX_STREAMS, Live
from autoscaler.core.decision import OutcomeKind, Unmanaged
from autoscaler.core.rollout_comparison import BlockTotals
from autoscaler.core.rollout_status import RolloutStatus, RolloutVerdict
from autoscaler.core.slo_status import SloStatus
from tests.adapters.recorded import decision, outcome, steady
from tests.adapters.status_site import BROWSER, SLO, Site
from tests.fakes import FakeLeadership

HOSTILE = "<script>alert(1)</script>\"'{{7*7}}\x1b[2J/../%2F\u202e"


@pytest.fixture
async def site():
    site = Site()
    async with site.session, site.admin:
        yield site


async def test_before_the_first_cycle_the_page_says_so(site):
    text = await site.text("/")
    assert "Not ready" in text
    assert "the cluster has not been observed yet" in text
    assert "There is nothing to show before the first observation" in text


async def test_all_deployments_are_shown_those_in_trouble_first(site):
    site.observe(
        outcome(steady("a-fine", slo=SloStatus(target=0.99)), OutcomeKind.UNCHANGED),
        outcome(steady("b-late", slo=SLO, running=3, requested=3), OutcomeKind.UNCHANGED),
        outcome(decision("c-full"), OutcomeKind.ACCEPTED),
        unmanaged={"d-other": Unmanaged.NO_RULE},
        unreadable={"e-broken": "allocations"},
    )

    page, text = await site.get("/"), await site.text("/")

    order = re.findall(r"[a-e]-(?:fine|late|full|other|broken)", text)
    assert list(dict.fromkeys(order)) == ["c-full", "e-broken", "b-late", "a-fine", "d-other"]
    assert "in trouble 2 needs attention 1 fine 1 not managed 1" in text
    assert "needs 7, limited to 6: bounds are 1..6" in text
    assert "3 → 6: load 4.50 at 70% needs 7; bounds are 1..6" in text
    assert "98% of 99% 2 times the error budget used" in text
    assert "unknown of 99% error budget unknown" in text  # and not zero
    assert "3 of 3" in text
    assert "bounds 1..6" in text
    assert "4.50 erlangs 60 requests/s" in text
    assert 'href="/deployments/c-full"' in page
    assert 'href="/deployments/d-other"' not in page


async def test_what_is_unknown_has_no_unit(site):
    site.observe(
        outcome(steady("elser", load=None, slo=SloStatus(target=0.9)), OutcomeKind.UNCHANGED)
    )
    for path in ("/", "/deployments/elser"):
        text = await site.text(path)
        assert "unknown" in text
        for unit in ("erlangs", "requests/s", "per second", "requests"):
            assert f"unknown {unit}" not in text


async def test_of_equal_levels_those_that_meet_their_slo_least_are_first(site):
    site.observe(
        *[
            outcome(steady(name, slo=SloStatus(target=0.9, attainment=met)), OutcomeKind.UNCHANGED)
            for name, met in {"a-unknown": None, "b-good": 0.99, "c-worse": 0.95}.items()
        ]
    )
    order = re.findall(r"[abc]-(?:unknown|good|worse)", await site.text("/"))
    assert list(dict.fromkeys(order)) == ["c-worse", "b-good", "a-unknown"]


@pytest.mark.parametrize(("saved", "shown"), [(False, True), (True, False), (None, False)])
async def test_the_page_says_that_the_state_is_not_saved(site, saved, shown):
    site.pages.status_pages.contents.state = SimpleNamespace(saved=saved)
    assert ("The state is not saved:" in await site.text("/")) is shown


async def test_one_deployment_is_shown_in_depth(site):
    site.observe(outcome(decision("elser", slo=SLO, running=2), OutcomeKind.ACCEPTED))

    text = await site.text("/deployments/elser")

    assert "needs 7, limited to 6" in text
    assert "3 → 6: load 4.50 at 70% needs 7; bounds are 1..6" in text
    assert "100 ms now of 250 ms" in text
    assert "Backlog 12 requests" in text
    assert "target tracking 3 7 load 4.50 at 70% needs 7" in text
    assert "bounds 7 6 bounds are 1..6" in text
    assert "01-01 00:16:40 update, accepted 3 → 6" in text
    assert "00:16:40 60 4.5 5.5 2 unknown 7 0 12 0.1" in text  # the figures of the charts


async def test_a_gradual_rollout_says_when_the_rule_acts_next_and_what_would_revert_it(site):
    rollout = RolloutStatus(
        verdict=RolloutVerdict.RUNNING,
        active=False,
        listed=True,
        before="8 allocations",
        since=0.0,
        reverted_at=None,
        because="",
        active_totals=BlockTotals(requests=1000.0, late=4.0, seconds=7200.0, allocation_s=21600.0),
        before_totals=BlockTotals(),
        difference=None,
        next_active_at=1_600.0,
        evidence=0.25,
    )
    site.observe(outcome(decision("elser", rollout=rollout), OutcomeKind.ACCEPTED))

    text = await site.text("/deployments/elser")

    assert "with what ran before: 8 allocations; the rule acts in 10 min." in text
    assert "Compared: active 2.0 h: 99.6% of 1000 requests met the SLO, 3.0 allocations." in text
    assert "The rule is reverted when most requests are late for about four minutes" in text
    assert "25% of that evidence now" in text


async def test_the_latest_events_are_below_all_deployments(site):
    site.observe(
        outcome(steady("a-fine"), OutcomeKind.UNCHANGED),
        outcome(decision("b-full"), OutcomeKind.NO_CAPACITY, "no room"),
    )
    site.history.note("config_refused", "the previous configuration stays in effect")
    _, _, recent = (await site.text("/")).partition("Latest events")
    assert "all config refused the previous configuration stays in effect" in recent
    assert "01-01 00:16:40 b-full update, no capacity 3 → 6: load 4.50" in recent
    assert "a-fine" not in recent


async def test_an_unknown_deployment_is_not_found(site):
    site.observe(outcome(steady("elser"), OutcomeKind.UNCHANGED))
    assert "did you mean elser?" in await site.text("/deployments/elsr", 404)


async def test_a_deployment_that_is_not_managed_has_a_page(site):
    site.observe(unmanaged={"other": Unmanaged.NO_RULE})
    assert "no rule matches it" in await site.text("/deployments/other")


async def test_ids_and_reasons_from_outside_are_text(site):
    site.observe(
        outcome(decision(HOSTILE), OutcomeKind.FORBIDDEN, detail="<img src=x onerror=alert(1)>")
    )
    path = f"/deployments/{quote(HOSTILE, safe='')}"
    for page in (await site.get("/"), await site.get(path), await site.get(f"/?q={HOSTILE[:8]}")):
        assert "<script>alert" not in page
        assert "<img" not in page
        assert "\x1b" not in page
        assert "\u202e" not in page
        assert "49" not in re.sub(r"\d\d:\d\d:\d\d|/static/\w+", "", page)
    assert path in await site.get("/")


async def test_a_dead_cluster_a_refused_configuration_and_a_lost_lease_are_alerts(site):
    site.decisions.leadership = FakeLeadership(site.clock, leader="host-2")
    site.observe(outcome(steady(), OutcomeKind.UNCHANGED))
    site.clock.pass_by(120.0)
    site.fail("no connection to <es-1>")
    site.pages.note_reload("config.toml:3: unknown key\nconfig.toml:9: too small")

    text = await site.text("/")

    assert "Not ready" in text
    assert "the cluster was last observed 2 min ago: no connection to <es-1>" in text
    assert "previous one in force: config.toml:3: unknown key config.toml:9: too small" in text
    assert "host-2 leads" in text
    assert "elser" in text  # the last known state stays visible


async def test_the_deployments_are_filtered_and_come_in_pages(site):
    names = [f"e5-{i:03}" for i in range(ROWS_PER_PAGE + 5)]
    site.observe(
        *(outcome(steady(name), OutcomeKind.UNCHANGED) for name in [*names, "Elser"]),
        outcome(decision("bad"), OutcomeKind.ACCEPTED),
    )

    first = await site.text("/")
    assert f"Page 1 of 2, {ROWS_PER_PAGE + 7} deployments" in first
    assert "bad" in first
    assert "e5-104" in await site.text("/?n=2")
    assert "e5-104" in await site.text("/?n=99")
    assert "e5-000" not in await site.text("/?q=elser")
    assert "Elser" in await site.text("/?q=elser")
    assert "e5-000" not in await site.text("/?level=trouble")
    assert "No deployment matches." in await site.text("/?q=nothing")
    for odd in ("?n=-1", "?n=%F0", "?level=worst", "?n=1&n=2", "?q=" + 300 * "x", "?other"):
        await site.get(f"/{odd}")


async def test_pages_load_their_own_files_only_and_run_nothing_else(site):
    site.observe(outcome(steady(), OutcomeKind.UNCHANGED))
    for path in ("/", "/deployments/elser"):
        page = await site.get(path)
        policy = site.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http:" not in page
        assert "https:" not in page
        assert not re.search(r"<script(?! src=)|<style| style=| on\w+=", page)
        for file in re.findall(r'(?:src|href)="(/static/[^"]+)"', page):
            assert await site.get(file)
            assert "immutable" in site.headers["Cache-Control"]
    await site.get("/favicon.ico")
    await site.get("/static/0/..%2F..%2Fserver.py", 404)
    await site.get("/static/0/html.py", 404)


async def test_the_configuration_in_force_is_named(site):
    site.pages.note_configuration("Configuration 0123: 2 rules, dry run")
    assert "Configuration 0123: 2 rules, dry run" in await site.text("/")


async def test_programs_get_the_list_of_paths(site):
    assert (await site.get("/", Accept="*/*")).startswith("autoscaler 1.2.3\n")


@pytest.mark.parametrize(
    ("accept", "is_page"),
    [
        ("text/html;q=0", False),
        ("text/html; Q=0.000, */*", False),
        ("application/json, text/html;q=0.1", True),
        ("Text/HTML;level=1", True),
        ("text/html-other", False),
    ],
)
async def test_a_client_that_excludes_pages_gets_the_list_of_paths(site, accept, is_page):
    assert (await site.get("/", Accept=accept)).startswith("<!doctype html>") is is_page


async def test_the_pages_of_a_named_cluster_are_below_its_name():
    site = Site("tokyo-1")
    async with site.session, site.admin:
        site.observe(outcome(steady(), OutcomeKind.UNCHANGED))
        page = await site.get("/clusters/tokyo-1/")
        assert 'href="/clusters/tokyo-1/deployments/elser"' in page
        assert 'data-events="/clusters/tokyo-1/live"' in page
        deployment = await site.get("/clusters/tokyo-1/deployments/elser")
        series = re.search(r'data-series="([^"]+)"', deployment)[1]
        assert json.loads(await site.get(series))["at"] == [1_000.0]


class Events:
    """The events of a stream."""

    def __init__(self, response):
        self._response = response
        zipped = response.headers.get("Content-Encoding") == "gzip"
        self._decompress = zlib.decompressobj(31).decompress if zipped else bytes
        self._text = b""

    async def next(self):
        """The name and the data of the next event."""
        while not (found := re.search(rb"event: (\w+)\ndata: (.*)\n\n", self._text)):
            self._text += self._decompress(await self._response.content.readany())
        self._text = self._text[found.end() :]
        return found[1].decode(), json.loads(found[2])


async def streams_open(site, count):
    while site.pages.status_pages.live.count != count:
        await asyncio.sleep(0)


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
async def test_an_open_page_gets_what_has_changed_after_each_cycle(site, encoding):
    site.observe(outcome(steady(), OutcomeKind.UNCHANGED))
    path = site.url("/live/deployments/elser")
    async with site.session.get(path, headers={"Accept-Encoding": encoding}) as response:
        await streams_open(site, 1)
        site.observe(outcome(decision(at=1_010.0), OutcomeKind.ACCEPTED), at=1_010.0)
        name, event = await Events(response).next()

    assert name == "cycle"
    assert "3 → 6" in event["fragments"]["now"]
    assert event["series"]["at"] == [1_000.0, 1_010.0]
    assert response.headers["Content-Type"] == "text/event-stream"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_all_get_their_pages_who_open_them_in_the_same_moment(site, monkeypatch):
    """In an incident, everyone does: ten the overview, the others one deployment each."""
    names = [f"e5-{n}" for n in range(MAX_STREAMS - 10)]
    site.observe(*(outcome(steady(each), OutcomeKind.UNCHANGED) for each in names))
    contents, overviews = site.pages.status_pages.contents, []
    overview = contents.overview
    monkeypatch.setattr(
        contents, "overview", lambda query: overviews.append(query) or overview(query)
    )

    async def opened(name=""):
        path = f"/deployments/{name}" if name else "/"
        async with site.session.get(site.url(path), headers=BROWSER) as response:
            page = await response.read()
        if name:
            await site.get(f"/api/v1/deployments/{name}/series")
        events = await site.session.get(site.url(f"/live{path if name else ''}"))
        return response.status, bool(page), events

    found = await asyncio.gather(*(opened() for _ in range(10)), *map(opened, names))
    assert [each[:2] for each in found] == [(200, True)] * MAX_STREAMS
    assert [events.status for *_, events in found] == [200] * MAX_STREAMS
    assert len(overviews) < 5  # of ten: those who wait share one
    for *_, events in found:
        events.close()


async def test_a_failed_observation_reaches_an_open_page(site):
    site.observe(outcome(steady(), OutcomeKind.UNCHANGED))
    async with site.session.get(site.url("/live")) as response:
        await streams_open(site, 1)
        site.fail("no route to host")
        _, event = await Events(response).next()
    assert "no route to host" in event["fragments"]["heading"]


async def test_programs_get_an_event_for_each_cycle(site):
    async with site.session.get(site.url("/api/v1/events")) as response:
        await streams_open(site, 1)
        site.fail("no route to host")
        events = Events(response)
        name, problem = await events.next()
        assert (name, "no route to host" in problem["error"]) == ("problem", True)
        site.observe(outcome(steady(at=1_010.0), OutcomeKind.UNCHANGED), at=1_010.0)
        name, event = await events.next()
    assert (name, event["at"]) == ("cycle", 1_010.0)


async def test_pages_that_show_the_same_are_rendered_once():
    live, rendered = Live(), []

    def render():
        rendered.append(1)
        return b"event: cycle\ndata: {}\n\n"

    site = Site()
    site.pages.status_pages.live = live
    async with site.session, site.admin:
        responses = [await site.session.get(site.url("/api/v1/events")) for _ in range(3)]
        await streams_open(site, 3)
        live._renderers["cycles"] = render
        live.notify()
        for response in responses:
            assert await Events(response).next() == ("cycle", {})
            response.close()
    assert rendered == [1]


async def test_a_defect_ends_the_streams_that_it_concerns_and_is_logged(site):
    def fails():
        raise ValueError("a defect")

    async with site.session.get(site.url("/api/v1/events")) as response:
        await streams_open(site, 1)
        live = site.pages.status_pages.live
        live._renderers["cycles"] = fails
        with structlog.testing.capture_logs() as logs:
            live.notify()
            await response.read()  # it ends
    assert [each["event"] for each in logs] == ["http.failed"]
    site.fail("no route to host")
    async with site.session.get(site.url("/live")) as response:
        await streams_open(site, 1)
        live.notify()
        assert (await Events(response).next())[0] == "cycle"  # others go on


async def test_more_streams_than_possible_are_refused_and_their_pages_poll():
    site = Site()
    site.pages.status_pages.live = Live(max_streams=1)
    async with site.session, site.admin, site.session.get(site.url("/live")):
        await streams_open(site, 1)
        await site.get("/live", 503)
        assert site.headers["Retry-After"] == "60"
    assert MAX_STREAMS == 50


async def test_the_place_of_a_client_that_has_gone_is_free_at_once(site):
    site.pages.status_pages.live = Live(max_streams=1)
    for _ in range(3):
        async with site.session.get(site.url("/live")) as response:
            assert response.status == 200
            await streams_open(site, 1)
        await streams_open(site, 0)  # without an event, which would find the client gone


async def test_a_backlog_that_is_not_known_is_unknown(site):
    slo = SloStatus(target=0.99, attainment=1.0)
    site.observe(outcome(steady("elser", slo=slo), OutcomeKind.UNCHANGED))
    assert "Backlog unknown" in await site.text("/deployments/elser")
    series = json.loads(await site.get("/api/v1/deployments/elser/series"))
    assert series["values"]["backlog_requests"] == [None]


@pytest.mark.parametrize("since", ["nan", "-inf", "-1"])
async def test_points_since_no_time_are_refused(site, since):
    assert "since" in await site.get(f"/api/v1/deployments/elser/series?since={since}", 400)


async def test_open_streams_do_not_delay_the_end_of_the_server():
    site = Site()
    async with site.session:
        await site.admin.start()
        response = await site.session.get(site.url("/live"))
        await streams_open(site, 1)
        async with asyncio.timeout(1.0):  # less than the server waits for a request
            await site.admin.stop()
        response.close()
    assert site.pages.status_pages.live.count == 0


async def test_open_streams_end_when_others_may_read(site):
    async with site.session.get(site.url("/live")) as response:
        await streams_open(site, 1)
        site.pages.reconnect_streams()
        await response.read()  # it ends
    async with site.session.get(site.url("/live")):
        await streams_open(site, 1)  # and its client may connect again


async def test_a_head_request_for_a_stream_ends(site):
    async with site.session.head(site.url("/live")) as response:
        assert (response.status, response.content_type) == (200, "text/event-stream")


async def test_a_client_that_leaves_ends_its_stream(site):
    response = await site.session.get(site.url("/live"))
    await streams_open(site, 1)
    response.close()
    while site.pages.status_pages.live.count:
        site.fail("no route to host")  # what is sent then shows that it has gone
        await asyncio.sleep(0)
