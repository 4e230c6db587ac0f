"""Both levers on every version: which one is used, who else may, and how each is left behind."""

import itertools
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace

from autoscaler.config import load
from autoscaler.core.selection import OnExit
from autoscaler.core.values import Mode, OutcomeKind, Reason, Schedule
from autoscaler.operate.release import ReleaseOptions, release
from autoscaler.simulation.loads import Spike, Steady
from autoscaler.simulation.scenario import Adaptive, ScenarioDeployment, ScenarioNode
from tests.end_to_end.world import scenario, world_of
from tests.observations import policy, rule
from tests.test_scenarios import settings

WITHOUT_NATIVE = ("8.6", "8.12")
WITH_NATIVE = ("8.16", "8.19", "9.1", "9.3")
EVERY_VERSION = (*WITHOUT_NATIVE, *WITH_NATIVE, "serverless")

NATIVE = Adaptive(enabled=True, min_number_of_allocations=1, max_number_of_allocations=2)
TAKES_OVER = rule(take_over=True, max_allocations=8)
BOUNDS = rule(mode=Mode.BOUNDS, max_allocations=8, stabilisation_window_s=60.0)


def body(*, number=None, native=None, low=None, high=None):
    """That of an `_update`."""
    asked = {} if number is None else {"number_of_allocations": number}
    if native is not None:
        bounds = {"min_number_of_allocations": low, "max_number_of_allocations": high}
        bounds = {name: bound for name, bound in bounds.items() if bound is not None}
        asked["adaptive_allocations"] = {"enabled": native} | bounds
    return asked


@asynccontextmanager
async def world(version, *rules, native=None, rate_per_s=50.0, load=None, number=1, **given):
    """One deployment, `a`. Fifty requests a second of 50 ms each need four allocations."""
    deployed = ScenarioDeployment(
        model_id="a",
        number_of_allocations=None if native else number,
        adaptive_allocations=native,
        load=load or (Steady(rate_per_s=rate_per_s) if rate_per_s else None),
    )
    async with world_of(scenario(deployed, version=version), policy(*rules), **given) as opened:
        yield opened


def native_of(world):
    """The settings of the cluster's own scaler of `a`, if it is on: its minimum and maximum."""
    found = world.deployment("a").adaptive
    if found is None or not found.enabled:
        return None
    return found.min_number_of_allocations, found.max_number_of_allocations


# Taking over


@pytest.mark.parametrize("version", WITH_NATIVE)
async def test_it_is_taken_over_in_one_call(version):
    async with world(version, TAKES_OVER, native=NATIVE) as opened:
        await opened.cycles(12)
        assert opened.bodies == [body(number=4, native=False)]
        assert (opened.requested("a"), native_of(opened)) == (4, None)


@pytest.mark.parametrize("version", WITH_NATIVE)
async def test_without_being_told_to_nothing_is_taken(version):
    async with world(version, rule(max_allocations=8), native=NATIVE) as opened:
        cycles = await opened.cycles(12)
        assert opened.asked == []
        assert native_of(opened) == (1, 2)
        assert (
            cycles[-1]
            .words("a")
            .startswith("a stays at 2: held: adaptive allocations are enabled; ")
        )


@pytest.mark.parametrize("version", WITHOUT_NATIVE)
async def test_where_there_is_nobody_to_take_it_from_the_number_alone_is_set(version):
    async with world(version, TAKES_OVER) as opened:
        await opened.cycles(12)
        assert opened.bodies == [body(number=4)]


async def test_serverless_keeps_its_scaler_which_is_said_and_not_asked_for_all_the_time():
    governed = replace(policy(TAKES_OVER), max_interval_s=360.0)
    async with world("serverless", rate_per_s=20.0, poll_s=60.0) as opened:
        opened.loop.ruleset = governed
        cycles = await opened.run_for(3600.0)
        refused = [c.outcome("a") for c in cycles if c.kind("a") is OutcomeKind.INVALID]
        assert 1 <= len(opened.asked) == len(refused) <= 8
        assert "cannot be disabled when running in serverless mode" in refused[0].detail
        assert native_of(opened) is not None


@pytest.mark.parametrize("version", WITH_NATIVE)
async def test_who_switches_it_on_again_is_respected_until_it_is_off_again(version):
    async with world(version, TAKES_OVER, native=NATIVE) as opened:
        await opened.cycles(6)
        opened.set_native("a", enabled=True)
        during = await opened.cycles(10)
        assert len(opened.asked) == 1
        assert {cycle.decision("a").reason for cycle in during} == {Reason.ADAPTIVE_ENABLED}
        assert "were enabled again" in during[-1].words("a")
        assert (opened.requested("a"), native_of(opened)) == (2, (1, 2))
        opened.set_native("a", enabled=False)
        await opened.run_until(lambda _: opened.requested("a") >= 4, within_s=60.0)
        assert opened.bodies[1:] == [body(number=opened.requested("a"))]


async def test_a_restart_does_not_begin_the_fight_anew_where_the_lever_is_ours():
    async with world("9.3", TAKES_OVER, native=NATIVE) as opened:
        await opened.cycles(6)
        opened.kill()
        await opened.cycles(6)
        assert opened.bodies == [body(number=4, native=False)]


async def test_one_that_is_switched_on_between_look_and_call_is_not_overruled():
    async with world("9.3", rule(max_allocations=8)) as opened:
        opened.before_update("a", lambda: opened.set_native("a", enabled=True))
        cycles = await opened.cycles(8)
        assert [c.kind("a") for c in cycles].count(OutcomeKind.ADAPTIVE_ENABLED) == 1
        assert len(opened.asked) == 1
        assert native_of(opened) is not None


# Bounds


@pytest.mark.parametrize("version", [*WITH_NATIVE, "serverless"])
async def test_the_clusters_scaler_is_switched_on_above_a_floor(version):
    async with world(version, BOUNDS) as opened:
        cycles = await opened.cycles(12)
        # On serverless its floor has been zero, which no rule allows here even before a look.
        at_once = [body(native=True, low=1, high=8)] if version == "serverless" else []
        assert opened.bodies == [*at_once, body(native=True, low=4, high=8)]
        assert native_of(opened) == (4, 8)
        assert opened.requested("a") >= 4
        assert cycles[-1].words("a").startswith("a stays at 4 at least: ")


@pytest.mark.parametrize("version", WITHOUT_NATIVE)
async def test_where_there_are_no_bounds_it_is_said_and_tried_once_in_an_hour(version):
    async with world(version, rate_per_s=20.0, poll_s=60.0) as opened:
        opened.loop.ruleset = replace(policy(BOUNDS), max_interval_s=360.0)
        cycles = await opened.run_for(3500.0)
        (refused,) = [c.outcome("a") for c in cycles if c.kind("a") is OutcomeKind.UNSUPPORTED]
        assert refused.detail.endswith("adaptive allocations need Elasticsearch 8.16 or later")
        assert len(opened.asked) == 1
        assert opened.requested("a") == 1
        again = await opened.run_for(600.0)
        assert [c.kind("a") for c in again].count(OutcomeKind.UNSUPPORTED) == 1


@pytest.mark.parametrize("version", WITH_NATIVE)
async def test_who_switches_it_off_is_respected_until_it_is_on_again(version):
    async with world(version, BOUNDS) as opened:
        await opened.cycles(6)
        opened.set_native("a", enabled=False)
        during = await opened.cycles(6)
        assert len(opened.asked) == 1
        assert "were disabled again, so it is left as it is" in during[-1].words("a")
        opened.set_native("a", enabled=True, min_number_of_allocations=1)
        await opened.cycles(3)
        assert native_of(opened) == (4, 8)


OPENING = Schedule(
    name="opening", cron="0 9 * * *", timezone="UTC", length_s=3600.0, min_allocations=6
)
"""From 400 s after the start of these worlds."""


@pytest.mark.parametrize("version", [*WITH_NATIVE, "serverless"])
async def test_the_floor_is_raised_ahead_of_a_peak_and_nobody_waits(version):
    peak = Spike(base_per_s=10.0, peak_per_s=90.0, after_s=600.0, for_s=1200.0)
    async with world(version, replace(BOUNDS, schedules=(OPENING,)), load=peak) as opened:
        before = await opened.run_for(590.0)
        assert opened.requested("a") == 6
        assert opened.deployment("a").running == 6
        assert "schedule opening has at least 6" in before[-1].words("a")
        assert len(opened.asked) <= 3
        late = opened.deployment("a").ledger.waited_longer_than(1.0)
        await opened.run_for(60.0)
        assert opened.deployment("a").ledger.waited_longer_than(1.0) == late


@pytest.mark.parametrize("version", [*WITH_NATIVE, "serverless"])
async def test_while_the_daemon_is_away_the_clusters_scaler_follows_the_load(version):
    async with world(version, BOUNDS, rate_per_s=10.0) as opened:
        await opened.cycles(6)
        (floor, _) = native_of(opened)
        opened.emulation.start_load("a", Steady(rate_per_s=100.0))
        await opened.without_daemon(30.0)
        assert opened.requested("a") >= 5
        await opened.without_daemon(270.0)
        assert floor < opened.requested("a") <= 8
        asked = len(opened.asked)
        await opened.cycles(12)
        assert native_of(opened)[0] >= 6
        assert len(opened.asked) - asked <= 2


async def test_bounds_are_moved_seldom():
    wave = Spike(base_per_s=10.0, peak_per_s=90.0, after_s=300.0, for_s=600.0)
    async with world("9.3", BOUNDS, load=wave) as opened:
        await opened.run_for(1800.0)
        assert len(opened.asked) <= 12
        assert all(set(asked) == {"adaptive_allocations"} for asked in opened.bodies)
        downs = [asked.at for asked in opened.asked if asked.at > 900.0]
        assert all(after - before >= 60.0 for before, after in itertools.pairwise(downs))
        assert native_of(opened) == (1, 8)


@pytest.mark.parametrize("seen", [True, False], ids=["nodes seen", "nodes unseen"])
async def test_where_more_is_wanted_than_fits_the_clusters_scaler_gets_what_does(seen):
    """Left to itself it asks for all that it wants, is refused each time, and has one."""
    governed = policy(replace(BOUNDS, max_allocations=20))
    deployed = ScenarioDeployment(model_id="a", load=Steady(rate_per_s=200.0))
    other = ScenarioDeployment(model_id="b", number_of_allocations=3)
    nodes = [ScenarioNode(name="ml-1", processors=8)]
    wanted = scenario(deployed, other, version="9.3", nodes=nodes)
    only_a = policy(rule(name="b", deployments=("b",), exclude=True), *governed.rules)
    async with world_of(wanted, only_a) as opened:
        if not seen:
            for path in ("/_nodes*", "/_ml/info", "/_ml/memory/_stats"):
                opened.fail(path, calls=None, status=403, error_type="security_exception")
        await opened.run_for(500.0)
        low, _ = native_of(opened)
        assert 4 <= low <= 5
        assert opened.requested("a") == low
        assert len(opened.asked) <= 6
        opened.delete("b")
        await opened.run_until(lambda _: opened.requested("a") == 8, within_s=400.0)


# Handing back


def leaves(on_exit, **given):
    return rule(on_exit=on_exit, safe_allocations=3, max_allocations=8, min_allocations=1, **given)


@pytest.mark.parametrize("take_over", [True, False])
@pytest.mark.parametrize("version", WITH_NATIVE)
async def test_at_the_end_the_clusters_scaler_gets_it_back(version, take_over):
    governed = leaves(OnExit.ADAPTIVE, take_over=take_over)
    async with world(version, governed, native=NATIVE if take_over else None) as opened:
        await opened.cycles(6)
        (handed_back,) = await opened.hand_back()
        assert (handed_back.to, handed_back.kind) == (OnExit.ADAPTIVE, OutcomeKind.ACCEPTED)
        assert native_of(opened) == (1, 8)
        assert opened.bodies[-1] == body(native=True, low=1, high=8)
        assert await opened.hand_back() == [], "the second time there is nothing to do"


@pytest.mark.parametrize("version", WITHOUT_NATIVE)
async def test_at_the_end_there_may_be_nobody_to_give_it_to_and_it_stays_as_it_is(version):
    async with world(version, leaves(OnExit.ADAPTIVE)) as opened:
        await opened.cycles(6)
        (handed_back,) = await opened.hand_back()
        assert handed_back.kind is OutcomeKind.UNSUPPORTED
        assert handed_back.detail.endswith("adaptive allocations need Elasticsearch 8.16 or later")
        assert opened.requested("a") == 4


@pytest.mark.parametrize("version", [*WITHOUT_NATIVE, *WITH_NATIVE])
async def test_at_the_end_it_gets_a_number_that_is_safe(version):
    async with world(version, leaves(OnExit.FLOOR), rate_per_s=5.0) as opened:
        await opened.cycles(6)
        assert opened.requested("a") == 1
        (handed_back,) = await opened.hand_back()
        assert (handed_back.to, handed_back.kind) == (OnExit.FLOOR, OutcomeKind.ACCEPTED)
        assert (opened.requested("a"), native_of(opened)) == (3, None)


@pytest.mark.parametrize("version", WITH_NATIVE)
async def test_a_number_that_is_safe_ends_the_clusters_scaling(version):
    governed = leaves(OnExit.FLOOR, mode=Mode.BOUNDS)
    async with world(version, governed, rate_per_s=5.0) as opened:
        await opened.cycles(6)
        await opened.hand_back()
        assert (opened.requested("a"), native_of(opened)) == (3, None)


@pytest.mark.parametrize("to", OnExit)
async def test_at_the_end_what_was_left_to_the_cluster_stays_so(to):
    async with world("9.3", leaves(to), native=NATIVE) as opened:
        await opened.cycles(6)
        assert await opened.hand_back() == []
        assert opened.asked == []


@pytest.mark.parametrize("version", EVERY_VERSION)
async def test_at_the_end_it_may_be_kept(version):
    mode = Mode.DIRECT if version in WITHOUT_NATIVE else Mode.BOUNDS
    async with world(version, leaves(OnExit.KEEP, mode=mode)) as opened:
        await opened.cycles(6)
        asked = opened.asked
        assert await opened.hand_back() == []
        assert opened.asked == asked


async def test_serverless_gets_the_bounds_of_its_rule_back():
    async with world("serverless", leaves(OnExit.ADAPTIVE, mode=Mode.BOUNDS)) as opened:
        await opened.cycles(6)
        (handed_back,) = await opened.hand_back()
        assert handed_back.kind is OutcomeKind.ACCEPTED
        assert native_of(opened) == (1, 8)


async def test_serverless_keeps_no_number_that_is_safe_and_says_so():
    async with world("serverless", leaves(OnExit.FLOOR, mode=Mode.BOUNDS)) as opened:
        await opened.cycles(6)
        before = native_of(opened)
        (handed_back,) = await opened.hand_back()
        assert handed_back.kind is OutcomeKind.INVALID
        assert "cannot be disabled when running in serverless mode" in handed_back.detail
        assert native_of(opened) == before


async def test_what_the_last_cycle_has_changed_is_handed_back_as_well():
    governed = replace(leaves(OnExit.ADAPTIVE, take_over=True), max_allocations=2)
    async with world("9.3", governed, native=NATIVE) as opened:
        await opened.run_until(lambda cycle: cycle.decision("a").changes)
        assert native_of(opened) is None
        await opened.hand_back()
        assert native_of(opened) == (1, 2)


async def test_one_that_is_gone_by_then_is_nobodys_trouble():
    async with world("9.3", leaves(OnExit.FLOOR)) as opened:
        await opened.cycles(6)
        opened.delete("a")
        assert await opened.hand_back() == []


# `autoscaler release`


def configured(opened, on_exit, mode="direct"):
    floor = {"safe_allocations": 3} if on_exit == "floor" else {}
    defaults = {"max_allocations": 8, "mode": mode, "on_exit": on_exit} | floor
    own = {"elasticsearch": {"hosts": opened.running.url}, "rules": [{"name": "all"} | defaults]}
    return load(None, settings(own))


async def released(opened, on_exit):
    lines = []
    config = configured(opened, on_exit)
    failures = await opened.clock.run(release(config, ReleaseOptions(), opened.clock, lines.append))
    (line,) = lines
    assert failures == line.failed
    return line


@pytest.mark.parametrize("version", ["8.12", "8.16", "9.3", "serverless"])
@pytest.mark.parametrize("on_exit", ["adaptive", "floor", "keep"])
async def test_by_hand_it_is_left_as_at_the_end_of_the_daemon(version, on_exit):
    mode = Mode.DIRECT if version in WITHOUT_NATIVE else Mode.BOUNDS
    left = []
    for by_hand in (False, True):
        governed = leaves(OnExit(on_exit), mode=mode)
        async with world(version, governed, rate_per_s=5.0) as opened:
            await opened.cycles(6)
            if by_hand:
                opened.kill()
                name = "bounds" if mode is Mode.BOUNDS else "direct"
                config = configured(opened, on_exit, name)
                lines = []
                await opened.clock.run(
                    release(config, ReleaseOptions(), opened.clock, lines.append)
                )
                assert len(lines) == 1
            else:
                await opened.hand_back()
            left.append((opened.requested("a"), native_of(opened)))
    assert left[0] == left[1]


async def test_by_hand_what_failed_says_why():
    async with world("8.12", rule()) as opened:
        line = await released(opened, "adaptive")
        assert line.failed
        assert line.sentence.startswith("was not left to Elasticsearch's own scaler")
        assert line.sentence.endswith("adaptive allocations need Elasticsearch 8.16 or later")
