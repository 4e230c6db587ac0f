"""Both control modes on every version: in effect, reverted by another client, released."""

import itertools
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace

from autoscaler.config import load
from autoscaler.core.decision import Mode, OutcomeKind
from autoscaler.core.selection import OnExit
from autoscaler.core.values import Reason, Schedule
from autoscaler.operate.release import ReleaseOptions, release
from autoscaler.simulation.loads import Spike, Steady
from autoscaler.simulation.scenario import Adaptive, ScenarioDeployment, ScenarioNode
from tests.end_to_end.world import both_policies, killed, scenario, world_of
from tests.observations import policy, polled_every, rule
from tests.test_scenarios import settings

pytestmark = pytest.mark.untraced

WITHOUT_ADAPTIVE = ("8.6", "8.12")
WITH_ADAPTIVE = ("8.16", "8.19", "9.1", "9.3")
EVERY_VERSION = (*WITHOUT_ADAPTIVE, *WITH_ADAPTIVE, "serverless")

ENABLED = Adaptive(enabled=True, min_number_of_allocations=1, max_number_of_allocations=2)
TAKES_OVER = rule(take_over=True, max_allocations=8)
BOUNDS = rule(mode=Mode.BOUNDS, max_allocations=8, stabilisation_window_s=60.0)


def body(*, allocations=None, adaptive=None, low=None, high=None):
    """The body of an `_update`."""
    sent = {} if allocations is None else {"number_of_allocations": allocations}
    if adaptive is not None:
        bounds = {"min_number_of_allocations": low, "max_number_of_allocations": high}
        bounds = {name: bound for name, bound in bounds.items() if bound is not None}
        sent["adaptive_allocations"] = {"enabled": adaptive} | bounds
    return sent


@asynccontextmanager
async def world(version, *rules, adaptive=None, rate_per_s=50.0, load=None, allocations=1, **given):
    """One deployment, `a`. Fifty requests per second of 50 ms each need four allocations."""
    deployed = ScenarioDeployment(
        model_id="a",
        number_of_allocations=None if adaptive else allocations,
        adaptive_allocations=adaptive,
        load=load or (Steady(rate_per_s=rate_per_s) if rate_per_s else None),
    )
    async with world_of(scenario(deployed, version=version), policy(*rules), **given) as opened:
        yield opened


def adaptive_of(world):
    """The bounds of the adaptive allocations of `a`, if they are enabled."""
    found = world.deployment("a").adaptive
    if found is None or not found.enabled:
        return None
    return found.min_number_of_allocations, found.max_number_of_allocations


# Taking over


@pytest.mark.parametrize("version", WITH_ADAPTIVE)
async def test_take_over_is_one_request(version):
    async with world(version, TAKES_OVER, adaptive=ENABLED) as opened:
        await opened.cycles(12)
        assert opened.bodies == [body(allocations=4, adaptive=False)]
        assert (opened.requested("a"), adaptive_of(opened)) == (4, None)


@pytest.mark.parametrize("version", WITH_ADAPTIVE)
async def test_without_take_over_the_deployment_is_held(version):
    async with world(version, rule(max_allocations=8), adaptive=ENABLED) as opened:
        cycles = await opened.cycles(12)
        assert opened.sent == []
        assert adaptive_of(opened) == (1, 2)
        assert cycles[-1].decision("a").reason is Reason.ADAPTIVE_ENABLED


@pytest.mark.parametrize("version", WITHOUT_ADAPTIVE)
async def test_take_over_without_adaptive_allocations_sets_allocations_only(version):
    async with world(version, TAKES_OVER) as opened:
        await opened.cycles(12)
        assert opened.bodies == [body(allocations=4)]


async def test_serverless_keeps_adaptive_allocations_without_repeated_requests():
    governed = replace(policy(TAKES_OVER), max_interval_s=360.0)
    async with world("serverless", rate_per_s=20.0, poll_s=60.0) as opened:
        opened.loop.ruleset = governed
        cycles = await opened.run_for(3600.0)
        refused = [c.outcome("a") for c in cycles if c.kind("a") is OutcomeKind.INVALID]
        assert 1 <= len(opened.sent) == len(refused) <= 8
        assert "cannot be disabled when running in serverless mode" in refused[0].detail
        assert adaptive_of(opened) is not None


@pytest.mark.parametrize("version", WITH_ADAPTIVE)
async def test_reenabled_adaptive_allocations_hold_the_deployment_until_they_are_disabled(version):
    async with world(version, TAKES_OVER, adaptive=ENABLED) as opened:
        await opened.cycles(6)
        opened.set_adaptive("a", enabled=True)
        during = await opened.cycles(10)
        assert len(opened.sent) == 1
        assert {cycle.decision("a").reason for cycle in during} == {Reason.ADAPTIVE_ENABLED}
        assert (opened.requested("a"), adaptive_of(opened)) == (2, (1, 2))
        opened.set_adaptive("a", enabled=False)
        await opened.run_until(lambda _: opened.requested("a") >= 4, within_s=60.0)
        assert opened.bodies[1:] == [body(allocations=opened.requested("a"))]


async def test_a_restarted_daemon_keeps_the_control_mode_in_effect():
    async with world("9.3", TAKES_OVER, adaptive=ENABLED) as opened:
        await opened.cycles(6)
        opened.kill()
        await opened.cycles(6)
        assert opened.bodies == [body(allocations=4, adaptive=False)]


async def test_adaptive_allocations_enabled_between_poll_and_update_are_kept():
    async with world("9.3", rule(max_allocations=8)) as opened:
        opened.before_update("a", lambda: opened.set_adaptive("a", enabled=True))
        cycles = await opened.cycles(8)
        assert [c.kind("a") for c in cycles].count(OutcomeKind.ADAPTIVE_ENABLED) == 1
        assert len(opened.sent) == 1
        assert adaptive_of(opened) is not None


# Bounds


@pytest.mark.parametrize("version", [*WITH_ADAPTIVE, "serverless"])
async def test_adaptive_allocations_are_enabled_with_a_minimum(version):
    async with world(version, BOUNDS) as opened:
        cycles = await opened.cycles(12)
        # On serverless the minimum is 0 at first, which is corrected in the first cycle.
        at_once = [body(adaptive=True, low=1, high=8)] if version == "serverless" else []
        assert opened.bodies == [*at_once, body(adaptive=True, low=4, high=8)]
        assert adaptive_of(opened) == (4, 8)
        assert opened.requested("a") >= 4
        assert cycles[-1].decision("a").desired == 4


@pytest.mark.parametrize("version", WITHOUT_ADAPTIVE)
async def test_a_version_without_bounds_is_reported_and_tried_once_an_hour(version):
    async with world(version, rate_per_s=20.0, poll_s=60.0) as opened:
        opened.loop.ruleset = polled_every(policy(BOUNDS, longest_interval_s=360.0), 60.0)
        cycles = await opened.run_for(3500.0)
        (refused,) = [c.outcome("a") for c in cycles if c.kind("a") is OutcomeKind.UNSUPPORTED]
        assert refused.detail.endswith("adaptive allocations need Elasticsearch 8.16 or later")
        assert len(opened.sent) == 1
        assert opened.requested("a") == 1
        again = await opened.run_for(600.0)
        assert [c.kind("a") for c in again].count(OutcomeKind.UNSUPPORTED) == 1


@pytest.mark.parametrize("version", WITH_ADAPTIVE)
async def test_disabled_adaptive_allocations_hold_the_deployment_until_they_are_enabled(version):
    async with world(version, BOUNDS) as opened:
        await opened.cycles(6)
        opened.set_adaptive("a", enabled=False)
        during = await opened.cycles(6)
        assert len(opened.sent) == 1
        assert {cycle.decision("a").reason for cycle in during[1:]} == {Reason.ADAPTIVE_DISABLED}
        opened.set_adaptive("a", enabled=True, min_number_of_allocations=1)
        await opened.cycles(3)
        assert adaptive_of(opened) == (4, 8)


OPENING = Schedule(
    name="opening", cron="0 9 * * *", timezone="UTC", length_s=3600.0, min_allocations=6
)
"""Opens 400 s after the start of these worlds."""


@both_policies
@pytest.mark.parametrize("version", [*WITH_ADAPTIVE, "serverless"])
async def test_the_minimum_is_raised_before_a_peak_so_that_no_request_waits(version, built_in):
    peak = Spike(base_per_s=10.0, peak_per_s=90.0, after_s=600.0, for_s=1200.0)
    governed = replace(BOUNDS, schedules=(OPENING,), policy=built_in)
    async with world(version, governed, load=peak) as opened:
        before = await opened.run_for(590.0)
        assert opened.requested("a") == 6
        assert opened.deployment("a").running == 6
        assert "schedule opening" in before[-1].text("a")
        assert len(opened.sent) <= 3
        before_peak = opened.deployment("a").ledger.waited_longer_than(1.0)
        await opened.run_for(60.0)
        assert opened.deployment("a").ledger.waited_longer_than(1.0) == before_peak


@both_policies
@pytest.mark.parametrize("version", [*WITH_ADAPTIVE, "serverless"])
async def test_without_a_daemon_adaptive_allocations_follow_the_load(version, built_in):
    async with world(version, replace(BOUNDS, policy=built_in), rate_per_s=10.0) as opened:
        await opened.cycles(6)
        (floor, _) = adaptive_of(opened)
        opened.emulation.start_load("a", Steady(rate_per_s=100.0))
        await opened.without_daemon(30.0)
        assert opened.requested("a") >= 5
        await opened.without_daemon(270.0)
        assert floor < opened.requested("a") <= 8
        sent = len(opened.sent)
        await opened.cycles(12)
        assert adaptive_of(opened)[0] >= 6
        assert len(opened.sent) - sent <= 2


async def test_bounds_change_rarely():
    wave = Spike(base_per_s=10.0, peak_per_s=90.0, after_s=300.0, for_s=600.0)
    async with world("9.3", BOUNDS, load=wave) as opened:
        await opened.run_for(1800.0)
        assert len(opened.sent) <= 12
        assert all(set(sent) == {"adaptive_allocations"} for sent in opened.bodies)
        downs = [sent.at for sent in opened.sent if sent.at > 900.0]
        assert all(after - before >= 60.0 for before, after in itertools.pairwise(downs))
        assert adaptive_of(opened) == (1, 8)


@pytest.mark.parametrize("readable", [True, False], ids=["nodes readable", "nodes unreadable"])
async def test_the_maximum_is_limited_to_what_fits(readable):
    """Without a maximum that fits, every update of adaptive allocations is refused."""
    governed = policy(replace(BOUNDS, max_allocations=20))
    deployed = ScenarioDeployment(model_id="a", load=Steady(rate_per_s=200.0))
    other = ScenarioDeployment(model_id="b", number_of_allocations=3)
    nodes = [ScenarioNode(name="ml-1", processors=8)]
    simulated = scenario(deployed, other, version="9.3", nodes=nodes)
    only_a = policy(rule(name="b", deployments=("b",), exclude=True), *governed.rules)
    async with world_of(simulated, only_a) as opened:
        if not readable:
            for path in ("/_nodes*", "/_ml/info", "/_ml/memory/_stats"):
                opened.fail(path, calls=None, status=403, error_type="security_exception")
        await opened.run_for(500.0)
        low, _ = adaptive_of(opened)
        assert 4 <= low <= 5
        assert opened.requested("a") == low
        assert len(opened.sent) <= 6
        opened.delete("b")
        await opened.run_until(lambda _: opened.requested("a") == 8, within_s=400.0)


# Release


def releasing(on_exit, **given):
    return rule(on_exit=on_exit, safe_allocations=3, max_allocations=8, min_allocations=1, **given)


@pytest.mark.parametrize("take_over", [True, False])
@pytest.mark.parametrize("version", WITH_ADAPTIVE)
async def test_released_to_adaptive_allocations(version, take_over):
    governed = releasing(OnExit.ADAPTIVE, take_over=take_over)
    async with world(version, governed, adaptive=ENABLED if take_over else None) as opened:
        await opened.cycles(6)
        (result,) = await opened.release()
        assert (result.to, result.kind) == (OnExit.ADAPTIVE, OutcomeKind.ACCEPTED)
        assert adaptive_of(opened) == (1, 8)
        assert opened.bodies[-1] == body(adaptive=True, low=1, high=8)
        assert await opened.release() == [], "nothing to release the second time"


@pytest.mark.parametrize("version", WITHOUT_ADAPTIVE)
async def test_a_release_to_adaptive_allocations_before_8_16_changes_nothing(version):
    async with world(version, releasing(OnExit.ADAPTIVE)) as opened:
        await opened.cycles(6)
        (result,) = await opened.release()
        assert result.kind is OutcomeKind.UNSUPPORTED
        assert result.detail.endswith("adaptive allocations need Elasticsearch 8.16 or later")
        assert opened.requested("a") == 4


@pytest.mark.parametrize("version", [*WITHOUT_ADAPTIVE, *WITH_ADAPTIVE])
async def test_released_to_the_floor(version):
    async with world(version, releasing(OnExit.FLOOR), rate_per_s=5.0) as opened:
        await opened.cycles(6)
        assert opened.requested("a") == 1
        (result,) = await opened.release()
        assert (result.to, result.kind) == (OnExit.FLOOR, OutcomeKind.ACCEPTED)
        assert (opened.requested("a"), adaptive_of(opened)) == (3, None)


@pytest.mark.parametrize("version", WITH_ADAPTIVE)
async def test_a_release_to_the_floor_disables_adaptive_allocations(version):
    governed = releasing(OnExit.FLOOR, mode=Mode.BOUNDS)
    async with world(version, governed, rate_per_s=5.0) as opened:
        await opened.cycles(6)
        await opened.release()
        assert (opened.requested("a"), adaptive_of(opened)) == (3, None)


@pytest.mark.parametrize("to", OnExit)
async def test_an_externally_controlled_deployment_is_not_released(to):
    async with world("9.3", releasing(to), adaptive=ENABLED) as opened:
        await opened.cycles(6)
        assert await opened.release() == []
        assert opened.sent == []


@pytest.mark.parametrize("version", EVERY_VERSION)
async def test_released_unchanged(version):
    mode = Mode.DIRECT if version in WITHOUT_ADAPTIVE else Mode.BOUNDS
    async with world(version, releasing(OnExit.KEEP, mode=mode)) as opened:
        await opened.cycles(6)
        sent = opened.sent
        assert await opened.release() == []
        assert opened.sent == sent


async def test_on_serverless_the_bounds_of_the_rule_are_restored():
    async with world("serverless", releasing(OnExit.ADAPTIVE, mode=Mode.BOUNDS)) as opened:
        await opened.cycles(6)
        (result,) = await opened.release()
        assert result.kind is OutcomeKind.ACCEPTED
        assert adaptive_of(opened) == (1, 8)


async def test_on_serverless_a_release_to_the_floor_is_refused():
    async with world("serverless", releasing(OnExit.FLOOR, mode=Mode.BOUNDS)) as opened:
        await opened.cycles(6)
        before = adaptive_of(opened)
        (result,) = await opened.release()
        assert result.kind is OutcomeKind.INVALID
        assert "cannot be disabled when running in serverless mode" in result.detail
        assert adaptive_of(opened) == before


async def test_changes_of_the_last_cycle_are_released_as_well():
    governed = replace(releasing(OnExit.ADAPTIVE, take_over=True), max_allocations=2)
    async with world("9.3", governed, adaptive=ENABLED) as opened:
        await opened.run_until(lambda cycle: cycle.decision("a").changes)
        assert adaptive_of(opened) is None
        await opened.release()
        assert adaptive_of(opened) == (1, 2)


async def test_a_deployment_that_is_gone_is_not_released():
    async with world("9.3", releasing(OnExit.FLOOR)) as opened:
        await opened.cycles(6)
        opened.delete("a")
        assert await opened.release() == []


# `autoscaler release`


def configured(opened, on_exit, mode="direct", **variables):
    required = {}
    if on_exit == "floor":
        required = {"safe_allocations": 3}
    elif on_exit == "adaptive" and mode == "direct":
        required = {"take_over": True}
    defaults = {"max_allocations": 8, "mode": mode, "on_exit": on_exit} | required
    own = {"elasticsearch": {"hosts": opened.running.url}, "rules": [{"name": "all"} | defaults]}
    return load(None, settings(own) | variables)


async def release_line(opened, on_exit):
    lines = []
    config = configured(opened, on_exit)
    failures = await opened.clock.run(release(config, ReleaseOptions(), opened.clock, lines.append))
    (line,) = lines
    assert failures == line.failed
    return line


@pytest.mark.parametrize("version", ["8.12", "8.16", "9.3", "serverless"])
@pytest.mark.parametrize("on_exit", ["adaptive", "floor", "keep"])
async def test_the_release_command_does_what_the_daemon_does(version, on_exit):
    mode = Mode.DIRECT if version in WITHOUT_ADAPTIVE else Mode.BOUNDS
    results = []
    for by_command in (False, True):
        governed = releasing(OnExit(on_exit), mode=mode)
        async with world(version, governed, rate_per_s=5.0) as opened:
            await opened.cycles(6)
            if by_command:
                opened.kill()
                name = "bounds" if mode is Mode.BOUNDS else "direct"
                config = configured(opened, on_exit, name)
                lines = []
                await opened.clock.run(
                    release(config, ReleaseOptions(), opened.clock, lines.append)
                )
                assert len(lines) == 1
            else:
                await opened.release()
            results.append((opened.requested("a"), adaptive_of(opened)))
    assert results[0] == results[1]


async def test_the_release_command_reports_failures():
    async with world("8.12", rule()) as opened:
        line = await release_line(opened, "adaptive")
        assert line.failed
        assert line.message.startswith("a was not given adaptive allocations")
        assert line.message.endswith("adaptive allocations need Elasticsearch 8.16 or later")


@pytest.mark.parametrize("by_command", [False, True])
async def test_the_next_daemon_takes_over_again_what_was_released(tmp_path, by_command):
    """With the saved state it knows that it disabled adaptive allocations; no operator has reverted
    that."""
    governed = releasing(OnExit.ADAPTIVE, take_over=True)
    async with world("9.3", governed, adaptive=ENABLED, state_dir=tmp_path) as opened:
        await opened.cycles(6)
        assert adaptive_of(opened) is None
        if by_command:
            killed(opened.store)
            config = configured(opened, "adaptive", AUTOSCALER_STATE_DIR=str(tmp_path))
            released = release(config, ReleaseOptions(), opened.clock, lambda _: None)
            assert await opened.clock.run(released) == 0
        else:
            await opened.release()
        assert adaptive_of(opened) is not None
        opened.kill()
        cycles = await opened.cycles(6)
        assert adaptive_of(opened) is None
        assert not any(cycle.plan.external_changes for cycle in cycles)


async def test_the_next_daemon_does_not_take_a_release_for_the_change_of_another_client(tmp_path):
    governed = releasing(OnExit.FLOOR)
    async with world("9.3", governed, rate_per_s=5.0, state_dir=tmp_path) as opened:
        await opened.run_for(120.0)
        before = opened.requested("a")
        await opened.release()
        assert opened.requested("a") == 3 > before
        opened.kill()
        cycles = await opened.run_for(120.0)
        assert not any(cycle.plan.external_changes for cycle in cycles)
        assert opened.requested("a") < 3
