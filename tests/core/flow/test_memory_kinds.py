"""No raise takes a node over its memory, whatever asks for it and whatever is reported.

The worlds are those of `memory_world`, with one complication each.
"""

import random

import pytest
from msgspec.structs import replace

from autoscaler.core.decision import Mode, Outcome, OutcomeKind, SetAllocations, SetBounds
from autoscaler.core.flow.cycle import begin_cycle, end_cycle
from autoscaler.core.flow.planning import Ruleset
from autoscaler.core.state import State
from autoscaler.core.values import AdaptiveAllocations
from tests.core.flow.memory_world import Process, Recommending, World

CYCLES = 40


class Complicated(World):
    """A world in which nothing else happens."""

    def __init__(self, seed, *, scattered):
        super().__init__(seed, scattered=scattered)
        self.chance = random.Random(seed + 1)
        self.adaptive = {}  # minimum and maximum, by deployment id

    def observation(self):
        seen = super().observation()
        deployments = {name: self.reported(stats) for name, stats in seen.deployments.items()}
        return replace(seen, deployments=deployments)

    def reported(self, stats):
        if (bounds := self.adaptive.get(stats.deployment_id)) is None:
            return stats
        minimum, maximum = bounds
        adaptive = AdaptiveAllocations(enabled=True, minimum=minimum, maximum=maximum)
        return replace(stats, adaptive=adaptive)

    def ruleset(self):
        rules = super().ruleset()
        return Ruleset(
            rules=tuple([self.governed(rule) for rule in rules.rules]),
            max_interval_s=rules.max_interval_s,
        )

    def governed(self, rule):
        return rule

    def disturb(self, cycle):
        """What happens before a cycle."""

    def lower(self, model, allocations):
        """Give up allocations, those of the busiest process first."""
        counts = dict(self.counts(model))
        while sum(counts.values()) > allocations:
            busiest = max(counts, key=counts.__getitem__)
            counts[busiest] -= 1
            if counts[busiest] == 0:
                del counts[busiest]
        self.set_counts(model, counts)
        self.requested[model.name] = allocations

    def carry_out(self, model, change):
        """Whether the cluster accepts the change."""
        if isinstance(change, SetBounds):
            self.adaptive[model.name] = (change.minimum, change.maximum)
            # Adaptive allocations may go to their maximum before the next observation.
            while self.requested[model.name] < change.maximum:
                if not self.raise_to(model, self.requested[model.name] + 1):
                    break
            return True
        assert isinstance(change, SetAllocations)
        self.adaptive.pop(model.name, None)
        if change.allocations < self.requested[model.name]:
            self.lower(model, change.allocations)
            return True
        return self.raise_to(model, change.allocations)


class RaisedByTheMinimum(Complicated):
    def governed(self, rule):
        minimum = rule.policy.allocations
        return replace(rule, policy=Recommending(allocations=1), min_allocations=minimum)


class RaisedToABurst(Complicated):
    def governed(self, rule):
        return replace(rule, burst_max_allocations=max(1, rule.policy.allocations // 2))


class ScaledByAdaptiveAllocations(Complicated):
    def __init__(self, seed, *, scattered):
        super().__init__(seed, scattered=scattered)
        self.adaptive = dict.fromkeys(self.processes, (1, 1))

    def governed(self, rule):
        return replace(rule, mode=Mode.BOUNDS)


class TakenOver(ScaledByAdaptiveAllocations):
    def governed(self, rule):
        return replace(rule, take_over=True)


class OneNodeNeverReportsMemory(Complicated):
    """Of each deployment, one process that is not its only one."""

    def reported(self, stats):
        hidden = stats.nodes[-1].node_id if len(stats.nodes) > 1 else ""
        nodes = [replace(n, memory_bytes=None) if n.node_id == hidden else n for n in stats.nodes]
        return replace(stats, nodes=tuple(nodes))


class SomeNodesDoNotRespond(Complicated):
    def reported(self, stats):
        silent = {"server_started_at": None, "allocations": None, "memory_bytes": None}
        nodes = [
            replace(node, **silent, completed=0) if self.chance.random() < 0.2 else node
            for node in stats.nodes
        ]
        return replace(stats, nodes=tuple(nodes))


class ProcessesRestart(Complicated):
    def disturb(self, cycle):
        if cycle % 7 != 6:
            return
        for processes in self.processes.values():
            for node_id, process in list(processes.items()):
                if self.chance.random() < 0.5:
                    processes[node_id] = Process(self.at, process.allocations)


class TheLoadChanges(Complicated):
    def disturb(self, cycle):
        if cycle % 8 == 7:
            for name in self.wanted:
                self.wanted[name] = self.chance.randint(1, 40)


KINDS = [
    RaisedByTheMinimum,
    RaisedToABurst,
    ScaledByAdaptiveAllocations,
    TakenOver,
    OneNodeNeverReportsMemory,
    SomeNodesDoNotRespond,
    ProcessesRestart,
    TheLoadChanges,
]


def exceeded(world):
    """The changes that took a node over its memory, and how many there were in all."""
    state, found, changes = State(), [], 0
    models = {model.name: model for model in world.models}
    rules = world.ruleset()
    for cycle in range(CYCLES):
        world.step()
        before = dict(world.wanted)
        world.disturb(cycle)
        if world.wanted != before:
            rules = world.ruleset()
        over = set(world.over_memory())
        begun = begin_cycle(state, world.observation(), rules)
        outcomes = {}
        for decision in begun.updates:
            accepted = world.carry_out(models[decision.deployment_id], decision.change)
            kind = OutcomeKind.ACCEPTED if accepted else OutcomeKind.NO_CAPACITY
            outcomes[decision.deployment_id] = Outcome(decision=decision, kind=kind, at=decision.at)
            changes += 1
            if further := set(world.over_memory()) - over:
                found.append((cycle, decision.deployment_id, decision.change, sorted(further)))
                over |= further
        _, state = end_cycle(begun.plan, outcomes, begun.state)
    return found, changes


def check(kind, seeds):
    changes = 0
    for seed in seeds:
        found, changed = exceeded(kind(seed, scattered=bool(seed % 2)))
        assert found == [], f"seed {seed}"
        changes += changed
    assert changes > len(seeds), "something was changed"


@pytest.mark.parametrize("kind", KINDS)
def test_no_change_takes_a_node_over_its_memory(kind):
    check(kind, range(12))


@pytest.mark.deep
@pytest.mark.untraced
@pytest.mark.parametrize("kind", KINDS)
def test_no_change_in_many_runs_takes_a_node_over_its_memory(kind):
    check(kind, range(12, 600))
