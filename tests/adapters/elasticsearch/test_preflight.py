"""What is found before the daemon starts, and what the operator is told to do about it."""

import re

import pytest

from autoscaler.adapters.elasticsearch.preflight import Level, inspect
from tests.adapters.elasticsearch.servers import (
    answer,
    api_for,
    deployment,
    info,
    page,
    refusal,
    reset,
    serving,
    stats,
)

ROOT, AUTHENTICATE, PRIVILEGES, LICENCE, ML_INFO, STATS = (
    "/",
    "/_security/_authenticate",
    "/_security/user/_has_privileges",
    "/_license",
    "/_ml/info",
    "/_ml/trained_models/_stats",
)
UNAUTHORISED = refusal(403, "security_exception", "action [x] is unauthorized for user [scaler]")


def privileges(*missing):
    names = ("monitor_ml", "manage_ml", "monitor")
    return answer({"cluster": {name: name not in missing for name in names}})


def licence(type_="enterprise", status="active"):
    return answer({"license": {"type": type_, "status": status, "max_nodes": None}})


def endpoints(**more):
    usual = {
        ROOT: answer(info()),
        AUTHENTICATE: answer({"username": "scaler", "authentication_type": "api_key"}),
        PRIVILEGES: privileges(),
        LICENCE: licence(),
        ML_INFO: answer({"upgrade_mode": False}),
        STATS: answer(stats(deployment("elser"))),
    }
    return usual | more


async def inspected(answers, **settings):
    async with serving(answers) as server, api_for(server, **settings) as api:
        return await inspect(api)


async def test_all_is_well():
    found = await inspected(endpoints())
    assert found.problems == ()
    assert found.ok
    assert found.can_update
    assert (found.cluster_name, found.version, found.build_flavor) == ("demo", "8.18.3", "default")
    assert (found.user, found.authentication_type) == ("scaler", "api_key")
    assert found.privileges == {"monitor_ml": True, "manage_ml": True, "monitor": True}
    assert (found.licence_type, found.licence_status, found.licence_ok) == (
        "enterprise",
        "active",
        True,
    )
    assert found.security_enabled
    assert found.upgrade_mode is False
    assert found.deployments == 1


WITHOUT_SECURITY = {
    "no handler": endpoints(),
    "not enabled": endpoints(
        **{
            AUTHENTICATE: refusal(
                500, "illegal_state_exception", "Security must be explicitly enabled when using"
            )
        }
    ),
}
del WITHOUT_SECURITY["no handler"][AUTHENTICATE]


@pytest.mark.parametrize("answers", WITHOUT_SECURITY.values(), ids=WITHOUT_SECURITY)
async def test_security_may_be_off(answers):
    found = await inspected(answers)
    assert found.security_enabled is False
    assert found.problems == ()
    assert found.can_update


@pytest.mark.parametrize(
    ("changes", "level", "sentence"),
    [
        ({ROOT: answer(info("8.5.3"))}, Level.WARNING, r"8\.5\.3 cannot change .*upgrade to 8\.6"),
        ({ROOT: answer(info("7.17.0"))}, Level.FATAL, r"7\.17\.0 .*upgrade to 8\.6"),
        ({ROOT: answer(info("main"))}, Level.WARNING, "'main' is not understood"),
        ({ROOT: answer(info("8.11.0", "serverless"))}, Level.WARNING, "serverless"),
        (
            {AUTHENTICATE: refusal(500, "null_pointer_exception", "oops")},
            Level.WARNING,
            "_authenticate was refused with 500",
        ),
        (
            {PRIVILEGES: privileges("monitor_ml")},
            Level.FATAL,
            "statistics .*scaler lacks the cluster privilege monitor_ml; grant monitor_ml",
        ),
        (
            {PRIVILEGES: privileges("manage_ml")},
            Level.WARNING,
            "watched but not scaled.*grant manage_ml",
        ),
        ({PRIVILEGES: privileges("monitor")}, Level.WARNING, "nodes .*grant monitor$"),
        ({LICENCE: licence("basic")}, Level.WARNING, "the licence is basic and active"),
        ({LICENCE: licence("trial", "expired")}, Level.WARNING, "trial and expired"),
        ({LICENCE: answer({}, 404)}, Level.WARNING, "no licence yet"),
        ({LICENCE: answer([])}, Level.WARNING, "cannot be read"),
        ({ML_INFO: answer({"upgrade_mode": True})}, Level.WARNING, "set_upgrade_mode"),
        ({STATS: answer(stats())}, Level.WARNING, "no deployments"),
        (
            {STATS: answer(stats(deployment("a", queue_capacity=-1)))},
            Level.WARNING,
            "the statistics of a cannot be read: .*queue_capacity",
        ),
        (
            {STATS: refusal(500, "null_pointer_exception", "oops")},
            Level.FATAL,
            "_stats was refused with 500 null_pointer_exception: oops",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
async def test_one_problem_is_one_sentence(changes, level, sentence):
    found = await inspected(endpoints(**changes))
    (problem,) = found.problems
    assert problem.level is level
    assert found.ok is (level is Level.WARNING)
    assert re.search(sentence, problem.sentence)


@pytest.mark.parametrize(
    "changes",
    [
        {ROOT: answer(info("8.5.3"))},
        {ROOT: answer(info("8.11.0", "serverless"))},
        {PRIVILEGES: privileges("manage_ml")},
    ],
    ids=["old", "serverless", "privilege"],
)
async def test_some_clusters_can_only_be_observed(changes):
    found = await inspected(endpoints(**changes))
    assert found.ok
    assert not found.can_update
    assert found.observe_only_because == found.problems[0].sentence


async def test_a_missing_privilege_is_told_once():
    refused = dict.fromkeys((ROOT, LICENCE, ML_INFO, STATS), UNAUTHORISED)
    found = await inspected(
        endpoints(**refused, **{PRIVILEGES: privileges("monitor_ml", "monitor")})
    )
    assert [problem.level for problem in found.problems] == [Level.FATAL, Level.WARNING]
    assert not found.ok


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (refusal(401, "security_exception", "unable to authenticate"), "check the credentials"),
        (page(404), "not as Elasticsearch does"),
        (answer(info(), headers={}), "is not Elasticsearch"),
        (page(502), "answered .* with 502"),
        (reset, "must begin with https"),
    ],
    ids=["credentials", "page", "stranger", "proxy", "reset"],
)
async def test_nothing_can_be_asked(broken, sentence):
    found = await inspected(broken, retries=0)
    (problem,) = found.problems
    assert problem.level is Level.FATAL
    assert not found.ok
    assert not found.can_update
    assert re.search(sentence, problem.sentence)


@pytest.mark.parametrize("path", [ROOT, PRIVILEGES, LICENCE, STATS])
async def test_credentials_may_be_revoked_halfway(path):
    found = await inspected(endpoints(**{path: refusal(401, "security_exception", "expired")}))
    (problem,) = found.problems
    assert problem.level is Level.FATAL
    assert "check the credentials" in problem.sentence


async def test_nobody_answers():
    async with api_for("http://127.0.0.1:1") as api:
        found = await inspect(api)
    (problem,) = found.problems
    assert "cannot be reached" in problem.sentence
