"""Every way in which a request can fail, and the next actions of the daemon.

Two deployments need more allocations and have one. Requests for `unruly` fail; `other` shows the
effect on the rest.
"""

import asyncio
from itertools import pairwise
from typing import NamedTuple

import pytest
from msgspec.structs import replace

from autoscaler.adapters.elasticsearch.error_rules import ERROR_RULES, Operation
from autoscaler.connection import Basic
from autoscaler.control_loop import DENIED_INTERVAL_FACTOR, MAX_FAILURE_INTERVAL_S
from autoscaler.core.decision import OutcomeKind
from autoscaler.core.flow.back_off import BACK_OFF
from autoscaler.core.flow.feedback import INFEASIBLE_HOLD_S
from autoscaler.core.values import Reason
from autoscaler.ports import FailureKind
from autoscaler.simulation.emulator.faults import Reset
from autoscaler.simulation.emulator.security import Security
from autoscaler.simulation.loads import Steady
from autoscaler.simulation.scenario import (
    Account,
    ScenarioDeployment,
    ScenarioNode,
    SecuritySettings,
)
from tests.end_to_end.world import POLL_S, STATS, scenario, update_of, world_of
from tests.observations import policy, rule

pytestmark = pytest.mark.untraced

UNRULY, OTHER = "unruly", "other"
BOTH = (ScenarioDeployment(model_id=OTHER), ScenarioDeployment(model_id=UNRULY))
THREE = policy(
    rule(name="first", deployments=(UNRULY,), min_allocations=3, max_allocations=6),
    rule(min_allocations=2, max_allocations=6),
)
"""`unruly` needs the larger increase, so its update is sent first."""


def both(**changes):
    return scenario(*BOTH, **changes)


class Refusal(NamedTuple):
    status: int
    type: str | None  # None: the response of a proxy, not of the cluster
    reason: str
    kind: OutcomeKind


INVALID = "action_request_validation_exception"
STATUS = "status_exception"
SECURITY = "security_exception"
PAGE = "<html><body>Sorry.</body></html>"

UPDATE_REFUSALS = {
    "not-positive": Refusal(
        400,
        INVALID,
        "Validation Failed: 1: [number_of_allocations] must be a positive integer;",
        OutcomeKind.INVALID,
    ),
    "allocations-with-adaptive-in-the-request": Refusal(
        400,
        INVALID,
        "Validation Failed: 1: [number_of_allocations] cannot be set if adaptive allocations is "
        "enabled;",
        OutcomeKind.ADAPTIVE_ENABLED,
    ),
    "minimum-negative": Refusal(
        400,
        INVALID,
        "Validation Failed: 1: [min_number_of_allocations] must be a non-negative integer or null;",
        OutcomeKind.INVALID,
    ),
    "maximum-not-positive": Refusal(
        400,
        INVALID,
        "Validation Failed: 1: [max_number_of_allocations] must be a positive integer or null;",
        OutcomeKind.INVALID,
    ),
    "minimum-above-maximum": Refusal(
        400,
        INVALID,
        "Validation Failed: 1: [min_number_of_allocations] must not be larger than "
        "[max_number_of_allocations];",
        OutcomeKind.INVALID,
    ),
    "low-priority-in-the-request": Refusal(
        400,
        INVALID,
        "Validation Failed: 1: [number_of_allocations] must be 1 when [priority] is low;",
        OutcomeKind.INVALID,
    ),
    "threads": Refusal(400, INVALID, "[threads] must be a power of 2", OutcomeKind.INVALID),
    "queue": Refusal(
        400, INVALID, "[queue_capacity] must be less than 100000", OutcomeKind.INVALID
    ),
    "wait-for": Refusal(400, INVALID, "[wait_for] is not known", OutcomeKind.INVALID),
    "adaptive-enabled": Refusal(
        400,
        "validation_exception",
        "[number_of_allocations] cannot be set if adaptive allocations is enabled",
        OutcomeKind.ADAPTIVE_ENABLED,
    ),
    "merged-bounds": Refusal(
        400,
        "validation_exception",
        "[min_number_of_allocations] must not be larger than [max_number_of_allocations]",
        OutcomeKind.INVALID,
    ),
    "low-priority": Refusal(
        400,
        "validation_exception",
        "[number_of_allocations] must be 1 when [priority] is low",
        OutcomeKind.INVALID,
    ),
    "inconsistent-id": Refusal(
        400, STATUS, "Inconsistent id; [x] specified in the body differs", OutcomeKind.INVALID
    ),
    "unknown-field": Refusal(
        400, "x_content_parse_exception", "[1:2] unknown field [number]", OutcomeKind.INVALID
    ),
    "unknown-adaptive-field": Refusal(
        400,
        "x_content_parse_exception",
        "[1:2] unknown field [adaptive_allocations]",
        OutcomeKind.UNSUPPORTED,
    ),
    "unparsable": Refusal(
        400, "illegal_argument_exception", "Failed to parse int parameter", OutcomeKind.INVALID
    ),
    "no-body": Refusal(400, "parse_exception", "request body is required", OutcomeKind.INVALID),
    "no-such-endpoint": Refusal(
        400, "illegal_argument_exception", "no handler found for uri [/_ml/…]", OutcomeKind.INVALID
    ),
    "wrong-method": Refusal(
        405, "illegal_argument_exception", "Incorrect method", OutcomeKind.INVALID
    ),
    "wrong-media-type": Refusal(406, "media_type_header_exception", "header", OutcomeKind.INVALID),
    "no-deployment": Refusal(
        404,
        "resource_not_found_exception",
        f"No known model deployment with id [{UNRULY}]",
        OutcomeKind.GONE,
    ),
    "no-deployment-with-another-reason": Refusal(
        404, "resource_not_found_exception", "deployment missing", OutcomeKind.UNRECOGNISED
    ),
    "not-started": Refusal(
        409,
        STATUS,
        f"cannot update deployment [{UNRULY}] that is not in [started] state",
        OutcomeKind.NOT_STARTED,
    ),
    "owned-by-an-endpoint": Refusal(
        409,
        STATUS,
        f"[{UNRULY}] was created by inference endpoint [{UNRULY}]",
        OutcomeKind.ENDPOINT_OWNED,
    ),
    "owned-by-an-endpoint-with-another-reason": Refusal(
        409, STATUS, "must be updated through the inference API", OutcomeKind.ENDPOINT_OWNED
    ),
    "no-capacity": Refusal(
        429,
        STATUS,
        "Could not update deployment because there are not enough resources to provide all "
        "requested allocations",
        OutcomeKind.NO_CAPACITY,
    ),
    "no-capacity-with-another-reason": Refusal(429, STATUS, "it is full", OutcomeKind.NO_CAPACITY),
    "upgrade-mode": Refusal(
        429, STATUS, "cannot update while upgrade mode is enabled", OutcomeKind.INVALID
    ),
    "overloaded": Refusal(
        429, "es_rejected_execution_exception", "rejected execution of task", OutcomeKind.UNKNOWN
    ),
    "out-of-memory": Refusal(
        429, "circuit_breaking_exception", "[parent] Data too large", OutcomeKind.UNKNOWN
    ),
    "unauthenticated": Refusal(
        401, SECURITY, "unable to authenticate user [u]", OutcomeKind.FORBIDDEN
    ),
    "unauthorised": Refusal(
        403, SECURITY, "action [x] is unauthorized for user [u]", OutcomeKind.FORBIDDEN
    ),
    "licence": Refusal(
        403, SECURITY, "current license is non-compliant for [ml]", OutcomeKind.FORBIDDEN
    ),
    "index-block": Refusal(
        403,
        "cluster_block_exception",
        "index [.ml-config] blocked by: [FORBIDDEN/8/index write (api)];",
        OutcomeKind.INVALID,
    ),
    "index-unauthorised": Refusal(
        403,
        SECURITY,
        "action [x] is unauthorized for user [u] on indices [.inference]",
        OutcomeKind.INVALID,
    ),
    "system-index-unauthorised": Refusal(
        403,
        SECURITY,
        "action [x] is unauthorized for user [u] on restricted indices [.ml-config]",
        OutcomeKind.INVALID,
    ),
    "cluster-block": Refusal(
        403,
        "cluster_block_exception",
        "blocked by: [FORBIDDEN/6/cluster read-only (api)];",
        OutcomeKind.FORBIDDEN,
    ),
    "forbidden-for-another-reason": Refusal(403, STATUS, "not this one", OutcomeKind.UNRECOGNISED),
    "conflict-for-another-reason": Refusal(409, STATUS, "not now", OutcomeKind.UNRECOGNISED),
    "another-conflict": Refusal(409, "new_exception", "not now", OutcomeKind.UNRECOGNISED),
    "another-400": Refusal(400, "new_exception", "not now", OutcomeKind.UNRECOGNISED),
    "no-index": Refusal(404, "index_not_found_exception", "no such index", OutcomeKind.INVALID),
    "serverless": Refusal(410, "api_not_available_exception", "not here", OutcomeKind.INVALID),
    "index-unavailable": Refusal(
        503,
        "cluster_block_exception",
        "index [.ml-config] blocked by: [SERVICE_UNAVAILABLE/1/state not recovered];",
        OutcomeKind.INVALID,
    ),
    "shards-unavailable": Refusal(
        503, "unavailable_shards_exception", "[.ml-config][0]", OutcomeKind.INVALID
    ),
    "no-shard": Refusal(
        503, "no_shard_available_action_exception", "no shard", OutcomeKind.INVALID
    ),
    "all-shards-failed": Refusal(
        503, "search_phase_execution_exception", "all shards failed", OutcomeKind.INVALID
    ),
    "no-master-block": Refusal(
        503,
        "cluster_block_exception",
        "blocked by: [SERVICE_UNAVAILABLE/2/no master];",
        OutcomeKind.UNKNOWN,
    ),
    "no-master": Refusal(503, "master_not_discovered_exception", "", OutcomeKind.UNKNOWN),
    "slow-master": Refusal(
        503, "process_cluster_event_timeout_exception", "failed to process", OutcomeKind.UNKNOWN
    ),
    "slow-master-in-other-versions": Refusal(
        429, "process_cluster_event_timeout_exception", "failed to process", OutcomeKind.UNKNOWN
    ),
    "node-left": Refusal(500, "node_not_connected_exception", "[ml-1] left", OutcomeKind.UNKNOWN),
    "server-timeout": Refusal(408, STATUS, "timed out", OutcomeKind.UNKNOWN),
    "proxy-502": Refusal(502, None, PAGE, OutcomeKind.UNKNOWN),
    "proxy-503": Refusal(503, None, PAGE, OutcomeKind.UNKNOWN),
    "proxy-504": Refusal(504, None, PAGE, OutcomeKind.UNKNOWN),
    "proxy-rate-limit": Refusal(429, None, PAGE, OutcomeKind.UNKNOWN),
    "proxy-empty": Refusal(502, None, "", OutcomeKind.UNKNOWN),
    "proxy-404": Refusal(404, None, PAGE, OutcomeKind.UNKNOWN),
    "portal-with-200": Refusal(200, None, PAGE, OutcomeKind.UNKNOWN),
}

OBSERVED_S = 320.0

SENT_AT = {
    # A refused count is not repeated until the hold ends, since nothing else changes.
    OutcomeKind.NO_CAPACITY: [0.0, INFEASIBLE_HOLD_S],
    # The next statistics show whether it has started or exists; here they show that it does.
    OutcomeKind.NOT_STARTED: [0.0, 10.0, 20.0, 40.0, 80.0, 160.0],
    OutcomeKind.GONE: [0.0, 10.0, 30.0, 70.0, 150.0, 310.0],
    OutcomeKind.ADAPTIVE_ENABLED: [0.0, 60.0, 180.0],
    OutcomeKind.ENDPOINT_OWNED: [0.0],
    OutcomeKind.UNSUPPORTED: [0.0],
    OutcomeKind.INVALID: [0.0, 60.0, 180.0],
    OutcomeKind.UNRECOGNISED: [0.0, 60.0, 180.0],
    # No update is sent for 15 minutes.
    OutcomeKind.FORBIDDEN: [0.0],
    OutcomeKind.UNKNOWN: [0.0, 10.0, 30.0, 70.0, 150.0, 310.0],
}
CONCERNS_ALL = {OutcomeKind.FORBIDDEN, OutcomeKind.UNKNOWN}


@pytest.mark.parametrize("refusal", UPDATE_REFUSALS.values(), ids=UPDATE_REFUSALS)
async def test_an_update_that_is_refused_repeatedly(refusal):
    async with world_of(both(), THREE) as world:
        world.fail(
            update_of(UNRULY),
            calls=None,
            status=refusal.status,
            error_type=refusal.type,
            body=refusal.reason,
        )
        first = await world.cycle()
        assert first.kind(UNRULY) is refusal.kind
        assert first.outcome(UNRULY).detail, "the reason is reported"
        withheld = refusal.kind in CONCERNS_ALL
        assert first.kind(OTHER) is (OutcomeKind.WITHHELD if withheld else OutcomeKind.ACCEPTED)

        await world.run_for(OBSERVED_S - world.now)
        sent = [update.at for update in world.updates if update.deployment_id == UNRULY]
        assert sent == SENT_AT[refusal.kind]
        assert world.attempts(update_of(UNRULY)) == len(sent), "updates are not repeated at once"
        assert world.requested(UNRULY) == 1
        assert world.requested(OTHER) == (1 if refusal.kind is OutcomeKind.FORBIDDEN else 2)

        world.faults.clear()
        await world.clock.advance(3600.0)
        await world.cycles(2)
        assert world.requested(UNRULY) == 3
        assert world.requested(OTHER) == 2
        assert set(world.updates_of(UNRULY)) == {3}, "always the recommended allocations"


def test_every_error_rule_is_covered():
    def first_match(refusal):
        return next(
            (
                row
                for row in ERROR_RULES
                if Operation.UPDATE in row.operations
                and row.status == refusal.status
                and row.kind in (None, refusal.type)
                and row.fragment in refusal.reason.lower()
            ),
            None,
        )

    tried = {first_match(refusal) for refusal in UPDATE_REFUSALS.values()}
    elsewhere = {"could not find trained model definition", "could not find trained model"}
    missing = {
        row
        for row in ERROR_RULES
        if Operation.UPDATE in row.operations and row.fragment not in elsewhere
    } - tried
    assert not missing


# Refusals of the cluster itself


async def test_adaptive_allocations_are_enabled_just_before_the_update():
    async with world_of(both(), THREE) as world:
        world.before_update(UNRULY, lambda: world.set_adaptive(UNRULY, enabled=True))
        first, *later = await world.cycles(12)
        assert first.kind(UNRULY) is OutcomeKind.ADAPTIVE_ENABLED
        assert first.kind(OTHER) is OutcomeKind.ACCEPTED
        assert {cycle.decision(UNRULY).reason for cycle in later} == {Reason.ADAPTIVE_ENABLED}
        assert world.updates_of(UNRULY) == [3]


async def test_the_deployment_is_deleted_just_before_the_update():
    async with world_of(both(), THREE) as world:
        world.before_update(UNRULY, lambda: world.delete(UNRULY))
        first, second, *_ = await world.cycles(6)
        assert (first.kind(UNRULY), first.kind(OTHER)) == (OutcomeKind.GONE, OutcomeKind.ACCEPTED)
        assert UNRULY not in second.observation.deployments
        assert world.updates_of(UNRULY) == [3]
        assert UNRULY not in world.loop.state.deployments


async def test_the_deployment_is_restarted_just_before_the_update():
    async with world_of(both(), THREE) as world:

        def restart():
            world.delete(UNRULY)
            world.cluster.start_deployment(UNRULY, number_of_allocations=1)

        world.before_update(UNRULY, restart)
        first, second = await world.cycles(2)
        assert (first.kind(UNRULY), first.kind(OTHER)) == (
            OutcomeKind.NOT_STARTED,
            OutcomeKind.ACCEPTED,
        )
        assert second.kind(UNRULY) is OutcomeKind.ACCEPTED


async def test_no_update_while_the_deployment_is_starting():
    slow = [replace(model, load_s=45.0) for model in both().models]
    async with world_of(both(models=slow), THREE) as world:
        world.delete(UNRULY)
        world.cluster.start_deployment(UNRULY, number_of_allocations=1)
        await world.cycles(5)
        assert world.updates_of(UNRULY) == []
        assert world.requested(OTHER) == 2
        await world.cycles(2)
        assert world.requested(UNRULY) == 3


async def test_an_inference_endpoint_owns_it():
    owned = ScenarioDeployment(model_id=UNRULY, owned_by_endpoint=True)
    async with world_of(scenario(BOTH[0], owned), THREE) as world:
        first = await world.cycle()
        assert (first.kind(UNRULY), first.kind(OTHER)) == (
            OutcomeKind.ACCEPTED,
            OutcomeKind.ACCEPTED,
        )
        assert world.requested(UNRULY) == 3
        assert world.attempts(update_of(UNRULY)) == 0


async def test_an_inference_endpoint_owns_it_and_cannot_be_updated():
    owned = ScenarioDeployment(model_id=UNRULY, owned_by_endpoint=True)
    async with world_of(scenario(BOTH[0], owned), THREE) as world:
        endpoint = f"/_inference/text_embedding/{UNRULY}/_update"
        world.fail(endpoint, calls=None, status=403, error_type="security_exception")
        first = await world.cycle()
        assert (first.kind(UNRULY), first.kind(OTHER)) == (
            OutcomeKind.ENDPOINT_OWNED,
            OutcomeKind.ACCEPTED,
        )
        assert "grant it" in first.outcome(UNRULY).detail
        await world.cycles(20)
        assert world.attempts(endpoint) == 1
        assert world.requested(UNRULY) == 1


async def test_a_low_priority_deployment_has_one_allocation():
    low = ScenarioDeployment(model_id=UNRULY, priority="low")
    governed = policy(
        rule(deployments=(UNRULY,), min_allocations=3, low_priority=True), rule(min_allocations=2)
    )
    async with world_of(scenario(BOTH[0], low, version="9.2.4"), governed) as world:
        first = await world.cycle()
        assert (first.kind(UNRULY), first.kind(OTHER)) == (
            OutcomeKind.INVALID,
            OutcomeKind.ACCEPTED,
        )
        assert world.requested(UNRULY) == 1


async def test_the_nodes_are_full():
    async with world_of(both(nodes=[ScenarioNode(name="ml-1", processors=3)]), THREE) as world:
        await world.cycles(20)
        assert world.updates == [(0.0, UNRULY, 2)]
        assert (world.requested(UNRULY), world.requested(OTHER)) == (2, 1)


async def test_the_nodes_are_full_and_cannot_be_read():
    async with world_of(both(nodes=[ScenarioNode(name="ml-1", processors=3)]), THREE) as world:
        world.fail("/_ml/info", calls=None, status=403, error_type=SECURITY)
        cycles = await world.cycles(20)
        assert (cycles[0].kind(UNRULY), cycles[0].kind(OTHER)) == (
            OutcomeKind.NO_CAPACITY,
            OutcomeKind.ACCEPTED,
        )
        assert {c.decision(UNRULY).reason for c in cycles[1:]} <= {Reason.CAPACITY, Reason.BOUNDS}
        assert world.updates_of(UNRULY) == [3]
        assert (world.requested(UNRULY), world.requested(OTHER)) == (1, 2)


def secured(*roles):
    return SecuritySettings(
        accounts=[Account(username="scaler", password="secret", roles=list(roles))],
        roles={"watcher": ["monitor_ml"]},
    )


async def authenticated(roles, body):
    auth = Basic("scaler", "secret")
    async with world_of(both(security=secured(*roles)), THREE, auth=auth) as world:
        await body(world)


async def test_a_user_without_manage_ml_only_observes():
    async def body(world):
        cycles = await world.run_for(BACK_OFF[OutcomeKind.FORBIDDEN][0])
        assert cycles[0].kinds == [OutcomeKind.WITHHELD, OutcomeKind.FORBIDDEN]
        assert "manage_ml" in cycles[0].outcome(UNRULY).detail
        assert len(world.updates) == 1
        assert all(cycle.plan is not None for cycle in cycles)
        assert {c.decision(OTHER).reason for c in cycles[1:]} == {Reason.BACK_OFF}
        await world.cycle()
        assert len(world.updates) == 2

    await authenticated(["watcher"], body)


async def test_a_user_with_all_privileges_scales():
    async def body(world):
        assert (await world.cycle()).kinds == [OutcomeKind.ACCEPTED, OutcomeKind.ACCEPTED]

    await authenticated(["machine_learning_admin"], body)


async def test_credentials_are_revoked_between_the_statistics_and_the_update():
    async def body(world):
        def revoke():
            world.emulation.security = Security()

        world.before_update(UNRULY, revoke)
        first, second = await world.cycles(2)
        assert first.kinds == [OutcomeKind.WITHHELD, OutcomeKind.FORBIDDEN]
        assert second.failure.kind is FailureKind.UNAUTHENTICATED
        assert len(world.updates) == 1

    await authenticated(["machine_learning_admin"], body)


async def test_after_an_expired_licence_updates_are_tried_four_times_an_hour():
    async with world_of(both(), THREE) as world:
        world.emulation.licence_expired = True
        await world.run_for(3600.0)
        assert [update.at for update in world.updates] == [0.0, 900.0, 1800.0, 2700.0]
        world.emulation.licence_expired = False
        await world.cycle()
        assert (world.requested(UNRULY), world.requested(OTHER)) == (3, 2)


async def test_without_a_master_the_other_updates_are_withheld():
    async with world_of(both(), THREE) as world:
        world.emulation.has_master = False
        (first,) = await world.cycles(1)
        assert first.kinds == [OutcomeKind.WITHHELD, OutcomeKind.UNKNOWN]
        world.emulation.has_master = True
        await world.cycles(3)
        assert (world.requested(UNRULY), world.requested(OTHER)) == (3, 2)


async def test_a_master_elected_within_the_timeout_makes_no_difference():
    async with world_of(both(), THREE) as world:
        world.emulation.has_master = False

        async def elect():
            await world.clock.sleep(5.0)
            world.emulation.has_master = True

        electing = asyncio.create_task(elect())
        first = await world.cycle()
        await electing
        assert first.kind(UNRULY) is OutcomeKind.ACCEPTED


@pytest.mark.parametrize("situation", ["upgrade_mode", "mixed_versions"])
async def test_no_updates_in_maintenance(situation):
    async with world_of(both(), THREE) as world:

        def begin():
            if situation == "upgrade_mode":
                world.cluster.upgrade_mode = True
            else:
                world.emulation.set_version("ml-2", "9.3.0")

        def end():
            world.cluster.upgrade_mode = False
            world.emulation.set_version("ml-2", None)

        begin()
        cycles = await world.cycles(12)
        assert {cycle.decision(UNRULY).reason for cycle in cycles} == {Reason.MAINTENANCE}
        assert world.updates == []
        end()
        await world.cycles(7)
        assert (world.requested(UNRULY), world.requested(OTHER)) == (3, 2)


# Lost responses: the update may have taken effect


@pytest.mark.parametrize(
    ("effect", "applied"),
    [
        ({"reset": Reset.BEFORE}, False),
        ({"reset": Reset.AFTER}, True),
        ({"truncate_to": 0}, True),
        ({"truncate_to": 40}, True),
    ],
    ids=["reset-before", "reset-after", "nothing-arrives", "half-arrives"],
)
async def test_the_response_is_lost(effect, applied):
    async with world_of(both(), THREE) as world:
        world.fail(update_of(UNRULY), **effect)
        first = await world.cycle()
        assert first.kinds == [OutcomeKind.WITHHELD, OutcomeKind.UNKNOWN]
        assert world.attempts(update_of(UNRULY)) == 1
        assert world.requested(UNRULY) == (3 if applied else 1)
        await world.cycles(3)
        assert (world.requested(UNRULY), world.requested(OTHER)) == (3, 2)
        # An update that took effect is visible in the statistics, and is not repeated.
        assert world.updates_of(UNRULY) == ([3] if applied else [3, 3])


async def test_the_response_times_out():
    async with world_of(both(), THREE, request_timeout_s=0.5) as world:
        world.fail(update_of(UNRULY), delay_s=3.0)
        first = await world.hanging_cycle()
        assert first.kinds == [OutcomeKind.WITHHELD, OutcomeKind.UNKNOWN]
        await world.cycles(3)
        assert world.updates_of(UNRULY) == [3], "it was carried out after all"
        assert (world.requested(UNRULY), world.requested(OTHER)) == (3, 2)


# Unreadable statistics


class Failure(NamedTuple):
    effect: dict[str, object]
    kind: FailureKind
    attempts: int = 1  # of one cycle
    periods: tuple[float, ...] = ()  # of three cycles, unless they follow from the attempts

    @property
    def periods_s(self) -> tuple[float, ...]:
        return self.periods or ((10.0, 20.0, 40.0) if self.attempts == 1 else (30.0, 60.0, 60.0))


def responding(status, type_, reason=""):
    return {"status": status, "error_type": type_, "body": reason}


def page(status):
    return {"status": status, "body": PAGE}


SELDOM_S = (POLL_S * DENIED_INTERVAL_FACTOR,) * 3
LESS_OFTEN_S = (3 * POLL_S, MAX_FAILURE_INTERVAL_S, MAX_FAILURE_INTERVAL_S)

STATS_FAILURES = {
    "unauthenticated": Failure(
        responding(401, SECURITY, "unable to authenticate"),
        FailureKind.UNAUTHENTICATED,
        1,
        SELDOM_S,
    ),
    "proxy-401": Failure(page(401), FailureKind.UNAUTHENTICATED, 1, SELDOM_S),
    "unauthorised": Failure(
        responding(403, SECURITY, "action [x] is unauthorized for user [u]"),
        FailureKind.FORBIDDEN,
        1,
        SELDOM_S,
    ),
    "licence": Failure(
        responding(403, SECURITY, "current license is non-compliant for [ml]"),
        FailureKind.FORBIDDEN,
        1,
        SELDOM_S,
    ),
    "unknown-parameter": Failure(
        responding(400, "illegal_argument_exception", "contains unrecognized parameter"),
        FailureKind.REFUSED,
    ),
    "not-found": Failure(
        responding(404, "resource_not_found_exception", "Could not find trained model"),
        FailureKind.REFUSED,
    ),
    "wrong-method": Failure(
        responding(405, None, '{"error":"no","status":405}'), FailureKind.REFUSED
    ),
    "server-timeout": Failure(
        responding(408, STATUS, "timed out"), FailureKind.TIMEOUT, 1, LESS_OFTEN_S
    ),
    "overloaded": Failure(
        responding(429, "es_rejected_execution_exception"), FailureKind.OVERLOADED, 3, LESS_OFTEN_S
    ),
    "out-of-memory": Failure(
        responding(429, "circuit_breaking_exception"), FailureKind.OVERLOADED, 3, LESS_OFTEN_S
    ),
    "defect": Failure(responding(500, "null_pointer_exception", "oops"), FailureKind.REFUSED),
    "no-master-block": Failure(
        responding(503, "cluster_block_exception", "blocked by: no master"),
        FailureKind.UNAVAILABLE,
        3,
    ),
    "no-master": Failure(
        responding(503, "master_not_discovered_exception"), FailureKind.UNAVAILABLE, 3
    ),
    "shards": Failure(
        responding(503, "search_phase_execution_exception", "all shards failed"),
        FailureKind.UNAVAILABLE,
        3,
    ),
    "proxy-502": Failure(page(502), FailureKind.UNAVAILABLE, 3),
    "proxy-503": Failure(page(503), FailureKind.UNAVAILABLE, 3),
    "proxy-504": Failure(page(504), FailureKind.TIMEOUT, 1, LESS_OFTEN_S),
    "proxy-429": Failure(page(429), FailureKind.OVERLOADED, 3, LESS_OFTEN_S),
    "proxy-404": Failure(page(404), FailureKind.MALFORMED),
    "proxy-redirect": Failure(page(302), FailureKind.MALFORMED),
    "portal": Failure(page(200), FailureKind.MALFORMED),
    # aiohttp by itself repeats a GET once whose connection breaks before the first byte.
    "reset-before": Failure({"reset": Reset.BEFORE}, FailureKind.UNREACHABLE, 6),
    "reset-after": Failure({"reset": Reset.AFTER}, FailureKind.UNREACHABLE, 6),
    "truncated": Failure({"truncate_to": 100}, FailureKind.UNREACHABLE, 3),
    "nothing-arrives": Failure({"truncate_to": 0}, FailureKind.UNREACHABLE, 3),
}


@pytest.mark.parametrize("failure", STATS_FAILURES.values(), ids=STATS_FAILURES)
async def test_unreadable_statistics(failure):
    async with world_of(both(), THREE) as world:
        world.fail(STATS, calls=None, **failure.effect)
        for skipped, period_s in enumerate(failure.periods_s, start=1):
            cycle = await world.cycle()
            assert cycle.plan is None
            assert cycle.failure.kind is failure.kind
            assert str(cycle.failure)
            assert cycle.period_s == period_s
            assert world.attempts(STATS) == skipped * failure.attempts
        assert world.updates == []
        assert (world.requested(UNRULY), world.requested(OTHER)) == (1, 1)
        world.faults.clear()
        assert (await world.cycle()).kinds == [OutcomeKind.ACCEPTED, OutcomeKind.ACCEPTED]


@pytest.mark.parametrize("failure", ["proxy-502", "reset-before", "truncated", "overloaded"])
async def test_a_transient_failure_does_not_skip_the_cycle(failure):
    async with world_of(both(), THREE) as world:
        world.fail(STATS, **STATS_FAILURES[failure].effect)
        assert (await world.cycle()).kinds == [OutcomeKind.ACCEPTED, OutcomeKind.ACCEPTED]


async def test_statistics_that_time_out():
    async with world_of(both(), THREE, request_timeout_s=0.5) as world:
        world.fail(STATS, delay_s=60.0)
        cycle = await world.hanging_cycle()
        assert cycle.failure.kind is FailureKind.TIMEOUT
        assert "raise request_timeout, and poll_interval" in str(cycle.failure)
        assert cycle.period_s == 3 * POLL_S
        assert world.attempts(STATS) == 1
        assert world.updates == []
        assert (await world.cycle()).kinds == [OutcomeKind.ACCEPTED, OutcomeKind.ACCEPTED]


@pytest.mark.parametrize("path", ["/_nodes/*", "/_ml/memory/*", "/_ml/info"])
async def test_the_node_statistics_are_optional(path):
    async with world_of(both(), THREE) as world:
        world.fail(path, calls=None, **page(502))
        assert (await world.cycle()).kinds == [OutcomeKind.ACCEPTED, OutcomeKind.ACCEPTED]


async def test_statistics_that_a_proxy_gives_up():
    async with world_of(both(), THREE) as world:
        world.fail(STATS, **page(504))
        cycle = await world.cycle()
        for key in ("time-out of the proxy", "request_timeout", "poll_interval"):
            assert key in str(cycle.failure)


async def test_statistics_that_take_thirty_seconds_are_not_requested_twice_at_once():
    """A request that the daemon gives up is still computed by the cluster."""
    async with world_of(both(), THREE, request_timeout_s=0.05) as world:
        world.fail(STATS, calls=None, delay_s=30.0)
        until, starts = world.now + 600.0, []
        while world.now < until:
            starts.append(world.now)
            await world.hanging_cycle()
        assert len(starts) <= 12
        assert min(after - before for before, after in pairwise(starts)) >= 30.0
        world.faults.clear()
        back, later = await world.cycles(2)
        assert back.kinds == [OutcomeKind.ACCEPTED, OutcomeKind.ACCEPTED]
        assert (back.period_s, later.period_s) == (POLL_S, POLL_S)


async def test_a_server_that_restarts():
    async with world_of(both(), THREE, hosts=("http://127.0.0.1:9",)) as world:
        cycle = await world.cycle()
        assert cycle.failure.kind is FailureKind.UNREACHABLE
        assert "127.0.0.1:9" in str(cycle.failure)


async def test_short_gaps_are_included_in_the_next_interval():
    busy = ScenarioDeployment(
        model_id=UNRULY, number_of_allocations=2, load=Steady(rate_per_s=20.0)
    )
    async with world_of(scenario(busy)) as world:
        await world.cycles(4)
        world.fail(STATS, calls=2, **responding(500, "null_pointer_exception"))
        assert [cycle.plan for cycle in await world.cycles(2)] == [None, None]
        sample = (await world.cycle()).decision(UNRULY).sample
        assert sample.interval_s == pytest.approx(4 * POLL_S)
        assert sample.issues == ()
        assert sample.arrivals == pytest.approx(800, rel=0.2)


async def test_missing_statistics_never_lead_to_a_decrease():
    busy = ScenarioDeployment(
        model_id=UNRULY, number_of_allocations=6, load=Steady(rate_per_s=60.0)
    )
    governed = policy(rule(stabilisation_window_s=120.0))
    async with world_of(scenario(busy), governed) as world:
        await world.cycles(20)
        held = world.requested(UNRULY)
        world.fail(STATS, calls=None, **page(503))
        world.emulation.stop_load(UNRULY)
        await world.run_for(600.0)
        world.faults.clear()
        seeing = await world.run_for(120.0)
        assert world.requested(UNRULY) == held
        assert all(not cycle.decision(UNRULY).changes for cycle in seeing[:-1])
        await world.run_for(120.0)
        assert world.requested(UNRULY) < held
