"""Instances that share no disk: the next leader continues with the state of the former one, which
is in an index of the cluster."""

import asyncio

import pytest

from autoscaler.adapters.calendar import CronCalendar
from autoscaler.core.flow.cycle import begin_cycle
from autoscaler.ports import NotResumed
from autoscaler.simulation.emulator.faults import Fault, Reset
from autoscaler.simulation.loads import Steady
from tests.end_to_end.instances import (
    LEASE_PRIVILEGES,
    MAX_TAKEOVER_S,
    STATE_PRIVILEGES,
    TTL_S,
    Instance,
    world,
)
from tests.virtual_loop import run_in_virtual_time

SAVED = {
    "AUTOSCALER_STATE": "elasticsearch",
    "AUTOSCALER_DEFAULTS__POLICY": "slo",
}
INDEX = "autoscaler-state"


def replicas(tmp_path, count, *, privileges=STATE_PRIVILEGES, **options):
    granted = (*LEASE_PRIVILEGES, *privileges)
    return world(tmp_path, count, privileges=granted, **options, **SAVED)


def events(cluster, name):
    return [each["message"] for each in cluster.log if each["event"] == name]


def saved(cluster):
    return cluster.emulator.emulation.indices[INDEX].documents


@pytest.mark.parametrize("ends", [Instance.kill, Instance.stop])
@pytest.mark.parametrize("age_s", [30.0, 660.0])
def test_its_first_decision_is_that_of_the_former_leader(tmp_path, ends, age_s):
    """Whether it has followed for long or has just begun."""

    async def play():
        async with replicas(tmp_path, 1) as cluster:
            await cluster.until_led(MAX_TAKEOVER_S)
            cluster.emulator.emulation.start_load("e5", Steady(rate_per_s=90.0))
            await asyncio.sleep(690.0 - age_s)
            await cluster.start()
            await asyncio.sleep(age_s)
            (former,) = cluster.leaders
            await cluster.end_leader(ends)
            state, loop = former.controller._loop.state, former.controller._loop
            await cluster.until_led(MAX_TAKEOVER_S)
            (leader,) = cluster.leaders
            since = leader.controller.metrics.leadership.leading_since
            await asyncio.sleep(1.0)
            assert events(cluster, "state.opened")[-1].endswith(": 1 deployment, and 0 stopped")
            observation, plan = next(
                (seen, plan) for seen, plan, _ in leader.outcomes.cycles if plan.at >= since
            )
            expected = begin_cycle(
                state, observation, loop.ruleset, CronCalendar().open_at, {}
            ).plan
            assert plan.decisions == expected.decisions

            sent = leader.outcomes.kinds.count("accepted")
            await asyncio.sleep(300.0)
            assert leader.outcomes.kinds.count("accepted") == sent == 0
            assert not events(cluster, "deployment.changed")

    run_in_virtual_time(play())


def test_no_deployment_is_resumed_before_it_is_known_which_are_stopped(tmp_path):
    async def play():
        async with replicas(tmp_path, 1) as cluster:
            slow = Fault(path=f"/{INDEX}/_mget", delay_s=3.0)
            cluster.emulator.emulation.faults.add(slow)
            await cluster.until_led(MAX_TAKEOVER_S)
            (leader,) = cluster.leaders
            await asyncio.sleep(1.0)
            with pytest.raises(NotResumed, match="state is still being read; try again"):
                leader.controller.resume("e5")
            await asyncio.sleep(6.0)
            assert not leader.controller.resume("e5")  # it is not stopped

    run_in_virtual_time(play())


def test_what_is_stopped_is_not_known_while_the_state_cannot_be_read(tmp_path):
    async def play():
        async with replicas(tmp_path, 1) as cluster:
            fault = Fault(path=f"/{INDEX}/_mget", status=503, error_type="no_shard", calls=None)
            cluster.emulator.emulation.faults.add(fault)
            await cluster.until_led(MAX_TAKEOVER_S)
            (leader,) = cluster.leaders
            await asyncio.sleep(30.0)
            with pytest.raises(NotResumed, match="cannot be read, so that it is not known"):
                leader.controller.resume("e5")
            cluster.emulator.emulation.faults.clear()
            await asyncio.sleep(30.0)
            assert not leader.controller.resume("e5")

    run_in_virtual_time(play())


def test_only_the_leader_writes_and_only_what_has_changed(tmp_path):
    async def play():
        async with replicas(tmp_path, 3) as cluster:
            await cluster.until_led(MAX_TAKEOVER_S)
            await asyncio.sleep(120.0)
            (leader,) = cluster.leaders
            name = leader.controller.metrics.leadership.name
            documents = saved(cluster)
            assert {each.source["writer"] for each in documents.values()} == {name}
            assert documents.keys() == {"shared", "cluster", "deployments", "deployment:e5"}
            versions = {key: each.version for key, each in documents.items()}
            await asyncio.sleep(60.0)
            grown = {key for key, each in saved(cluster).items() if each.version > versions[key]}
            assert grown == {"shared", "deployment:e5"}
            values = [
                sample.value
                for each in cluster.instances
                for metric in each.controller.metrics.collect()
                for sample in metric.samples
                if sample.name == "autoscaler_state_saved"
            ]
            assert values == [1.0]  # of the leader alone

    run_in_virtual_time(play())


def test_a_former_leader_that_leads_again_continues_with_what_was_saved_since(tmp_path):
    async def play():
        async with replicas(tmp_path, 2) as cluster:
            await cluster.until_led(MAX_TAKEOVER_S)
            await asyncio.sleep(60.0)
            (first,) = cluster.leaders
            lease = Fault(path="/autoscaler-leases/*", status=503, error_type="x", calls=None)
            cluster.emulator.emulation.faults.add(lease)
            await asyncio.sleep(TTL_S + 5.0)
            assert cluster.leaders == []
            assert not first.controller._store.is_open
            cluster.emulator.emulation.faults.clear()
            await cluster.until_led(MAX_TAKEOVER_S)
            (leader,) = cluster.leaders
            await asyncio.sleep(30.0)
            name = leader.controller.metrics.leadership.name
            assert saved(cluster)["shared"].source["writer"] == name
            assert leader.metric("autoscaler_state_saved") == 1.0
            assert not events(cluster, "state.not_saved")

    run_in_virtual_time(play())


@pytest.mark.parametrize("missing", range(3))
def test_without_a_privilege_one_message_names_it_and_everything_else_goes_on(tmp_path, missing):
    """`delete` is only needed when a deployment is gone."""
    needed = [name for name in STATE_PRIVILEGES if "delete" not in name]
    privileges = [name for index, name in enumerate(needed) if index != missing]

    async def play():
        async with replicas(tmp_path, 1, privileges=privileges) as cluster:
            await cluster.until_led(MAX_TAKEOVER_S)
            await asyncio.sleep(900.0)
            messages = events(cluster, "state.unusable") + events(cluster, "state.not_saved")
            (message,) = messages
            assert "grant read, index, delete and create_index for the index" in message
            assert cluster.requested > 1
            (leader,) = cluster.leaders
            assert leader.metric("autoscaler_state_saved") == 0.0

    run_in_virtual_time(play())


def test_an_index_that_cannot_be_written_for_a_while_delays_nothing(tmp_path):
    async def play():
        async with replicas(tmp_path, 1) as cluster:
            await cluster.until_led(MAX_TAKEOVER_S)
            await asyncio.sleep(60.0)
            fault = Fault(path=f"/{INDEX}/*", status=429, error_type="x", calls=None)
            cluster.emulator.emulation.faults.add(fault)
            await asyncio.sleep(60.0)
            assert len(events(cluster, "state.not_saved")) == 1
            (leader,) = cluster.leaders
            assert leader.metric("autoscaler_state_saved") == 0.0
            cycles = len(leader.outcomes.cycles)
            await asyncio.sleep(60.0)
            assert len(leader.outcomes.cycles) - cycles >= 11
            cluster.emulator.emulation.faults.clear()
            await asyncio.sleep(60.0)
            assert len(events(cluster, "state.saved")) == 1
            assert leader.metric("autoscaler_state_saved") == 1.0

    run_in_virtual_time(play())


@pytest.mark.parametrize("reset", [Reset.BEFORE, Reset.AFTER])
def test_lost_responses_are_no_conflict(tmp_path, reset):
    async def play():
        async with replicas(tmp_path, 1) as cluster:
            await cluster.until_led(MAX_TAKEOVER_S)
            await asyncio.sleep(60.0)
            cluster.emulator.emulation.faults.add(
                Fault(path=f"/{INDEX}/_bulk", reset=reset, calls=3)
            )
            await asyncio.sleep(60.0)
            assert len(events(cluster, "state.opened")) == 1
            (leader,) = cluster.leaders
            assert leader.metric("autoscaler_state_saved") == 1.0

    run_in_virtual_time(play())


def test_an_index_that_is_deleted_is_written_again(tmp_path):
    async def play():
        async with replicas(tmp_path, 1) as cluster:
            await cluster.until_led(MAX_TAKEOVER_S)
            await asyncio.sleep(60.0)
            before = set(saved(cluster))
            del cluster.emulator.emulation.indices[INDEX]
            await asyncio.sleep(60.0)
            assert set(saved(cluster)) == before
            (leader,) = cluster.leaders
            assert leader.metric("autoscaler_state_saved") == 1.0
            assert leader.controller._loop.state.cold_start_s is None or cluster.requested > 1

    run_in_virtual_time(play())


def test_a_document_of_a_later_release_is_left_alone(tmp_path):
    async def play():
        async with replicas(tmp_path, 1) as cluster:
            index = cluster.emulator.emulation.indices
            await cluster.until_led(MAX_TAKEOVER_S)
            await asyncio.sleep(60.0)
            (leader,) = cluster.leaders
            await cluster.end_leader(Instance.stop)
            later = {"autoscaler_state": 2, "name": "shared"}
            index[INDEX].write("shared", later)
            await cluster.start()
            await cluster.until_led(MAX_TAKEOVER_S)
            await asyncio.sleep(120.0)
            assert saved(cluster)["shared"].source == later
            (message,) = events(cluster, "state.unusable")
            assert "shared is of version 2, and this program reads version 1" in message
            (leader,) = cluster.leaders
            assert leader.metric("autoscaler_state_saved") == 0.0

    run_in_virtual_time(play())


def test_the_state_of_another_cluster_is_not_used(tmp_path):
    """As after the restore of a snapshot."""

    async def play():
        async with replicas(tmp_path, 1) as cluster:
            await cluster.until_led(MAX_TAKEOVER_S)
            await asyncio.sleep(600.0)
            await cluster.end_leader(Instance.stop)
            cluster.emulator.emulation.uuid = "another-cluster-uuid00"
            await cluster.start()
            await cluster.until_led(MAX_TAKEOVER_S)
            await asyncio.sleep(60.0)
            (message,) = events(cluster, "state.other_cluster")
            assert message.startswith(f"the state in the index {INDEX} is of another cluster, ")
            (leader,) = cluster.leaders
            assert leader.controller._loop.state.cold_start_s is not None

    run_in_virtual_time(play())
