"""A cluster that is another one after a while: its version, nodes, licence, security or privileges.

The daemon reports it in one sentence, and adapts to the cluster as it is now."""

import asyncio
import json

import pytest
from msgspec.structs import replace

from autoscaler.adapters.elasticsearch.cluster import MAX_FAILING_INTERVAL_S
from autoscaler.preflight_loop import (
    MAX_UNFINISHED_INTERVAL_S,
    PREFLIGHT_INTERVAL_S,
    REJECTED_INTERVAL_S,
)
from autoscaler.simulation.emulator.faults import Fault
from autoscaler.simulation.scenario import (
    Account,
    ScenarioEndpoint,
    SecuritySettings,
)
from autoscaler.simulation.specs import NodeSpec
from autoscaler.simulation.versions import behaviour_of
from tests.test_daemon import SCENARIO, running

USER = {
    "AUTOSCALER_ELASTICSEARCH__USERNAME": "scaler",
    "AUTOSCALER_ELASTICSEARCH__PASSWORD": "secret",
}
SECURED = replace(
    SCENARIO,
    security=SecuritySettings(
        accounts=[Account(username="scaler", password="secret", roles=["scaling"])],
        roles={"scaling": ["monitor_ml", "manage_ml", "monitor"]},
    ),
)
UP = "*"


def upgrade(setup, version):
    """The whole cluster runs another version, as after a restart or a restore."""
    setup.emulator.cluster.behaviour = behaviour_of(version)


def changes(setup):
    return setup.messages("cluster.changed")


async def down_for(setup, seconds):
    faults = setup.emulator.emulation.faults
    faults.add(Fault(path=UP, calls=None, status=503))
    await setup.clock.advance(seconds)
    faults.clear()


@pytest.mark.parametrize(
    ("before", "after"), [("8.19.3", "9.4.2"), ("9.4.2", "8.19.3"), ("9.3.5", "9.3.8")]
)
async def test_another_version_is_named_in_one_sentence(tmp_path, before, after):
    async with running(tmp_path, replace(SCENARIO, version=before)) as setup:
        await setup.clock.advance(120.0)
        upgrade(setup, after)
        await setup.clock.advance(REJECTED_INTERVAL_S + 70.0)
        assert changes(setup) == [f"the cluster is now {after}, was {before}"]
        await setup.clock.advance(PREFLIGHT_INTERVAL_S)
        assert len(changes(setup)) == 1


async def test_it_is_noticed_at_once_when_the_cluster_comes_back(tmp_path):
    async with running(tmp_path, replace(SCENARIO, version="8.19.3")) as setup:
        await setup.clock.advance(120.0)
        upgrade(setup, "9.4.2")
        await down_for(setup, 60.0)
        await setup.clock.advance(40.0)
        assert changes(setup) == ["the cluster is now 9.4.2, was 8.19.3"]


async def test_a_version_without_updates_is_only_observed_until_it_is_upgraded_again(tmp_path):
    bounds = """
[elasticsearch]
hosts = ["{url}"]
[server]
port = 0
[[rules]]
name = "all"
mode = "bounds"
max_allocations = 8
"""
    async with running(tmp_path, replace(SCENARIO, version="9.4"), config=bounds) as setup:
        await setup.clock.advance(60.0)
        accepted = len(setup.messages("update.accepted"))
        assert accepted
        setup.emulator.cluster.update_deployment("e5", adaptive=None, internal=True)
        upgrade(setup, "8.15")
        await setup.clock.advance(REJECTED_INTERVAL_S + 70.0)
        assert "8.15.0 has no adaptive allocations" in setup.messages("cluster.observe_only")[-1]
        await setup.clock.advance(300.0)
        upgrade(setup, "8.18")
        await setup.clock.advance(2.0 * REJECTED_INTERVAL_S)
        assert changes(setup) == [
            "the cluster is now 8.15.0, was 9.4.0",
            "the cluster is now 8.18.0, was 8.15.0",
        ]


async def test_during_a_rolling_upgrade_the_version_is_named_once_at_the_end(tmp_path):
    nodes = [replace(SCENARIO.nodes[0], name=f"ml-{n}") for n in (1, 2, 3)]
    async with running(tmp_path, replace(SCENARIO, version="9.3.5", nodes=nodes)) as setup:
        await setup.clock.advance(120.0)
        emulation = setup.emulator.emulation
        for name in ("ml-1", "ml-2"):
            emulation.set_version(name, "9.4.2")
            await setup.clock.advance(180.0)
        assert changes(setup) == []
        for name in ("ml-1", "ml-2"):
            emulation.set_version(name, None)
        upgrade(setup, "9.4.2")
        await setup.clock.advance(200.0)
        assert changes(setup) == ["the cluster is now 9.4.2, was 9.3.5"]


async def test_another_cluster_at_the_same_address_is_named_and_its_owners_are_read(tmp_path):
    owned = replace(SCENARIO, version="9.4", endpoints=[ScenarioEndpoint(inference_id="e5")])
    async with running(tmp_path, owned) as setup:
        await setup.clock.advance(120.0)
        emulation = setup.emulator.emulation
        emulation.name, emulation.uuid = "restored", "another-uuid"
        emulation.remove_endpoint("e5")
        await down_for(setup, 30.0)
        await setup.clock.advance(70.0)
        (sentence,) = changes(setup)
        assert sentence == (
            "another cluster responds at this address: restored (another-uuid), before emulated "
            "(emulated-cluster-uuid)"
        )
        requested = setup.requested
        emulation.start_load("e5", replace(SCENARIO.deployments[0].load, rate_per_s=120.0))
        await setup.clock.advance(60.0)
        assert setup.requested > requested
        assert setup.messages("update.refused") == []


@pytest.mark.parametrize("uuid", ["x" * 22, "", "emulated-clxster-uuid"])
async def test_one_response_of_another_cluster_is_a_damaged_one(tmp_path, uuid):
    """For another cluster, all would be forgotten, the stopped deployments included."""
    variables = {"AUTOSCALER_STATE": "sqlite", "AUTOSCALER_STATE_DIR": str(tmp_path / "state")}
    async with running(tmp_path, **variables) as setup:
        await setup.clock.advance(120.0)
        response = json.dumps(
            {
                "name": "ml-1",
                "cluster_name": "emulated",
                "cluster_uuid": uuid,
                "version": {"number": "9.2.0"},
            }
        )
        setup.emulator.emulation.faults.add(
            Fault(path="/", status=200, body=response, content_type="application/json")
        )
        await setup.clock.advance(2.0 * PREFLIGHT_INTERVAL_S)
        assert setup.emulator.emulation.faults.active == (), "it was read"
        assert changes(setup) == []
        assert setup.messages("state.other_cluster") == []


async def test_other_nodes_are_named(tmp_path):
    async with running(tmp_path) as setup:
        await setup.clock.advance(70.0)
        cluster = setup.emulator.cluster
        cluster.add_node(NodeSpec(node_id="ml-2", name="ml-2", processors=8))
        await setup.clock.advance(70.0)
        cluster.remove_node("ml-1")
        await setup.clock.advance(70.0)
        assert setup.messages("cluster.nodes_changed") == [
            "the cluster has 2 machine-learning nodes now: ml-2 joined",
            "the cluster has 1 machine-learning node now: ml-1 left",
        ]
        _, text = await setup.get("/metrics")
        assert 'autoscaler_cluster_changes_total{kind="nodes"} 2.0' in text
        assert 'autoscaler_cluster_changes_total{kind="version"} 0.0' in text


async def test_a_licence_that_expires_and_is_renewed(tmp_path):
    async with running(tmp_path, SECURED, **USER) as setup:
        await setup.clock.advance(60.0)
        emulation = setup.emulator.emulation
        emulation.licence_expired = True
        emulation.start_load("e5", replace(SCENARIO.deployments[0].load, rate_per_s=120.0))
        await setup.clock.advance(PREFLIGHT_INTERVAL_S + 60.0)
        assert "expired" in changes(setup)[-1]
        assert "licence" in setup.messages("cluster.observe_only")[-1]
        requested = setup.requested
        emulation.licence_expired = False
        await setup.clock.advance(REJECTED_INTERVAL_S + 20.0)
        assert len(changes(setup)) == 2
        assert setup.requested > requested, "the back-off after the refusal has ended as well"


async def test_a_privilege_that_is_withdrawn_and_granted_again(tmp_path):
    async with running(tmp_path, SECURED, **USER) as setup:
        await setup.clock.advance(60.0)
        roles = setup.emulator.emulation.security.roles
        roles["scaling"] = ("monitor_ml", "monitor")
        load = SCENARIO.deployments[0].load
        setup.emulator.emulation.start_load("e5", replace(load, rate_per_s=120.0))
        await setup.clock.advance(2.0 * REJECTED_INTERVAL_S)
        assert changes(setup) == ["scaler no longer has the cluster privilege manage_ml"]
        refused = len(setup.messages("update.refused"))
        await setup.clock.advance(300.0)
        assert len(setup.messages("update.refused")) == refused <= 1
        roles["scaling"] = ("monitor_ml", "manage_ml", "monitor")
        requested = setup.requested
        await setup.clock.advance(REJECTED_INTERVAL_S + 20.0)
        assert changes(setup)[1:] == ["scaler has the cluster privilege manage_ml now"]
        assert setup.levels("cluster.changed") == ["warning", "info"], "a gain is no warning"
        assert setup.requested > requested


@pytest.mark.parametrize("listed", [True, False], ids=["listed", "not listed"])
async def test_the_privilege_for_deployments_of_endpoints(tmp_path, listed):
    """Without it they are observed only, and the words for that are the same everywhere."""
    usual = ("monitor_ml", "manage_ml", *(["monitor"] if listed else []))  # it includes the list
    owned = replace(
        SECURED,
        version="9.4",
        endpoints=[ScenarioEndpoint(inference_id="e5")],
        security=replace(SECURED.security, roles={"scaling": [*usual]}),
    )
    async with running(tmp_path, owned, **USER) as setup:
        await setup.clock.advance(2.0 * REJECTED_INTERVAL_S)
        requested = setup.requested
        load = SCENARIO.deployments[0].load
        setup.emulator.emulation.start_load("e5", replace(load, rate_per_s=120.0))
        await setup.clock.advance(300.0)
        (message,) = setup.messages("cluster.observe_only")
        assert "lacks the cluster privilege manage_inference; grant manage_inference" in message
        assert len(setup.messages("cluster.problem")) == (0 if listed else 1)
        assert len(setup.messages("update.refused")) == (0 if listed else 1)
        _, metrics = await setup.get("/metrics")
        assert 'autoscaler_observe_only{deployment="e5",reason="privilege"} 1.0' in metrics
        _, found = await setup.get("/decisions/e5")
        assert '"kind":"observe_only"' in found
        assert setup.requested == requested
        roles = setup.emulator.emulation.security.roles
        roles["scaling"] = (*usual, "manage_inference")
        await setup.clock.advance(REJECTED_INTERVAL_S + 30.0)
        assert setup.requested > requested
        _, metrics = await setup.get("/metrics")
        assert 'autoscaler_observe_only{deployment="e5"' not in metrics


async def test_security_that_is_disabled(tmp_path):
    async with running(tmp_path, SECURED, **USER) as setup:
        await setup.clock.advance(60.0)
        setup.emulator.emulation.security = None
        await down_for(setup, 30.0)
        await setup.clock.advance(70.0)
        assert changes(setup) == ["security is now disabled"]


async def test_a_check_that_fails_half_way_keeps_what_was_found(tmp_path):
    roles = {"scaling": ["monitor_ml", "monitor"]}
    watched = replace(SECURED, security=replace(SECURED.security, roles=roles))
    async with running(tmp_path, watched, **USER) as setup:
        await setup.clock.advance(60.0)
        faults = setup.emulator.emulation.faults
        faults.add(Fault(path="/_security/*", calls=None, status=503))
        await setup.clock.advance(600.0)
        assert setup.messages("update.refused") == []
        assert changes(setup) == []


async def test_a_check_that_fails_is_repeated_less_and_less_often(tmp_path):
    """After a minute, two and four, and then every five minutes."""
    async with running(tmp_path, SECURED, **USER) as setup:
        await setup.clock.advance(60.0)
        faults = setup.emulator.emulation.faults
        faults.add(Fault(path="/_license", calls=1_000, status=502))
        setup.daemon.reload()
        await setup.clock.advance(1_200.0)
        attempts = 1_000 - faults.active[0].calls
        assert attempts == 6 * 3, "after 0, 1, 3, 7, 12 and 17 minutes, with two repetitions each"


async def test_a_check_that_failed_is_repeated_within_five_minutes(tmp_path):
    async with running(tmp_path, SECURED, **USER) as setup:
        await setup.clock.advance(60.0)
        faults = setup.emulator.emulation.faults
        faults.add(Fault(path="/_license", calls=None, status=502))
        setup.daemon.reload()
        await setup.clock.advance(600.0)
        assert len(setup.messages("cluster.problem")) == 1
        setup.emulator.emulation.security.roles["scaling"] = ("monitor_ml", "monitor")
        faults.clear()
        await setup.clock.advance(MAX_UNFINISHED_INTERVAL_S + 1.0)
        assert changes(setup) == ["scaler no longer has the cluster privilege manage_ml"]


async def test_endpoints_that_can_no_longer_be_listed_are_warned_of_once(tmp_path):
    async with running(tmp_path, replace(SCENARIO, version="8.19.4")) as setup:
        await setup.clock.advance(90.0)
        faults = setup.emulator.emulation.faults
        bad = {"status": 500, "error_type": "status_exception", "body": "Unknown service [gone]"}
        faults.add(Fault(path="/_inference/*", calls=None, **bad))
        await setup.clock.advance(600.0)
        (message,) = setup.messages("endpoints.unknown")
        assert "Unknown service [gone]" in message
        assert "nothing is stopped" in message
        faults.clear()
        await setup.clock.advance(MAX_FAILING_INTERVAL_S)
        assert len(setup.messages("endpoints.known")) == 1


async def test_nodes_that_cannot_be_read_are_warned_of_once_with_the_time_to_the_next_attempt(
    tmp_path,
):
    async with running(tmp_path) as setup:
        await setup.clock.advance(30.0)
        faults = setup.emulator.emulation.faults
        faults.add(Fault(path="/_nodes/*", calls=None, status=500, body="oops"))
        await setup.clock.advance(1_200.0)
        (message,) = setup.messages("cluster.read_failed")
        assert message.startswith(
            "cluster: the nodes cannot be read, and the next attempt is in 60 s"
        )
        assert "further ones at most every 5 min" in message
        faults.clear()
        await setup.clock.advance(MAX_FAILING_INTERVAL_S)
        assert setup.messages("cluster.read_recovered") == ["cluster: the nodes can be read again"]


async def test_a_daemon_that_has_stopped_everything_does_not_miss_it(tmp_path):
    stopped = tmp_path / "stopped"
    config = f"""
state_dir = "{stopped}"
[elasticsearch]
hosts = ["{{url}}"]
[server]
port = 0
[[rules]]
name = "all"
max_allocations = 8
scale_to_zero = {{ after = "1m", via = "stop" }}
"""
    idle = replace(SCENARIO, deployments=[replace(SCENARIO.deployments[0], load=None)])
    async with running(tmp_path, idle, config=config) as setup:
        await setup.clock.advance(300.0)
        assert not setup.emulator.cluster.deployments
        setup.daemon.stop()
        await setup.task
        nothing = replace(idle, deployments=[])
        setup.task = asyncio.ensure_future(asyncio.sleep(0))
    async with running(tmp_path, nothing, config=config) as setup:
        await setup.clock.advance(30.0)
        assert setup.messages("cluster.problem") == []


async def test_a_defect_in_a_check_is_logged_at_once_and_ends_nothing(tmp_path, monkeypatch):
    async def broken(*_, **__):
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("autoscaler.preflight_loop.inspect", broken)
    async with running(tmp_path) as setup:
        await setup.clock.advance(30.0)
        (message,) = setup.messages("cluster.check_failed")
        assert "a defect" in message
        monkeypatch.undo()
        await setup.clock.advance(60.0)
        assert setup.requested == 5


async def test_a_cluster_that_stays_as_it_is_is_checked_rarely(tmp_path):
    async with running(tmp_path, SECURED, **USER) as setup:
        log = []
        faults = setup.emulator.emulation.faults
        strike = faults.strike
        faults.strike = lambda method, path: log.append(path) or strike(method, path)
        await setup.clock.advance(2.0 * PREFLIGHT_INTERVAL_S + 30.0)
        assert log.count("/_license") == 3
        assert changes(setup) == []
