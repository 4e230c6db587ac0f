"""Lists of inference endpoints that are incomplete or fail: deployments that an endpoint may own or
use are neither changed nor stopped."""

import json
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace

from autoscaler.adapters.elasticsearch import cluster as adapter
from autoscaler.adapters.elasticsearch.cluster import MAX_FAILING_INTERVAL_S
from autoscaler.core.decision import Mode, OutcomeKind
from autoscaler.core.selection import ScaleToZero, ZeroMethod
from autoscaler.simulation.loads import Steady
from autoscaler.simulation.scenario import ScenarioDeployment, ScenarioEndpoint
from tests.end_to_end.world import POLL_S, scenario, world_of
from tests.observations import policy, rule

LIST, ONE = "/_inference/_all", "/_inference/a"
DEPLOYMENT = "/_ml/trained_models/a/deployment/_update"
ENDPOINT = "/_inference/text_embedding/a/_update"
STOP = "/_ml/trained_models/a/deployment/_stop"
STATUS = "status_exception"
BAD_ENDPOINT = {"status": 500, "error_type": STATUS, "body": "Unknown service [gone] for [old]"}

AFTER_S = 120.0
STOPPING = rule(zero=ScaleToZero(AFTER_S, ZeroMethod.STOP))

UNGUARDED = ("8.12", "8.16", "8.17", "8.18", "8.19.4", "9.1")
GUARDED = ("9.2", "9.5", "serverless")

NO_ANSWERS = {
    "500": BAD_ENDPOINT,
    "400": {"status": 400, "error_type": STATUS, "body": "no such service"},
    "503": {"status": 503, "error_type": "unavailable_shards_exception", "body": "[.inference]"},
    "no index": {"status": 404, "error_type": "index_not_found_exception", "body": "[.inference]"},
    "no list": {"status": 200, "body": "{}"},
    "proxy": {"status": 502, "body": "<html>"},
}


@asynccontextmanager
async def cluster(version, *rules, endpoints=("a",), rate_per_s=50.0, tmp_path=None, **given):
    """One deployment, `a`; by default, endpoint `a` owns it."""
    load = Steady(rate_per_s=rate_per_s) if rate_per_s else None
    listed = [
        ScenarioEndpoint(inference_id=each) if isinstance(each, str) else each for each in endpoints
    ]
    simulated = scenario(
        ScenarioDeployment(model_id="a", load=load), version=version, endpoints=listed
    )
    file = tmp_path / "stopped.json" if tmp_path else None
    async with world_of(simulated, policy(*rules), state_dir=file, **given) as world:
        yield world


def through_endpoint(version):
    """The requests for an owned deployment: before 8.17, endpoints have no `_update`."""
    return [ENDPOINT, DEPLOYMENT] if version in ("8.12", "8.16") else [ENDPOINT]


def attached(name="mine"):
    return ScenarioEndpoint(inference_id=name, deployment_id="a")


def paths(world):
    return [each.path for each in world.sent]


async def idle(world):
    return await world.run_for(AFTER_S + 200.0)


# Ownership unknown


@pytest.mark.parametrize("answer", NO_ANSWERS.values(), ids=NO_ANSWERS)
async def test_while_it_is_unknown_nothing_is_changed_and_it_is_reported(answer):
    async with cluster("8.19.4") as world:
        world.fail("/_inference/*", calls=None, **answer)
        cycles = await world.cycles(12)
        assert not world.sent
        assert cycles[-1].kind("a") is OutcomeKind.WITHHELD
        detail = cycles[-1].outcome("a").detail
        assert "it is not known whether an inference endpoint owns it" in detail
        assert world.attempts(ONE) <= 2 * 3, "once a minute, with the retries of a request"

        world.faults.clear()
        await world.cycles(8)
        assert paths(world) == [ENDPOINT]
        assert world.requested("a") == 4


@pytest.mark.parametrize("version", GUARDED)
async def test_a_version_that_refuses_the_change_of_an_owned_deployment_is_requested(version):
    mode = Mode.BOUNDS if version == "serverless" else Mode.DIRECT
    async with cluster(version, rule(mode=mode), endpoints=[]) as world:
        world.fail("/_inference/*", calls=None, **BAD_ENDPOINT)
        await world.cycles(12)
        assert set(paths(world)) == {DEPLOYMENT}


@pytest.mark.parametrize("version", UNGUARDED)
async def test_one_bad_endpoint_hides_neither_an_owner_nor_its_absence(version):
    """The list fails as a whole, and a single endpoint can still be read."""
    async with cluster(version) as world:
        world.fail(LIST, calls=None, **BAD_ENDPOINT)
        await world.cycles(12)
        assert world.requested("a") == 4
        assert paths(world) == through_endpoint(version)
    async with cluster(version, endpoints=[]) as world:
        world.fail(LIST, calls=None, **BAD_ENDPOINT)
        await world.cycles(12)
        assert paths(world) == [DEPLOYMENT]


@pytest.mark.parametrize("owned", [True, False])
async def test_what_was_known_is_kept(owned):
    async with cluster("8.19.4", endpoints=["a"] if owned else [], rate_per_s=0.0) as world:
        await world.cycles(2)
        world.fail("/_inference/*", calls=None, method="GET", **BAD_ENDPOINT)
        world.emulation.start_load("a", Steady(rate_per_s=50.0))
        await world.cycles(20)
        assert paths(world) == [ENDPOINT if owned else DEPLOYMENT]


async def test_a_deployment_that_is_newer_than_the_list_is_unknown():
    async with cluster("8.19.4", endpoints=[]) as world:
        await world.cycles(2)
        world.fail("/_inference/*", calls=None, **BAD_ENDPOINT)
        await world.run_for(120.0)
        world.cluster.start_deployment("a", deployment_id="late")
        world.emulation.start_load("late", Steady(rate_per_s=50.0))
        cycles = await world.cycles(12)
        assert cycles[-1].kind("late") is OutcomeKind.WITHHELD
        assert not [path for path in paths(world) if "late" in path]


@pytest.mark.parametrize("version", ["8.6", "8.12", "8.19.4", "9.5"])
async def test_a_new_deployment_is_changed_as_soon_as_its_owner_is_known(version):
    async with cluster(version, endpoints=[], rate_per_s=0.0) as world:
        await world.cycles(1)
        world.cluster.put_model(replace(world.cluster.models["a"], model_id="late"))
        world.cluster.start_deployment("late")
        world.emulation.start_load("late", Steady(rate_per_s=50.0))
        await world.cycles(5)
        assert world.requested("late") > 1


async def test_so_is_one_that_was_created_again():
    governed = rule(external_change_hold_s=0.0)
    async with cluster("8.19.4", governed, endpoints=[], rate_per_s=0.0) as world:
        await world.cycles(2)
        world.fail("/_inference/*", calls=None, **BAD_ENDPOINT)
        world.delete("a")
        await world.cycles(1)
        world.cluster.start_deployment("a")
        world.emulation.start_load("a", Steady(rate_per_s=50.0))
        cycles = await world.cycles(20)
        assert cycles[-1].kind("a") is OutcomeKind.WITHHELD
        assert not world.sent


async def test_a_slow_list_delays_the_first_observation_at_most_and_is_used_when_it_arrives():
    async with cluster("8.19.4") as world:
        world.fail(LIST, calls=None, delay_s=4.0)
        cycles = await world.cycles(12)
        assert {cycle.period_s for cycle in cycles} <= {10.0, 30.0}
        assert paths(world) == [ENDPOINT]


async def test_a_list_that_never_arrives_does_not_hold_up_the_cycle(monkeypatch):
    monkeypatch.setattr(adapter, "CAPACITY_TIMEOUT_S", 0.01)
    async with cluster("8.19.4") as world:
        world.fail(LIST, calls=None, delay_s=3600.0)
        cycle = await world.hanging_cycle()
        assert cycle.observation is not None
        assert cycle.observation.owned == {}
        assert "have not been read yet" in cycle.observation.in_use["a"]
        await world.loop.observer.close()


# Never stopped


@pytest.mark.parametrize("answer", NO_ANSWERS.values(), ids=NO_ANSWERS)
@pytest.mark.parametrize("version", ["8.17", "8.19.4", "9.4"])
async def test_nothing_is_stopped_while_it_is_unknown(version, answer, tmp_path):
    async with cluster(version, STOPPING, rate_per_s=0.0, endpoints=[], tmp_path=tmp_path) as world:
        world.fail("/_inference/*", calls=None, **answer)
        cycles = await idle(world)
        assert not world.sent
        assert "inference endpoints may use it" in cycles[-1].text("a")
        world.faults.clear()
        await world.cycles(int(MAX_FAILING_INTERVAL_S / POLL_S) + 2)
        assert paths(world) == [STOP], "it is stopped once it is known that none uses it"


@pytest.mark.parametrize("version", [*UNGUARDED, "9.2", "9.5"])
@pytest.mark.parametrize("listed", [["a"], [attached()], ["a", attached()]], ids=lambda _: None)
async def test_nothing_is_stopped_that_an_endpoint_names(version, listed, tmp_path):
    """Also where the server would stop it: before 8.18.4 and 9.0.4."""
    async with cluster(
        version, STOPPING, rate_per_s=0.0, endpoints=listed, tmp_path=tmp_path
    ) as world:
        cycles = await idle(world)
        assert not world.sent
        assert "inference endpoint" in cycles[-1].text("a")


SETTINGS = {"num_allocations": 1, "num_threads": 1}
ENTRY = {"inference_id": "a", "task_type": "sparse_embedding", "service_settings": SETTINGS}
ODD_LISTS = {
    "service of 8.11": [ENTRY | {"service": "elser_mlnode"}],
    "service of 8.12": [ENTRY | {"service": "text_embedding"}],
    "unknown service": [ENTRY | {"service": "renamed"}],
    "two with one id": [
        ENTRY | {"service": "elasticsearch"},
        ENTRY | {"service": "elasticsearch", "service_settings": {"deployment_id": "b"}},
    ],
    "odd deployment": [
        ENTRY
        | {
            "inference_id": "b",
            "service": "elasticsearch",
            "service_settings": SETTINGS | {"deployment_id": ["a"]},
        }
    ],
}


@pytest.mark.parametrize("listed", ODD_LISTS.values(), ids=ODD_LISTS)
@pytest.mark.parametrize("version", ["8.12", "8.19.4", "9.5"])
async def test_nor_what_an_odd_endpoint_may_name(version, listed, tmp_path):
    async with cluster(version, STOPPING, rate_per_s=0.0, endpoints=[], tmp_path=tmp_path) as world:
        body = json.dumps({"endpoints": listed})
        world.fail(LIST, calls=None, status=200, body=body, content_type="application/json")
        cycles = await idle(world)
        assert not world.sent
        assert "inference endpoint" in cycles[-1].text("a")


@pytest.mark.parametrize("version", ["8.6", "8.12", "8.19.4", "9.5"])
async def test_nor_what_an_ingest_pipeline_names(version, tmp_path):
    async with cluster(version, STOPPING, rate_per_s=0.0, endpoints=[], tmp_path=tmp_path) as world:
        world.cluster.pipelines["logs"] = "a"
        cycles = await idle(world)
        assert not world.sent
        assert "an ingest pipeline uses it" in cycles[-1].text("a")
        world.cluster.pipelines.clear()
        await world.cycles(8)
        assert paths(world) == [STOP]


@pytest.mark.parametrize("version", ["8.12", "8.14.3"])
async def test_the_list_of_8_14_and_before_names_owners(version, tmp_path):
    async with cluster(version, STOPPING, rate_per_s=0.0, tmp_path=tmp_path) as world:
        cycles = await idle(world)
        assert cycles[-1].observation.owned == {"a": "a"}
        assert not world.sent


# Lists that leave endpoints out


@pytest.mark.parametrize("version", ["8.16", "8.17"])
async def test_an_owner_that_is_not_listed_is_found(version):
    async with cluster(version, endpoints=["a", attached("z")]) as world:
        status, listed = await world.request("GET", LIST)
        assert status == 200
        assert [each["inference_id"] for each in listed["endpoints"]] == ["z"]
        await world.cycles(12)
        assert world.attempts(ONE) >= 1
        assert paths(world) == through_endpoint(version)


async def test_a_deployment_that_is_used_and_not_owned_is_changed_there():
    async with cluster("8.17", endpoints=[attached("z")]) as world:
        await world.cycles(12)
        assert paths(world) == [DEPLOYMENT]


# Settings that were changed behind the endpoint's back


async def test_a_number_that_was_set_behind_its_back_is_corrected():
    """The endpoint has stored the requested number, so a request for it alone would do nothing."""
    governed = replace(rule(), external_change_hold_s=0.0)
    async with cluster("9.4", governed, endpoints=["a"]) as world:
        await world.cycles(12)
        assert world.requested("a") == 4
        world.cluster.update_deployment("a", number_of_allocations=2, internal=True)
        await world.cycles(12)
        assert world.requested("a") == 4
        assert [each.body["service_settings"] for each in world.sent] == [
            {"num_allocations": 4},
            {"adaptive_allocations": {"enabled": False}},
            {"num_allocations": 4},
        ]


async def test_an_endpoint_that_takes_numbers_only_is_bypassed_to_correct_it():
    """It would ignore the requested number, and refuses any setting that would clear it."""
    governed = replace(rule(), external_change_hold_s=0.0)
    async with cluster("9.1", governed, endpoints=["a"]) as world:
        vars(world.cluster.behaviour)["endpoint_keeps_settings"] = True  # as later versions do
        await world.cycles(12)
        assert world.requested("a") == 4
        world.cluster.update_deployment("a", number_of_allocations=2, internal=True)
        await world.cycles(12)
        assert world.requested("a") == 4
        assert [path for path in paths(world) if path == DEPLOYMENT] == [DEPLOYMENT]


@pytest.mark.parametrize("version", ["9.1", "9.4"])
async def test_a_new_daemon_corrects_it_after_one_update_without_effect(version):
    """The daemon has no record of the endpoint's settings: a list shows those of the deployment."""
    async with cluster(version, endpoints=["a"]) as world:
        vars(world.cluster.behaviour)["endpoint_keeps_settings"] = True  # as later versions do
        await world.cycles(12)
        world.kill()
        world.cluster.update_deployment("a", number_of_allocations=2, internal=True)
        cycles = await world.run_for(300.0)
        assert sum(len(cycle.plan.no_effect) for cycle in cycles) == 1
        assert world.requested("a") == 4
