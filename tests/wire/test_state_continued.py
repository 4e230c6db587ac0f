"""A state that was encoded and decoded leads to the same decisions as one that was not."""

import math
import random
from copy import deepcopy
from typing import ClassVar

import pytest
from msgspec.structs import replace

from autoscaler.core.decision import Mode, OutcomeKind, SetAllocations, SetBounds, Start, Stop
from autoscaler.core.flow.cycle import begin_cycle, end_cycle
from autoscaler.core.flow.planning import Ruleset
from autoscaler.core.installed_policy import InstalledPolicy
from autoscaler.core.policies import MemoryFormat, UtilisationPolicy
from autoscaler.core.selection import ScaleToZero, ZeroMethod
from autoscaler.core.slo.policy import SloPolicy
from autoscaler.core.state import State
from autoscaler.core.values import (
    AdaptiveAllocations,
    Cluster,
    NodeCapacity,
    Observation,
    Reason,
    Step,
    Value,
)
from autoscaler.wire.state import decode_state, encode_state
from tests.observations import deployment, node, outcome, rule
from tests.states import same

pytestmark = pytest.mark.untraced

DAY_S = 86_400.0
START = 1_767_571_200.0  # Monday, 5 January 2026, 0:00 UTC
NODES, PROCESSORS = 5, 24
COUNT = 20


class Peak(Value, frozen=True):
    load: float


class PeakPolicy(Value, frozen=True):
    """An installed policy: the decayed peak of the load."""

    name: ClassVar[str] = "peak"
    load_window_s: ClassVar[float] = 1200.0

    def begin(self):
        return Peak(-math.inf)

    def recommend(self, situation, memory):
        load = situation.load.offered_load
        if load is None:
            return Step(Reason.NOT_MEASURED, situation.current, situation.current), memory
        peak = Peak(max(load, 0.99 * memory.load))
        return Step(Reason.RECOMMENDATION, situation.current, math.ceil(peak.load + 1.0)), peak


INSTALLED = InstalledPolicy(
    name="peak",
    source="peak:make of peak 1.0",
    options={},
    load_window_s=1200.0,
    memory_format=MemoryFormat(Peak, 1),
    policy=PeakPolicy(),
)
UTILISATION = UtilisationPolicy(target=0.7, load_window_s=1200.0)
SLO = SloPolicy(load_window_s=1200.0)
RULES = (
    rule(
        name="stopped",
        deployments=("stop-*",),
        policy=SLO,
        zero=ScaleToZero(3600.0, ZeroMethod.STOP),
    ),
    rule(name="bounds", deployments=("bounds-*",), policy=SLO, mode=Mode.BOUNDS),
    rule(
        name="utilisation",
        deployments=("util-*",),
        policy=UTILISATION,
        stabilisation_window_s=1800.0,
    ),
    rule(name="peak", deployments=("peak-*",), policy=INSTALLED, burst_max_allocations=6),
    rule(name="slo", policy=SLO, stabilisation_window_s=0.0),
)
KINDS = ("stop", "bounds", "util", "peak", *("slo",) * 6)


class Simulated:
    """Deployments on five nodes whose load follows the day, in virtual time."""

    def __init__(self, poll_s):
        self.poll_s, self.at, self.dice = poll_s, START, random.Random(1)
        self.ruleset = Ruleset(rules=RULES, max_interval_s=6.0 * poll_s)
        self.processes = {}  # by deployment: [node, allocations, completed, busy_s, in flight]
        self.adaptive = {}
        for index in range(COUNT):
            name = f"{KINDS[index % len(KINDS)]}-{index}"
            self.processes[name] = [[f"n{index % NODES}", 2, 0, 0.0, 0]]
            if name.startswith("bounds"):
                self.adaptive[name] = AdaptiveAllocations(enabled=True, minimum=2, maximum=20)

    def cycle(self, state):
        """One cycle: its plan, and the state after it."""
        self.at += self.poll_s
        if self.at % DAY_S == DAY_S / 2.0:
            state = replace(state, resume_requested=frozenset(state.stopped))
        for index, (name, processes) in enumerate(sorted(self.processes.items())):
            self._serve(index, name, processes)
        observation = self._observation()
        cycle = begin_cycle(state, observation, self.ruleset)
        outcomes = {}
        for decision in cycle.updates:
            kind = self._carry_out(decision)
            outcomes[decision.deployment_id] = outcome(decision, kind)
        _, state = end_cycle(cycle.plan, outcomes, cycle.state)
        return cycle.plan, state

    def _serve(self, index, name, processes):
        hour = (self.at + 3600.0 * index) % DAY_S / 3600.0
        rate = 0.0 if name.startswith("stop") and hour < 6.0 else 20.0 + 18.0 * math.sin(hour / 3.8)
        if self.dice.random() < 0.005:
            rate *= 3.0
        total = sum(process[1] for process in processes)
        for process in processes:
            _, allocations, _, _, waiting = process
            mean = rate * self.poll_s * allocations / total
            waiting += max(0, round(self.dice.gauss(mean, math.sqrt(mean))))
            served = min(waiting, round(allocations * self.poll_s / 0.1))
            process[2:] = [process[2] + served, process[3] + served * 0.1, waiting - served]
            process[4] = min(process[4], 500)

    def _observation(self):
        machines = tuple(
            NodeCapacity(node_id=f"n{n}", name=f"ml-{n}", processors=float(PROCESSORS))
            for n in range(NODES)
        )
        stats = {}
        for name, processes in self.processes.items():
            nodes = [
                node(n, allocations=a, completed=c, busy_s=b, mean_inference_s=0.1, pending=p)
                for n, a, c, b, p in processes
            ]
            stats[name] = deployment(*nodes, deployment_id=name, adaptive=self.adaptive.get(name))
        cluster = Cluster(nodes=machines, growable=False)
        return Observation(at=self.at, deployments=stats, cluster=cluster)

    def _carry_out(self, decision):
        name, change = decision.deployment_id, decision.change
        if self.dice.random() < 0.25:
            return self.dice.choice([OutcomeKind.NO_CAPACITY, OutcomeKind.UNKNOWN])
        match change:
            case Stop():
                del self.processes[name]
            case Start(allocations=allocations):
                self.processes[name] = [["n0", allocations, 0, 0.0, 0]]
            case SetBounds(minimum=minimum, maximum=maximum):
                self.adaptive[name] = AdaptiveAllocations(
                    enabled=True, minimum=minimum, maximum=maximum
                )
                self._place(name, minimum)
            case SetAllocations(allocations=allocations):
                self._place(name, allocations)
        return OutcomeKind.ACCEPTED

    def _place(self, name, allocations):
        """At most six on one node; the rest on the next."""
        processes = self.processes[name]
        processes[0][1] = min(allocations, 6)
        rest = allocations - 6
        if rest <= 0:
            del processes[1:]
        elif len(processes) == 1:
            following = (int(processes[0][0][1:]) + 1) % NODES
            processes.append([f"n{following}", rest, 0, 0.0, 0])
        else:
            processes[1][1] = rest

    def run(self, state, seconds):
        """The plans of this time, and the state after it."""
        plans = []
        for _ in range(round(seconds / self.poll_s)):
            planned, state = self.cycle(state)
            plans.append(planned)
        return plans, state


@pytest.mark.parametrize(
    "poll_s", [600.0, pytest.param(60.0, marks=[pytest.mark.deep, pytest.mark.timeout(600)])]
)
def test_the_decisions_after_seven_days_are_the_same(poll_s):
    """Twenty deployments, with both built-in policies, an installed one, and both control modes."""
    world = Simulated(poll_s)
    _, state = world.run(State(), 7.0 * DAY_S)
    assert len(state.deployments) + len(state.stopped) == COUNT
    for name, known in state.deployments.items():
        if name.startswith("slo"):
            assert known.memory.value.estimate.forecast.state.profile.known > 800

    encoded = encode_state(state)
    decoded = decode_state(encoded.content, [each.policy for each in RULES])
    assert (encoded.messages, decoded.messages) == ((), ())
    assert same(decoded.state, state)

    expected, _ = deepcopy(world).run(state, DAY_S / 2.0)
    continued, _ = deepcopy(world).run(decoded.state, DAY_S / 2.0)
    assert continued == expected
    decisions = [each for planned in expected for each in planned.decisions]
    assert sum(each.changes for each in decisions) > 50
    assert sum("forecast_load" in each.steps[0].inputs for each in decisions) > 50
    cold, _ = deepcopy(world).run(State(), 3600.0)
    assert cold != expected[: len(cold)], "without the state, other decisions"
