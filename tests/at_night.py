"""What a person on call sees of a situation, and after how many seconds of the cluster's time.

The real daemon works on an emulated cluster in virtual time. Every 15 seconds its page, its metrics
and `explain` are read, and Prometheus' own engine decides about the alerts.
"""

import html
import io
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from msgspec import json
from rich.console import Console

from autoscaler.explain import render
from autoscaler.simulation.scenario import ClusterScenario
from autoscaler.wire.decision_views import DeploymentResponse
from tests.alerting import Scrapes
from tests.test_daemon import Setup, running

QUIET_S = 600.0
"""Seconds before the situation begins: the daemon has settled."""

STEP_S = 15.0
"""Seconds between two reads, which is also the scrape interval."""


class Situation(NamedTuple):
    """A situation, and the words by which each place shows it."""

    title: str
    alert: str
    page: str  # a pattern
    metric: str  # a pattern of a line of /metrics
    explain: str  # a pattern
    scenario: ClusterScenario
    begin: Callable[[Setup], None] = lambda setup: None
    meanwhile: Callable[[Setup], None] = lambda setup: None
    minutes: float = 15.0
    variables: Mapping[str, str] = {}


class Sight(NamedTuple):
    """What one place said first about a situation, and how long after its beginning."""

    text: str
    after_s: float


PLACES = ("page", "metric", "alert", "explain")
"""Where a person reads, in the order of the table."""

MAX_CHARACTERS = 150
"""Longer sentences are cut off in the table."""


async def seen(situation: Situation, directory: Path) -> dict[str, Sight]:
    """What each place says; those that say nothing are absent."""
    scrapes, found = Scrapes(int(STEP_S)), {}
    async with running(directory, situation.scenario, **situation.variables) as setup:
        await _read(setup, scrapes, QUIET_S, lambda _: None)
        situation.begin(setup)
        replaced = {str(setup.path): "config.toml", setup.emulator.url: "http://es:9200"}
        begun = setup.clock.now()

        def note(place: str, text: str | None) -> None:
            if text is None or place in found:
                return
            for machine, document in replaced.items():
                text = text.replace(machine, document)
            found[place] = Sight(text, setup.clock.now() - begun)

        def read(texts: Mapping[str, list[str]]) -> None:
            for place, pattern in (
                ("page", situation.page),
                ("metric", situation.metric),
                ("explain", situation.explain),
            ):
                matching = (text for text in texts[place] if re.search(pattern, text))
                note(place, next(matching, None))
            situation.meanwhile(setup)

        await _read(setup, scrapes, 60.0 * situation.minutes, read)
    fired_s = scrapes.firing_since(situation.alert, directory)
    if fired_s is not None:
        # The first scrape is one step after the start.
        found["alert"] = Sight(situation.alert, fired_s + STEP_S - QUIET_S)
    return found


def row(situation: Situation, found: Mapping[str, Sight]) -> str:
    """The row of the table."""
    cells = [situation.title, *(_cell(place, found[place]) for place in PLACES)]
    return f"| {' | '.join(cells)} |"


def _cell(place: str, sight: Sight) -> str:
    text = sight.text
    if place == "metric":
        text = f"`{re.sub(r',?deployment=.e5.,?', '', text).replace('{}', '').removesuffix('.0')}`"
    elif place == "alert":
        text = f"[{text}](runbook.md#{text.lower()})"
    elif len(text) > MAX_CHARACTERS:
        text = f"{text[:MAX_CHARACTERS].rsplit(' ', 1)[0]} …"
    return f"{text.replace('|', '/')} ({sight.after_s:.0f} s)"


async def _read(
    setup: Setup, scrapes: Scrapes, for_s: float, read: Callable[[Mapping[str, list[str]]], None]
) -> None:
    for _ in range(round(for_s / STEP_S)):
        await setup.clock.advance(STEP_S)
        _, metrics = await setup.get("/metrics")
        scrapes.add(metrics)
        _, page = await setup.get("/", Accept="text/html")
        explained = await _explained(setup)
        read({"page": _shown(page), "metric": metrics.splitlines(), "explain": explained})


async def _explained(setup: Setup) -> list[str]:
    """The lines of `autoscaler explain e5`."""
    status, body = await setup.get("/decisions/e5")
    if status != 200:
        return [body]
    written = io.StringIO()
    render(json.decode(body, type=DeploymentResponse), Console(file=written, width=10_000))
    return written.getvalue().splitlines()


def _shown(page: str) -> list[str]:
    """The boxes above the table, and the condition of each deployment with its first reason."""
    parts = re.findall(
        r'<p class="alert.*?</p>|<td data-label="Condition">.*?</td>', page, re.DOTALL
    )
    texts = [" ".join(html.unescape(re.sub(r"<[^>]+>", " ", part)).split()) for part in parts]
    return [
        re.sub(r"^(in trouble|needs attention) (.*?)( \(and \d+ more\))?$", r"\1: \2", text)
        for text in texts
    ]
