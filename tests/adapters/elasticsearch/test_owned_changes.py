"""Changes of deployments that inference endpoints own."""

import pytest

from autoscaler.core.decision import OutcomeKind, SetAllocations, SetBounds
from tests.adapters.elasticsearch.changes import (
    ENABLED,
    INFERENCE,
    NO_ENDPOINTS,
    NO_MASTER,
    NOT_STARTED,
    OWNED,
    OWNED_CONFLICT,
    STATS,
    STATUS,
    UNAUTHORISED,
    UPDATE,
    UPDATE_ENDPOINT,
    cluster_of,
    outcome_of,
    sent,
)
from tests.adapters.elasticsearch.servers import (
    assigning,
    deployment,
    endpoint,
    page,
    refusal,
    respond,
    stats,
    truncated,
)


def owned(**responses):
    """A cluster in which an endpoint owns the deployment."""
    usual = {
        STATS: respond(stats(deployment("elser"))),
        INFERENCE: OWNED,
        UPDATE_ENDPOINT: respond(endpoint("elser")),
        UPDATE: OWNED_CONFLICT,
    }
    return usual | responses


def echo(**settings):
    return respond(endpoint("elser", **settings))


DISABLED = {"adaptive_allocations": {"enabled": False}}
ENDPOINT_BODIES = {
    "allocations": (SetAllocations(4), [{"num_allocations": 4}], echo(num_allocations=4)),
    "take over": (
        SetAllocations(4, take_over=True),
        [DISABLED, {"num_allocations": 4}],
        echo(num_allocations=4, adaptive_allocations={"enabled": False}),
    ),
    "take over, settings removed": (
        SetAllocations(4, take_over=True),
        [DISABLED, {"num_allocations": 4}],
        echo(num_allocations=4),
    ),
    "bounds": (
        SetBounds(1, 8),
        [{"adaptive_allocations": ENABLED}],
        echo(adaptive_allocations=ENABLED),
    ),
}


@pytest.mark.parametrize("known", [True, False], ids=["known", "not known"])
@pytest.mark.parametrize(
    ("change", "settings", "response"), ENDPOINT_BODIES.values(), ids=ENDPOINT_BODIES
)
async def test_a_deployment_of_an_endpoint_is_changed_through_it(change, settings, response, known):
    async with cluster_of(owned(**{UPDATE_ENDPOINT: response})) as (cluster, server):
        if known:
            await cluster.observe()
        for _ in range(2):
            await cluster.carry_out("elser", change)
    assert sent(server, UPDATE_ENDPOINT) == [{"service_settings": s} for s in settings] * 2
    assert server.requests[-1].method == "PUT"
    # After a refusal, the owner is known.
    assert server.paths.count(UPDATE) == (0 if known else 1)


WITHOUT = {
    "no such API": None,
    "not through it": refusal(400, STATUS, "[adaptive_allocations] cannot be updated"),
    "ignored": echo(num_allocations=1),
    "other bounds": echo(adaptive_allocations=ENABLED | {"min_number_of_allocations": 0}),
    "endpoint gone": refusal(404, "resource_not_found_exception", "no endpoint [elser]"),
}


@pytest.mark.parametrize("lacking", WITHOUT.values(), ids=WITHOUT)
async def test_a_change_that_the_endpoint_cannot_accept_is_sent_to_the_deployment(lacking):
    responses = owned(**{UPDATE: assigning}) | {UPDATE_ENDPOINT: lacking}
    async with cluster_of({k: v for k, v in responses.items() if v}) as (cluster, server):
        await cluster.observe()
        await cluster.carry_out("elser", SetBounds(1, 8))
    assert sent(server, UPDATE) == [{"adaptive_allocations": ENABLED}]


async def test_a_take_over_that_the_endpoint_ignores_is_one_call_to_the_deployment():
    responses = owned(**{UPDATE_ENDPOINT: WITHOUT["not through it"], UPDATE: assigning})
    async with cluster_of(responses) as (cluster, server):
        await cluster.observe()
        await cluster.carry_out("elser", SetAllocations(4, take_over=True))
    assert sent(server, UPDATE) == [{"number_of_allocations": 4} | DISABLED]


async def test_the_refusal_of_the_endpoint_is_reported_if_the_deployment_is_owned():
    refused = refusal(400, "validation_exception", "cannot be set if adaptive allocations is on")
    async with cluster_of(owned(**{UPDATE_ENDPOINT: refused})) as (cluster, _):
        await cluster.observe()
        outcome = await outcome_of(cluster, SetAllocations(4), "cannot be set if adaptive")
    assert outcome is OutcomeKind.ADAPTIVE_ENABLED


async def test_bounds_that_neither_accepts_are_owned_by_the_endpoint():
    async with cluster_of(owned()) as (cluster, _):
        await cluster.observe()
        outcome = await outcome_of(cluster, SetBounds(1, 8), "must be updated through")
    assert outcome is OutcomeKind.ENDPOINT_OWNED


@pytest.mark.parametrize("denied", [INFERENCE, UPDATE_ENDPOINT])
async def test_the_missing_privilege_for_an_endpoint_is_named(denied):
    async with cluster_of(owned(**{denied: UNAUTHORISED})) as (cluster, _):
        await cluster.observe()
        for _ in range(2):
            outcome = await outcome_of(
                cluster, SetAllocations(4), "manage_inference; grant it to scaler"
            )
            assert outcome is OutcomeKind.ENDPOINT_OWNED


@pytest.mark.parametrize(
    ("lost", "outcome"),
    [
        (NO_MASTER, OutcomeKind.UNKNOWN),
        (truncated, OutcomeKind.UNKNOWN),
        (NOT_STARTED, OutcomeKind.NOT_STARTED),
        (refusal(429, STATUS, "not enough resources to provide all"), OutcomeKind.NO_CAPACITY),
        (refusal(401, "security_exception", "no"), OutcomeKind.FORBIDDEN),
        (
            refusal(403, "security_exception", "non-compliant for [ml]"),
            OutcomeKind.FORBIDDEN,
        ),
        # These concern endpoints, and no other deployment.
        (
            refusal(403, "security_exception", "non-compliant for [inference]"),
            OutcomeKind.ENDPOINT_OWNED,
        ),
        (
            refusal(403, "cluster_block_exception", "index [.inference] blocked by: [x]"),
            OutcomeKind.ENDPOINT_OWNED,
        ),
    ],
    ids=lambda value: value if isinstance(value, OutcomeKind) else None,
)
async def test_a_change_through_an_endpoint_that_is_refused_or_lost_is_sent_once(lost, outcome):
    async with cluster_of(owned(**{UPDATE_ENDPOINT: lost})) as (cluster, server):
        await cluster.observe()
        assert await outcome_of(cluster, SetAllocations(4)) is outcome
    assert server.paths.count(UPDATE_ENDPOINT) == 1
    assert UPDATE not in server.paths


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"acknowledged": True},
        endpoint("another", num_allocations=4),
        {"endpoints": [endpoint("elser", num_allocations=4)]},
    ],
    ids=str,
)
async def test_a_200_that_does_not_confirm_the_allocations_is_unknown(body):
    async with cluster_of(owned(**{UPDATE_ENDPOINT: respond(body)})) as (cluster, server):
        await cluster.observe()
        assert await outcome_of(cluster, SetAllocations(4)) is OutcomeKind.UNKNOWN
    assert server.paths.count(UPDATE_ENDPOINT) == 1
    assert UPDATE not in server.paths


@pytest.mark.parametrize("body", [{}, {"inference_id": "another"}], ids=str)
async def test_nor_is_a_200_of_another_endpoint_a_success_for_bounds(body):
    async with cluster_of(owned(**{UPDATE_ENDPOINT: respond(body)})) as (cluster, server):
        await cluster.observe()
        assert await outcome_of(cluster, SetBounds(1, 8)) is OutcomeKind.UNKNOWN
    assert UPDATE not in server.paths


@pytest.mark.parametrize("lost", [NO_MASTER, NO_ENDPOINTS, page(502)], ids=lambda _: None)
async def test_a_refusal_is_reported_if_the_owner_cannot_be_read(lost):
    async with cluster_of(owned(**{INFERENCE: lost}), retries=0) as (cluster, _):
        outcome = await outcome_of(cluster, SetAllocations(4), "created by inference endpoint")
    assert outcome is OutcomeKind.ENDPOINT_OWNED


# Settings that the endpoint has stored already


def with_settings(**settings):
    return respond({"endpoints": [endpoint("elser", **settings)]})


def present(**stats_):
    return respond(stats(deployment("elser", **stats_)))


STORED = {
    "allocations": (
        present(number_of_allocations=5),
        with_settings(num_allocations=2),
        SetAllocations(2),
        [DISABLED, {"num_allocations": 2}],
    ),
    "bounds": (
        present(
            number_of_allocations=2,
            adaptive_allocations=ENABLED | {"max_number_of_allocations": 3},
        ),
        with_settings(adaptive_allocations=ENABLED),
        SetBounds(1, 8),
        [
            {"adaptive_allocations": ENABLED | {"max_number_of_allocations": 3}},
            {"adaptive_allocations": ENABLED},
        ],
    ),
    "bounds, disabled meanwhile": (
        present(number_of_allocations=2, adaptive_allocations={"enabled": False}),
        with_settings(adaptive_allocations=ENABLED),
        SetBounds(1, 8),
        [DISABLED, {"adaptive_allocations": ENABLED}],
    ),
    "at zero": (
        present(number_of_allocations=0),
        with_settings(num_allocations=2),
        SetAllocations(2),
        [DISABLED, {"num_allocations": 2}],
    ),
    "others": (
        present(number_of_allocations=5),
        with_settings(num_allocations=5),
        SetAllocations(2),
        [{"num_allocations": 2}],
    ),
    "not reported": (
        present(),
        with_settings(num_allocations=2),
        SetAllocations(2),
        [{"num_allocations": 2}],
    ),
}


def echoing():
    """An endpoint that returns what it was sent."""

    async def give(request):
        settings = (await request.json())["service_settings"]
        return await echo(**settings)(request)

    return give


@pytest.mark.parametrize(("now", "listed", "change", "settings"), STORED.values(), ids=STORED)
async def test_an_endpoint_that_has_the_settings_gets_others_first(now, listed, change, settings):
    responses = owned(**{STATS: now, INFERENCE: listed, UPDATE_ENDPOINT: echoing()})
    async with cluster_of(responses) as (cluster, server):
        await cluster.observe()
        await cluster.carry_out("elser", change)
    assert sent(server, UPDATE_ENDPOINT) == [{"service_settings": each} for each in settings]


async def test_so_does_one_that_has_accepted_them_without_an_effect():
    responses = owned(
        **{
            STATS: present(number_of_allocations=5),
            INFERENCE: with_settings(num_allocations=5),
            UPDATE_ENDPOINT: echoing(),
        }
    )
    async with cluster_of(responses) as (cluster, server):
        for _ in range(2):
            await cluster.observe()
            await cluster.carry_out("elser", SetAllocations(2))
    two = {"num_allocations": 2}
    assert [body["service_settings"] for body in sent(server, UPDATE_ENDPOINT)] == [
        two,
        DISABLED,
        two,
    ]
