"""Each alert is fired by its fault, and a day without faults by none.

The metrics are those of a daemon and an emulated cluster in virtual time, and the rules are
evaluated by Prometheus' own engine.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import pytest
from msgspec.structs import replace

from autoscaler.adapters.logs import QueuedStream
from autoscaler.simulation.cluster import AdaptivePatch
from autoscaler.simulation.emulator.faults import Fault
from autoscaler.simulation.emulator.matching import Page
from autoscaler.simulation.emulator.rendering import stats_document
from autoscaler.simulation.loads import Steady
from autoscaler.simulation.scenario import ClusterScenario, ScenarioNode
from tests.alerting import RULES, Scrapes
from tests.test_daemon import SCENARIO, WITHOUT_MANAGE_ML, Setup, running

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed"),
]

MINUTE_S = 60
SLO = frozenset({"AutoscalerSloBurnsFast", "AutoscalerSloBurns"})


async def scraped(setup, scrapes, minutes, meanwhile=lambda _setup: None):
    """The scrapes of the next minutes, added.

    Args:
        meanwhile: happens after each scrape.
    """
    for _ in range(round(minutes * MINUTE_S / scrapes.interval_s)):
        await setup.clock.advance(float(scrapes.interval_s))
        status, text = await setup.get("/metrics")
        assert status == 200
        scrapes.add(text)
        meanwhile(setup)


def of(**changes):
    """One node, and a deployment with enough allocations for its load."""
    settings = {"number_of_allocations": 7} | changes
    return replace(SCENARIO, deployments=[replace(SCENARIO.deployments[0], **settings)])


HEALTHY = of()
TWO_SMALL_NODES = replace(
    HEALTHY, nodes=[ScenarioNode(name=name, processors=4) for name in ("ml-1", "ml-2")]
)


def nothing(_setup):
    pass


def failing(path, **effect):
    """A fault of each request for a path."""

    def begin(setup):
        setup.emulator.emulation.faults.add(Fault(path=path, calls=None, **effect))

    return begin


def lost_node(setup):
    setup.emulator.cluster.remove_node("ml-2")


def returned_node(setup):
    """The node has been replaced within seconds; what runs on it has to start again."""
    node = setup.emulator.cluster.nodes["ml-2"]
    setup.emulator.cluster.remove_node("ml-2")
    setup.emulator.cluster.add_node(node)


def broken_configuration(setup):
    setup.path.write_text("[[rules]]\nname = 1\n")


def other_cluster(setup):
    setup.emulator.emulation.uuid = "another-cluster-uuid"


def adaptive_enabled(setup):
    setup.emulator.cluster.update_deployment("e5", adaptive=AdaptivePatch(enabled=True))


def second_writer(setup):
    """Wants four allocations, again and again."""
    if setup.requested != 4:
        setup.emulator.cluster.update_deployment("e5", number_of_allocations=4)


RESTLESS = json.dumps(
    [{"name": "all", "max_allocations": 8, "min_allocations": 7, "external_change_hold": "0s"}]
)
"""Rules that another writer contradicts, and that do not wait for it."""

TOO_FEW = json.dumps(
    [
        {
            "name": "all",
            "max_allocations": 1,
            "rollout": {"hours": ["00:00-24:00"], "timezone": "UTC", "share": 0.9},
        }
    ]
)
"""Rules that act in most hours, with too few allocations. Nothing has been saved before."""

ACCEPTED = json.dumps(
    {"assignment": {"task_parameters": {"model_id": "e5", "deployment_id": "e5"}}}
)
"""A response that confirms an update of the deployment."""


def accepting_all(setup):
    """Updates are accepted, and none takes effect; another writer has just made one."""
    setup.emulator.cluster.update_deployment("e5", number_of_allocations=4)
    failing("*/deployment/_update", status=200, content_type="application/json", body=ACCEPTED)(
        setup
    )


def statistics(spoil):
    """A fault of the statistics: what `spoil` leaves of each entry of a node, again and again."""

    def begin(setup):
        page = Page(count=1, models=("e5",), tokens=("*",))
        document = stats_document(setup.emulator.cluster, page)
        for entry in document["trained_model_stats"]:
            for node in entry["deployment_stats"]["nodes"]:
                spoil(node)
        failing(
            "/_ml/trained_models*",
            status=200,
            content_type="application/json",
            body=json.dumps(document),
        )(setup)

    return begin


def without_counts(node):
    del node["inference_count"]


def larger_than_its_node(node):
    node["average_inference_process_memory_rss_bytes"] = 2**36


NOWHERE = "/dev/null/autoscaler"
"""A path at which nothing can be created, whoever tries."""


@contextmanager
def unread_log():
    """The daemon's stream of log lines, which nothing reads, and what writes a long one."""
    reader, writer = os.pipe()
    stream = QueuedStream(writer)
    try:
        yield stream
    finally:
        os.close(reader)  # which ends the write that waits
        stream.close()
        os.close(writer)


class Story(NamedTuple):
    """What happens to a daemon after ten minutes."""

    begin: Callable[[Setup], None]
    minutes: float = 10.0  # for which it lasts
    scenario: ClusterScenario = HEALTHY
    meanwhile: Callable[[Setup], None] = nothing  # after each scrape
    others: frozenset[str] = frozenset()  # alerts that fire too, rightly
    variables: Mapping[str, str] = {}
    long_lines: bool = False  # a megabyte is logged after each scrape, and nothing reads it


STORIES = {
    "AutoscalerNoData": Story(failing("*_stats*", status=503)),
    "AutoscalerPollsStretched": Story(failing("*_stats*", delay_s=9.0), minutes=40.0),
    "AutoscalerForbidden": Story(
        failing("*_stats*", status=403, error_type="security_exception", body="denied"),
        others=frozenset({"AutoscalerNoData"}),
    ),
    "AutoscalerNoCapacity": Story(
        nothing,
        scenario=replace(
            of(number_of_allocations=1), nodes=[ScenarioNode(name="ml-1", processors=2)]
        ),
        others=SLO | {"AutoscalerAtMaximum"},
    ),
    "AutoscalerAtMaximum": Story(nothing, scenario=of(load=Steady(rate_per_s=200.0)), others=SLO),
    "AutoscalerAllocationsMissing": Story(lost_node, scenario=TWO_SMALL_NODES, others=SLO),
    "AutoscalerAllocationsPending": Story(
        returned_node,
        minutes=25.0,
        scenario=replace(
            TWO_SMALL_NODES,
            models=[replace(each, load_s=3000.0) for each in TWO_SMALL_NODES.models],
        ),
        others=SLO | {"AutoscalerAllocationsMissing"},
    ),
    "AutoscalerConfigReloadFailed": Story(broken_configuration),
    "AutoscalerObserveOnly": Story(
        nothing,
        scenario=replace(HEALTHY, security=WITHOUT_MANAGE_ML.security),
        variables={
            "AUTOSCALER_ELASTICSEARCH__USERNAME": "watcher",
            "AUTOSCALER_ELASTICSEARCH__PASSWORD": "secret",
        },
    ),
    "AutoscalerNotInControl": Story(adaptive_enabled, minutes=20.0),
    "AutoscalerSecondWriter": Story(
        nothing,
        minutes=20.0,
        meanwhile=second_writer,
        variables={"AUTOSCALER_RULES": RESTLESS},
        # What is taken back before the next poll never shows.
        others=SLO | {"AutoscalerNoEffect"},
    ),
    "AutoscalerNoEffect": Story(
        accepting_all, variables={"AUTOSCALER_RULES": RESTLESS}, others=SLO
    ),
    "AutoscalerOtherCluster": Story(other_cluster, minutes=15.0),
    "AutoscalerNoLeader": Story(
        nothing,
        variables={
            "AUTOSCALER_LEADERSHIP__LEASE": "file",
            "AUTOSCALER_LEADERSHIP__FILE": "{tmp}",  # a directory
        },
    ),
    "AutoscalerStateNotSaved": Story(
        nothing,
        variables={"AUTOSCALER_STATE_DIR": NOWHERE},
        others=frozenset({"AutoscalerNotRecording"}),
    ),
    "AutoscalerNotRecording": Story(
        nothing,
        variables={"AUTOSCALER_STATE_DIR": NOWHERE},
        others=frozenset({"AutoscalerStateNotSaved"}),
    ),
    "AutoscalerMemoryExceeded": Story(
        statistics(larger_than_its_node),
    ),
    "AutoscalerFiguresUnknown": Story(statistics(without_counts), minutes=25.0),
    "AutoscalerLogLinesDropped": Story(nothing, minutes=35.0, long_lines=True),
    "AutoscalerRolloutReverted": Story(
        nothing,
        minutes=180.0,
        variables={"AUTOSCALER_STATE": "elasticsearch", "AUTOSCALER_RULES": TOO_FEW},
        others=SLO | {"AutoscalerAtMaximum"},
    ),
    "AutoscalerSloBurnsFast": Story(
        nothing,
        scenario=of(load=Steady(rate_per_s=200.0)),
        others=SLO | {"AutoscalerAtMaximum"},
    ),
    "AutoscalerSloBurns": Story(
        nothing,
        scenario=of(load=Steady(rate_per_s=200.0)),
        others=SLO | {"AutoscalerAtMaximum"},
    ),
}
"""By the alert that it fires."""

ELSEWHERE = {
    "AutoscalerAbsent": "below: nothing is scraped",
    "AutoscalerOnlyObserving": "below: it lasts a day",
}
"""Alerts without a story here, and why; deploy/*/rules_test.yml has series for all."""


@pytest.mark.deep
@pytest.mark.parametrize("alert", STORIES)
async def test_its_fault_fires_it(alert, tmp_path):
    story = STORIES[alert]
    scrapes = Scrapes()
    with unread_log() as log:

        def meanwhile(setup):
            story.meanwhile(setup)
            if story.long_lines:
                log.write("x" * 2**20)

        async with running(
            tmp_path,
            story.scenario,
            log_lines_dropped=lambda: {"queue": log.dropped},
            **{
                name: value.replace("{tmp}", str(tmp_path))
                for name, value in story.variables.items()
            },
        ) as setup:
            await scraped(setup, scrapes, 10.0)
            story.begin(setup)
            await scraped(setup, scrapes, story.minutes, meanwhile)
    fired = scrapes.alerts(tmp_path)
    assert alert in fired
    assert fired <= {alert} | story.others


def test_every_alert_has_a_story():
    named = {name for rules in RULES for name in re.findall(r"- alert: (\w+)", rules.read_text())}
    assert named == STORIES.keys() | ELSEWHERE.keys()
    assert not STORIES.keys() & ELSEWHERE.keys()


async def test_an_hour_without_faults_fires_none(tmp_path):
    scrapes = Scrapes()
    async with running(tmp_path, HEALTHY) as setup:
        await scraped(setup, scrapes, 60.0)
    assert scrapes.alerts(tmp_path) == set()


async def test_a_daemon_that_is_gone_is_noticed(tmp_path):
    scrapes = Scrapes()
    async with running(tmp_path, HEALTHY) as setup:
        await scraped(setup, scrapes, 5.0)
    for _ in range(4 * 11):
        scrapes.miss()
    assert scrapes.alerts(tmp_path) == {"AutoscalerAbsent"}


@pytest.mark.deep
@pytest.mark.parametrize(
    ("dry_run", "fired"), [(False, set()), (True, {"AutoscalerOnlyObserving"})]
)
async def test_a_day_without_faults_fires_none_but_that_a_dry_run_lasts(dry_run, fired, tmp_path):
    scrapes = Scrapes(interval_s=60)
    variables = {
        "AUTOSCALER_DRY_RUN": str(dry_run).lower(),
        "AUTOSCALER_POLL_INTERVAL": "30s",  # to be faster
    }
    async with running(tmp_path, HEALTHY, **variables) as setup:
        await scraped(setup, scrapes, 25.0 * 60.0)
    assert scrapes.alerts(tmp_path) == fired
