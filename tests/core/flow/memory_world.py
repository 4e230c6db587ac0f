"""Nodes whose processes use memory, and a planner that ignores it.

A process uses a fixed part and a part for each of its allocations, which shows only when that
allocation has served some requests. It keeps what it has used. What is reported has noise.

`python -m tests.core.flow.memory_world 10000` prints the figures of as many runs.
"""

import random
import sys
from typing import ClassVar, NamedTuple

from autoscaler.core.decision import Outcome, OutcomeKind, SetAllocations
from autoscaler.core.flow.cycle import begin_cycle, end_cycle
from autoscaler.core.flow.planning import Ruleset
from autoscaler.core.state import State
from autoscaler.core.values import (
    Cluster,
    DeploymentStats,
    NodeCapacity,
    NodeStats,
    Observation,
    Reason,
    Step,
    Value,
)
from tests.observations import rule

MIB = 2**20
GIB = 2**30
OVERHEAD = 30 * MIB
CYCLES = 60
GROWTH_REQUESTS = 8.0
"""Requests after which an allocation has shown about two thirds of its memory."""


class Recommending(Value, frozen=True, kw_only=True):
    """A policy that recommends a given count."""

    name: ClassVar[str] = "recommending"
    load_window_s: ClassVar[float] = 60.0

    allocations: int

    def begin(self):
        return None

    def recommend(self, situation, memory):
        return Step(Reason.RECOMMENDATION, situation.current, self.allocations), memory


class Model:
    """What the processes of one deployment use."""

    def __init__(self, rng, number):
        self.name = f"d{number}"
        self.elser = rng.random() < 0.5
        self.model_id = ".elser_model_2" if self.elser else f"m{number}"
        size = 438 * MIB if self.elser else rng.choice([120, 400, 1200]) * MIB
        self.fixed = int(size * rng.uniform(1.0, 1.6)) + rng.randint(100, 300) * MIB
        each = rng.uniform(0.6, 1.8) * GIB if self.elser else rng.uniform(0.1, 1.0) * size
        self.each = int(each)
        self.required = 2004 * MIB if self.elser else 240 * MIB + 2 * size
        self.threads = rng.choice([1, 1, 2])
        self.rate = rng.choice([0.5, 3.0, 20.0])  # requests per second and allocation
        self.noise = rng.choice([0.0, 0.01])

    def used(self, allocations):
        return self.fixed + self.each * allocations if allocations else 0


class Process:
    def __init__(self, at, allocations):
        self.started_at = at
        self.allocations = allocations
        self.shown = [0.0] * allocations  # requests that each allocation has served
        self.completed = 0.0

    def resize(self, allocations):
        self.allocations = allocations
        self.shown += [0.0] * (allocations - len(self.shown))

    def serve(self, requests):
        for index in range(self.allocations):
            self.shown[index] += requests
        self.completed += requests * self.allocations

    def bytes_used(self, model, rng):
        grown = sum(1.0 - 2.0 ** (-2.0 * served / GROWTH_REQUESTS) for served in self.shown)
        return int((model.fixed + model.each * grown) * (1.0 - rng.uniform(0.0, model.noise)))


class Run(NamedTuple):
    """What came of one run."""

    exceeded: tuple[str, ...]  # the raises that took a node over its memory
    granted: int  # allocations that run at the end
    refused: int  # that would have fitted


class World:
    def __init__(self, seed, *, scattered):
        self.rng = rng = random.Random(seed)
        self.scattered = scattered  # whether the planner chooses among equal nodes at random
        count = rng.choice([1, 1, 2, 3])
        self.processors = rng.choice([8, 16])
        self.memory = int(rng.uniform(4.0, 24.0) * GIB)
        self.nodes = [f"n{number}" for number in range(count)]
        self.jobs = rng.choice([0, 0, 512 * MIB])
        self.growable = rng.choice([False, False, None])
        self.models = [Model(rng, number) for number in range(rng.choice([1, 1, 2]))]
        self.processes = {model.name: {} for model in self.models}
        self.requested = dict.fromkeys(self.processes, 0)
        self.wanted = {}
        self.at = 1_000.0
        for model in self.models:
            self.raise_to(model, 1)
            if rng.random() < 0.5:  # it runs on all nodes, as where zones are balanced
                self.spread(model)
            self.wanted[model.name] = rng.randint(2, 16 * count)

    def free_threads(self, node_id):
        return self.processors - sum(
            process.allocations * model.threads
            for model in self.models
            if (process := self.processes[model.name].get(node_id)) is not None
        )

    def planner_free(self, node_id):
        planned = sum(m.required for m in self.models if node_id in self.processes[m.name])
        return max(0, self.memory - self.jobs - planned - (OVERHEAD if planned else 0))

    def next_node(self, model):
        """Where the planner places one more allocation; None: nowhere."""
        processes = self.processes[model.name]
        free = {n: self.free_threads(n) for n in self.nodes}
        fitting = [n for n in self.nodes if free[n] >= model.threads]
        running = [n for n in fitting if n in processes]
        if running:
            if self.scattered:
                return self.rng.choice(running)
            return max(running, key=lambda n: free[n])
        possible = [n for n in fitting if self.planner_free(n) >= model.required + OVERHEAD]
        return max(possible, key=lambda n: free[n], default=None)

    def raise_to(self, model, allocations):
        """All or nothing; whether it was accepted."""
        placed = dict(self.counts(model))
        while sum(placed.values()) < allocations:
            node_id = self.next_node(model)
            if node_id is None:
                self.set_counts(model, dict(self.counts(model)))
                return False
            placed[node_id] = placed.get(node_id, 0) + 1
            self.set_counts(model, placed)
        self.requested[model.name] = allocations
        return True

    def spread(self, model):
        """One allocation on each node that the planner has memory for."""
        counts = dict(self.counts(model))
        for node_id in self.nodes:
            if node_id not in counts and self.planner_free(node_id) >= model.required + OVERHEAD:
                counts[node_id] = 1
        self.set_counts(model, counts)
        self.requested[model.name] = sum(counts.values())

    def counts(self, model):
        return {n: p.allocations for n, p in self.processes[model.name].items()}

    def set_counts(self, model, counts):
        processes = self.processes[model.name]
        for node_id, allocations in counts.items():
            if node_id in processes:
                processes[node_id].resize(allocations)
            else:
                processes[node_id] = Process(self.at, allocations)
        for node_id in set(processes) - set(counts):
            del processes[node_id]

    def over_memory(self):
        """The nodes whose processes use more than they have once all memory has shown."""
        return [
            n
            for n in self.nodes
            if OVERHEAD
            + self.jobs
            + sum(
                model.used(len(process.shown))
                for model in self.models
                if (process := self.processes[model.name].get(n)) is not None
            )
            > self.memory
        ]

    def observation(self):
        deployments = {}
        for model in self.models:
            nodes = tuple(
                NodeStats(
                    node_id=node_id,
                    routing_state="started",
                    server_started_at=process.started_at,
                    allocations=process.allocations,
                    threads_per_allocation=model.threads,
                    completed=int(process.completed),
                    busy_s=int(process.completed) * 0.04,
                    mean_inference_s=0.04,
                    memory_bytes=process.bytes_used(model, self.rng),
                )
                for node_id, process in self.processes[model.name].items()
            )
            running = sum(node.allocations or 0 for node in nodes)
            deployments[model.name] = DeploymentStats(
                deployment_id=model.name,
                model_id=model.model_id,
                state="started",
                allocations=self.requested[model.name],
                running_allocations=running,
                target_allocations=self.requested[model.name],
                threads_per_allocation=model.threads,
                server_created_at=900.0,
                required_memory_bytes=model.required,
                nodes=nodes,
            )
        cluster = Cluster(
            nodes=tuple(
                NodeCapacity(
                    node_id=n,
                    name=n,
                    processors=float(self.processors),
                    ml_memory_bytes=self.memory,
                    free_ml_memory_bytes=self.planner_free(n),
                    job_memory_bytes=self.jobs,
                )
                for n in self.nodes
            ),
            growable=self.growable,
        )
        return Observation(at=self.at, deployments=deployments, cluster=cluster)

    def ruleset(self):
        rules = tuple(
            rule(
                name=name,
                deployments=(name,),
                policy=Recommending(allocations=wanted),
                stabilisation_window_s=0.0,
                max_allocations=64,
                growth_factor=self.rng.choice([1.0, 2.0, 10.0]),
            )
            for name, wanted in self.wanted.items()
        )
        return Ruleset(rules=rules, max_interval_s=60.0)

    def step(self):
        """Ten seconds of requests."""
        self.at += 10.0
        for model in self.models:
            for process in self.processes[model.name].values():
                process.serve(10.0 * model.rate)


def run(seed, *, scattered=False):
    """Let the daemon scale until nothing changes; the fraction of the possible that it reaches."""
    world = World(seed, scattered=scattered)
    state, exceeded = State(), []
    rules = world.ruleset()
    models = {model.name: model for model in world.models}
    for _ in range(CYCLES):
        world.step()
        cycle = begin_cycle(state, world.observation(), rules)
        outcomes = {}
        for decision in cycle.updates:
            assert isinstance(decision.change, SetAllocations)
            before = world.over_memory()
            accepted = world.raise_to(models[decision.deployment_id], decision.change.allocations)
            kind = OutcomeKind.ACCEPTED if accepted else OutcomeKind.NO_CAPACITY
            outcomes[decision.deployment_id] = Outcome(decision=decision, kind=kind, at=decision.at)
            if after := set(world.over_memory()) - set(before):
                exceeded.append(
                    f"seed {seed}: {decision.deployment_id} {decision.current} -> "
                    f"{decision.change.allocations} takes {sorted(after)} over its memory"
                )
        _, state = end_cycle(cycle.plan, outcomes, cycle.state)
    granted = sum(world.requested.values())
    return Run(tuple(exceeded), granted, _further(world, models))


def _further(world, models):
    """Allocations that the planner would still place without taking a node over its memory."""
    further = 0
    if world.over_memory():
        return 0
    for name, model in sorted(models.items()):
        while world.requested[name] < world.wanted[name]:
            before = world.requested[name], dict(world.counts(model))
            if not world.raise_to(model, world.requested[name] + 1):
                break
            if world.over_memory():
                world.requested[name] = before[0]
                world.set_counts(model, before[1])
                break
            further += 1
    return further


def main(count):
    for scattered in (False, True):
        runs = [run(seed, scattered=scattered) for seed in range(count)]
        granted, refused = (sum(each[part] for each in runs) for part in (1, 2))
        exceeded = [text for each in runs for text in each.exceeded]
        print(
            f"{count} runs, the planner {'chooses among equal nodes' if scattered else 'spreads'}: "
            f"{len(exceeded)} raises over the memory of a node, {granted} allocations granted, "
            f"{refused} refused that would have fitted ({refused / (granted + refused):.1%})"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]))
