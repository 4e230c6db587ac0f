"""What other clients, operators and hardware do to the cluster and the daemon."""

import random
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from msgspec.structs import replace

from autoscaler.core.instructions import PausedChanges
from autoscaler.simulation.cluster import AdaptivePatch
from autoscaler.simulation.emulator.emulation import InferenceEndpoint
from autoscaler.simulation.errors import SimulatedApiError
from tests.chaos.settings import load_of

if TYPE_CHECKING:
    from tests.chaos.laboratory import Laboratory

Happening = Callable[["Laboratory", random.Random], None]


def _deployment(laboratory: "Laboratory", rng: random.Random) -> str | None:
    deployments = sorted(laboratory.cluster.deployments)
    return rng.choice(deployments) if deployments else None


def silence_node(laboratory: "Laboratory", rng: random.Random) -> None:
    """The statistics of a node are missing from some responses."""
    nodes = sorted(laboratory.cluster.nodes)
    laboratory.emulation.faults.swallow(rng.choice(nodes), rng.choice((1, 1, 2, 5, 30)))


def crash_process(laboratory: "Laboratory", rng: random.Random) -> None:
    """A process ends, and its counters begin again."""
    name = _deployment(laboratory, rng)
    if name is not None and (routes := laboratory.cluster.deployments[name].routes):
        laboratory.cluster.crash_process(name, rng.choice(sorted(routes)))


def lose_node(laboratory: "Laboratory", rng: random.Random) -> None:
    nodes = sorted(laboratory.cluster.nodes)
    if len(nodes) > 1:
        laboratory.cluster.remove_node(rng.choice(nodes))


def return_node(laboratory: "Laboratory", rng: random.Random) -> None:
    absent = [n for n in laboratory.nodes.values() if n.node_id not in laboratory.cluster.nodes]
    if absent:
        laboratory.cluster.add_node(rng.choice(absent))


def shrink_node(laboratory: "Laboratory", rng: random.Random) -> None:
    """A node restarts with fewer processors."""
    node = laboratory.cluster.nodes[rng.choice(sorted(laboratory.cluster.nodes))]
    if node.processors > 1:
        laboratory.cluster.remove_node(node.node_id)
        laboratory.cluster.add_node(replace(node, processors=node.processors - 1))


def restart_cluster(laboratory: "Laboratory", rng: random.Random) -> None:
    """All nodes restart together; only the assignments survive."""
    nodes = list(laboratory.cluster.nodes.values())
    for node in nodes:
        laboratory.cluster.remove_node(node.node_id)
    for node in nodes:
        laboratory.cluster.add_node(node)


def lose_master(laboratory: "Laboratory", rng: random.Random) -> None:
    laboratory.emulation.has_master = not laboratory.emulation.has_master


def upgrade_mode(laboratory: "Laboratory", rng: random.Random) -> None:
    laboratory.cluster.upgrade_mode = not laboratory.cluster.upgrade_mode


def licence_expires(laboratory: "Laboratory", rng: random.Random) -> None:
    laboratory.emulation.licence_expired = not laboratory.emulation.licence_expired


def block_writes(laboratory: "Laboratory", rng: random.Random) -> None:
    laboratory.emulation.writes_blocked = not laboratory.emulation.writes_blocked


def mix_versions(laboratory: "Laboratory", rng: random.Random) -> None:
    node = rng.choice(sorted(laboratory.cluster.nodes))
    laboratory.emulation.set_version(node, rng.choice((None, "9.6.0")))


def recreate_deployment(laboratory: "Laboratory", rng: random.Random) -> None:
    """Another client stops a deployment and starts it with other parameters."""
    if (name := _deployment(laboratory, rng)) is not None:
        laboratory.stop_deployment(name)
        laboratory.start_deployment(
            name, allocations=rng.randint(1, 8), threads=rng.choice((1, 1, 2))
        )


def delete_deployment(laboratory: "Laboratory", rng: random.Random) -> None:
    if (name := _deployment(laboratory, rng)) is not None:
        laboratory.stop_deployment(name)


def create_deployment(laboratory: "Laboratory", rng: random.Random) -> None:
    missing = sorted(laboratory.cluster.models.keys() - laboratory.cluster.deployments.keys())
    if missing:
        laboratory.start_deployment(rng.choice(missing), allocations=rng.randint(1, 3), threads=1)


def change_allocations(laboratory: "Laboratory", rng: random.Random) -> None:
    if (name := _deployment(laboratory, rng)) is not None:
        laboratory.cluster.update_deployment(name, number_of_allocations=rng.randint(1, 8))


def switch_adaptive(laboratory: "Laboratory", rng: random.Random) -> None:
    if not laboratory.cluster.behaviour.adaptive_allocations:
        return
    if (name := _deployment(laboratory, rng)) is not None:
        adaptive = laboratory.cluster.deployments[name].adaptive
        enabled = not (adaptive is not None and adaptive.enabled)
        patch = AdaptivePatch(enabled=enabled, max_number_of_allocations=rng.randint(1, 8))
        laboratory.cluster.update_deployment(name, adaptive=patch)


def own_by_endpoint(laboratory: "Laboratory", rng: random.Random) -> None:
    """An inference endpoint appears that owns or uses a deployment; or one that cannot be read."""
    if (name := _deployment(laboratory, rng)) is None:
        return
    if not laboratory.cluster.behaviour.inference_api:
        return
    if laboratory.emulation.endpoints and rng.random() < 0.5:
        laboratory.emulation.remove_endpoint(rng.choice(sorted(laboratory.emulation.endpoints)))
        return
    owned = rng.random() < 0.5
    laboratory.emulation.add_endpoint(
        InferenceEndpoint(
            inference_id=name if owned else f"endpoint-{name}",
            model_id=laboratory.cluster.deployments[name].model_id,
            deployment_id=None if owned else name,
            broken=rng.random() < 0.3,
        )
    )


def change_load(laboratory: "Laboratory", rng: random.Random) -> None:
    if (name := _deployment(laboratory, rng)) is not None:
        model = laboratory.cluster.deployments[name].model
        laboratory.set_load(name, load_of(model.service_time_s, rng))


def stop_load(laboratory: "Laboratory", rng: random.Random) -> None:
    if (name := _deployment(laboratory, rng)) is not None:
        laboratory.set_load(name, None)


def undo_updates(laboratory: "Laboratory", rng: random.Random) -> None:
    """The next updates are accepted, and have no effect."""
    laboratory.undone_updates = rng.randint(1, 3)


def rotate_credentials(laboratory: "Laboratory", rng: random.Random) -> None:
    laboratory.rotate_credentials(valid_s=rng.choice((0.0, 20.0)), late_s=rng.uniform(0.0, 200.0))


def change_rules(laboratory: "Laboratory", rng: random.Random) -> None:
    laboratory.change_rules()


def suspend(laboratory: "Laboratory", rng: random.Random) -> None:
    """The daemon is suspended, in the middle of whatever it does."""
    laboratory.suspend(rng.choice((3.0, 12.0, 45.0, 400.0)))


def suspend_before_change(laboratory: "Laboratory", rng: random.Random) -> None:
    """The daemon is suspended when it has decided its next change and has not sent it yet."""
    seconds = rng.choice((60.0, 400.0))
    laboratory.before_change = lambda: laboratory.suspend(seconds)


def kill_before_change(laboratory: "Laboratory", rng: random.Random) -> None:
    """The daemon is killed when it has recorded its next change and has not sent it yet."""
    down_s = rng.choice((0.1, 1.0, 30.0, 300.0))
    laboratory.before_change = lambda: laboratory.kill(down_s)


def kill(laboratory: "Laboratory", rng: random.Random) -> None:
    """The daemon is killed, and another starts."""
    laboratory.kill(rng.choice((0.1, 1.0, 30.0, 300.0)))


def resume_stopped(laboratory: "Laboratory", rng: random.Random) -> None:
    laboratory.resume_stopped()


def pause(laboratory: "Laboratory", rng: random.Random) -> None:
    """An operator holds everything, or one direction, of a deployment or of all."""
    name = rng.choice((_deployment(laboratory, rng), None))
    changes = rng.choice((PausedChanges.EVERYTHING, *PausedChanges))
    laboratory.pause(name, changes, rng.choice((60.0, 300.0, 1_200.0)))


def unpause(laboratory: "Laboratory", rng: random.Random) -> None:
    laboratory.unpause()


def override(laboratory: "Laboratory", rng: random.Random) -> None:
    """An operator sets a number for a deployment, within the bounds or not."""
    name = _deployment(laboratory, rng)
    if name is not None:
        laboratory.override(name, rng.randrange(0, 12), rng.choice((60.0, 300.0)))


def resume_rollouts(laboratory: "Laboratory", rng: random.Random) -> None:
    """An operator resumes each gradual rollout that waits or has been reverted."""
    for name in sorted(laboratory.cluster.deployments):
        laboratory.resume_rollout(name)


def fill_disk(laboratory: "Laboratory", rng: random.Random) -> None:
    laboratory.fill_disk(rng.choice((20.0, 200.0)))


def fill_disk_for_long(laboratory: "Laboratory", rng: random.Random) -> None:
    laboratory.fill_disk(rng.choice((600.0, 1_200.0)))


HAPPENINGS: Mapping[str, Happening] = {
    happening.__name__: happening
    for happening in (
        silence_node,
        crash_process,
        lose_node,
        return_node,
        shrink_node,
        restart_cluster,
        lose_master,
        upgrade_mode,
        licence_expires,
        block_writes,
        mix_versions,
        recreate_deployment,
        delete_deployment,
        create_deployment,
        change_allocations,
        switch_adaptive,
        own_by_endpoint,
        change_load,
        stop_load,
        undo_updates,
        rotate_credentials,
        change_rules,
        suspend,
        suspend_before_change,
        kill,
        kill_before_change,
        resume_stopped,
        pause,
        unpause,
        override,
        resume_rollouts,
        fill_disk,
        fill_disk_for_long,
    )
}


def happen(kind: str, laboratory: "Laboratory", rng: random.Random) -> None:
    """Let something happen, unless the cluster refuses it."""
    try:
        HAPPENINGS[kind](laboratory, rng)
    except SimulatedApiError:
        return
