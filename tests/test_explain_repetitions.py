"""`explain` repeats nothing: over many decisions, no phrase occurs twice."""

import io
import random
import re
from collections import Counter

import pytest
from msgspec.structs import replace
from rich.console import Console

from autoscaler.adapters.admin_http import DecisionRecorder
from autoscaler.control_loop import ControlLoop
from autoscaler.core.decision import OutcomeKind
from autoscaler.core.policies import UtilisationPolicy
from autoscaler.core.slo.policy import SloPolicy
from autoscaler.explain import render
from autoscaler.wire.decision_views import DeploymentResponse
from tests.fakes import FakeClock, FakeCluster
from tests.observations import deployment, node, policy, rule

POLICIES = (SloPolicy(), UtilisationPolicy(target=0.7, load_window_s=60.0))
CYCLES = 40


def phrases(text):
    """The clauses and figures of a text that mean something by themselves: with a figure and two
    words, or with five words. Tables of candidates have none, since their cells are figures; nor
    has how long ago something was, without what it was."""
    for line in text.splitlines():
        if line.startswith("Observed "):
            continue
        for clause in re.split(r"; |: |, |\s{2,}|(?<=\w)\. ", line):
            words = clause.strip(" .:;").split()
            if len(words) == 3 and words[-1] == "ago":
                continue
            if len(words) >= 5 or (len(words) >= 3 and re.search(r"\d", clause)):
                yield " ".join(words)


async def explained(seed):
    """What `explain` prints after each cycle of a random world."""
    rng = random.Random(seed)
    clock = FakeClock(start=1_000.0)
    requested, busy = rng.randrange(2, 25), 0.0
    stats = deployment(node(allocations=requested))
    cluster = FakeCluster(clock, stats)
    recorder = DecisionRecorder(clock, "1.2.3")
    loop = ControlLoop(
        clock=clock,
        observer=cluster,
        actuator=cluster,
        recorder=recorder,
        ruleset=policy(
            rule(
                policy=rng.choice(POLICIES),
                max_allocations=rng.choice((4, 12, 24)),
                dry_run=rng.random() < 0.2,
            )
        ),
    )
    completed, rate, lost = 0, rng.choice((0, 20, 100, 300)), 0
    for _ in range(CYCLES):
        if rng.random() < 0.1:
            rate = rng.choice((0, 20, 100, 300))
        if rng.random() < 0.15:
            lost = rng.choice((0, 1, 5))
        cluster.refusals = {}
        if rng.random() < 0.2:
            cluster.refusals = {"elser": rng.choice(list(OutcomeKind)[1:])}
        before = cluster.deployments.get("elser")
        if before is not None:
            requested = before.allocations
            running = max(0, requested - lost)
            completed += int(min(rate, running * 25) * 10 * rng.uniform(0.9, 1.1))
            busy = completed * 0.04
            serving = node(
                allocations=running,
                completed=completed,
                busy_s=busy,
                pending=rng.choice((0, 3, 400)),
                rejections=rng.choice((0, 0, 0, 9)),
            )
            reason = "not enough memory on node ml-2" if lost and rng.random() < 0.5 else ""
            cluster.deployments["elser"] = replace(
                before,
                nodes=(serving,),
                running_allocations=running,
                reason=reason,
            )
        clock.pass_by(10.0)
        await loop.run_cycle()
        response = recorder.get_deployment("elser")
        assert isinstance(response, DeploymentResponse)
        stream = io.StringIO()
        render(response, Console(file=stream, width=100, color_system=None))
        yield stream.getvalue()


@pytest.mark.parametrize("seed", range(40))
async def test_no_phrase_occurs_twice(seed):
    async for text in explained(seed):
        counted = Counter(phrases(text))
        assert [phrase for phrase, count in counted.items() if count > 1] == [], text
        for phrase in counted:
            others = [other for other in counted if other != phrase]
            within = re.compile(rf"(?<![\w.]){re.escape(phrase)}(?![\w.%])")
            assert not any(within.search(other) for other in others), f"{phrase!r} in\n{text}"
