"""Findings of the preflight, each as a sentence with its fix."""

import re

import aiohttp
import pytest

from autoscaler.adapters.elasticsearch.errors import ConnectionBroken
from autoscaler.adapters.elasticsearch.observed_ids import MAX_DEPLOYMENTS
from autoscaler.adapters.elasticsearch.preflight import inspect
from autoscaler.adapters.elasticsearch.preflight_report import Severity
from autoscaler.adapters.elasticsearch.transport_errors import remedy_of, transport_error_of
from autoscaler.core.decision import Mode
from autoscaler.wire.bounds import MAX_LISTED
from tests.adapters.elasticsearch.servers import (
    api_for,
    deployment,
    endpoint,
    info,
    page,
    refusal,
    reset,
    respond,
    serving,
    stats,
)

ROOT, AUTHENTICATE, PRIVILEGES, LICENCE, ML_INFO, STATS, INFERENCE = (
    "/",
    "/_security/_authenticate",
    "/_security/user/_has_privileges",
    "/_license",
    "/_ml/info",
    "/_ml/trained_models/_stats",
    "/_inference/_all",
)
USUAL = ("monitor_ml", "manage_ml", "monitor")
UNAUTHORISED = refusal(403, "security_exception", "action [x] is unauthorized for user [scaler]")


def privileges(*missing, names=USUAL):
    return respond({"cluster": {name: name not in missing for name in names}})


def licence(type_="enterprise", status="active"):
    return respond({"license": {"type": type_, "status": status, "max_nodes": None}})


def endpoints(**more):
    usual = {
        ROOT: respond(info()),
        AUTHENTICATE: respond({"username": "scaler", "authentication_type": "api_key"}),
        PRIVILEGES: privileges(),
        LICENCE: licence(),
        ML_INFO: respond({"upgrade_mode": False}),
        STATS: respond(stats(deployment("elser"))),
        INFERENCE: respond({"endpoints": []}),
    }
    return usual | more


async def inspected(responses, **settings):
    async with serving(responses) as server, api_for(server, **settings) as api:
        return await inspect(api)


async def test_no_problems():
    found = await inspected(endpoints())
    assert found.problems == ()
    assert found.ok
    assert not found.observe_only_because
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


@pytest.mark.parametrize("responses", WITHOUT_SECURITY.values(), ids=WITHOUT_SECURITY)
async def test_security_may_be_disabled(responses):
    found = await inspected(responses)
    assert found.security_enabled is False
    assert found.problems == ()
    assert found.ok
    assert not found.observe_only_because


@pytest.mark.parametrize(
    ("changes", "level", "sentence"),
    [
        (
            {ROOT: respond(info("8.5.3"))},
            Severity.WARNING,
            r"8\.5\.3 cannot change .*upgrade to 8\.6",
        ),
        ({ROOT: respond(info("7.17.0"))}, Severity.FATAL, r"7\.17\.0 .*upgrade to 8\.6"),
        ({ROOT: respond(info("main"))}, Severity.WARNING, "'main' is unknown"),
        (
            {AUTHENTICATE: refusal(500, "null_pointer_exception", "oops")},
            Severity.WARNING,
            "_authenticate was refused with 500",
        ),
        (
            {PRIVILEGES: privileges("monitor_ml")},
            Severity.FATAL,
            "statistics .*scaler lacks the cluster privilege monitor_ml; grant monitor_ml",
        ),
        (
            {PRIVILEGES: privileges("manage_ml")},
            Severity.WARNING,
            "observed but not scaled.*grant manage_ml",
        ),
        ({PRIVILEGES: privileges("monitor")}, Severity.WARNING, "nodes .*grant monitor$"),
        ({LICENCE: licence("basic")}, Severity.WARNING, "the licence is basic and active"),
        ({LICENCE: licence("trial", "expired")}, Severity.WARNING, "trial and expired"),
        ({LICENCE: respond({}, 404)}, Severity.WARNING, "no licence yet"),
        ({LICENCE: respond([])}, Severity.WARNING, "cannot be read"),
        ({LICENCE: respond({"license": {}})}, Severity.WARNING, "the licence is unknown"),
        (
            {LICENCE: refusal(404, "index_not_found_exception", "no such index [_license]")},
            Severity.WARNING,
            "index_not_found_exception",
        ),
        (
            {PRIVILEGES: respond({"username": "scaler"})},
            Severity.WARNING,
            "privileges monitor_ml, manage_ml, monitor is not reported",
        ),
        (
            {AUTHENTICATE: respond({"error": "Incorrect HTTP method"}, 405)},
            Severity.WARNING,
            "refused with 405",
        ),
        ({ML_INFO: respond({"upgrade_mode": True})}, Severity.WARNING, "set_upgrade_mode"),
        ({ML_INFO: respond({})}, Severity.WARNING, "_ml/info lacks upgrade_mode"),
        ({ML_INFO: respond({"upgrade_mode": "no"})}, Severity.WARNING, "nothing is changed"),
        ({STATS: respond(stats())}, Severity.WARNING, "no deployments"),
        (
            {STATS: respond(stats(deployment(-1)))},
            Severity.WARNING,
            r"the statistics of .*\[0\] cannot be read: .*deployment_id",
        ),
        (
            {STATS: refusal(500, "null_pointer_exception", "oops")},
            Severity.FATAL,
            "_stats was refused with 500 null_pointer_exception: oops",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
async def test_one_problem_is_one_sentence(changes, level, sentence):
    found = await inspected(endpoints(**changes))
    (problem,) = found.problems
    assert problem.level is level
    assert found.ok is (level is Severity.WARNING)
    assert re.search(sentence, problem.sentence)


@pytest.mark.parametrize(
    "changes",
    [
        {ROOT: respond(info("8.5.3"))},
        {PRIVILEGES: privileges("manage_ml")},
    ],
    ids=["old", "privilege"],
)
async def test_some_clusters_can_only_be_observed(changes):
    found = await inspected(endpoints(**changes))
    assert found.ok
    assert found.observe_only_because
    assert found.observe_only_because == found.problems[0].sentence


@pytest.mark.parametrize(
    ("root", "direct", "bounds"),
    [
        (info("8.11.0", "serverless"), 'serverless .*set mode = "bounds"', None),
        (info("8.15.5"), None, r'8\.15\.5 has no adaptive .*upgrade to 8\.16.*mode = "direct"'),
        (info("8.16.0"), None, None),
        (info("9.2.0"), None, None),
    ],
    ids=["serverless", "8.15", "8.16", "9.2"],
)
async def test_some_clusters_support_one_control_mode_only(root, direct, bounds):
    found = await inspected(endpoints(**{ROOT: respond(root)}))
    assert found.ok
    assert not found.observe_only_because
    assert found.problems == ()  # only the rules show whether it is a problem
    for mode, sentence in ((Mode.DIRECT, direct), (Mode.BOUNDS, bounds)):
        refused = found.rejection_of(mode)
        assert re.search(sentence, refused) if sentence else refused == ""


async def test_missing_features_of_serverless_are_no_problem():
    lacking = refusal(410, "api_not_available_exception", "not available in serverless mode")
    changes = {ROOT: respond(info("8.11.0", "serverless")), ML_INFO: lacking, LICENCE: lacking}
    found = await inspected(endpoints(**changes))
    assert found.problems == ()
    assert found.upgrade_mode is None


@pytest.mark.parametrize("mode", Mode)
async def test_every_control_mode_is_rejected_without_updates(mode):
    found = await inspected(endpoints(**{ROOT: respond(info("8.5.3"))}))
    assert found.rejection_of(mode) == found.observe_only_because


def owning(*missing, version="9.2.0"):
    """A cluster in which an endpoint owns the deployment."""
    return endpoints(
        **{
            ROOT: respond(info(version)),
            INFERENCE: respond({"endpoints": [endpoint("elser"), endpoint("not-deployed")]}),
            PRIVILEGES: privileges(*missing, names=(*USUAL, "manage_inference")),
        }
    )


async def test_deployments_of_endpoints_can_be_changed_with_the_privilege():
    found = await inspected(owning())
    assert found.owned == {"elser"}
    assert found.owned_rejected_because == ""
    assert found.problems == ()
    assert found.privileges["manage_inference"]


async def test_the_privilege_for_endpoints_is_required_if_there_are_any():
    found = await inspected(owning("manage_inference"))
    (problem,) = found.problems
    assert problem.level is Severity.WARNING
    assert problem.sentence == found.owned_rejected_because
    assert "scaler lacks the cluster privilege manage_inference; grant" in problem.sentence
    assert found.ok
    assert not found.observe_only_because


@pytest.mark.parametrize(
    "changes",
    [
        {INFERENCE: respond({"endpoints": []})},
        {INFERENCE: respond({"endpoints": [endpoint("not-deployed")]})},
        {INFERENCE: respond({"endpoints": [endpoint("x", deployment_id="elser")]})},
        {INFERENCE: UNAUTHORISED},
        {ROOT: respond(info("8.16.0"))},  # whose endpoints cannot be updated
    ],
    ids=["none", "not deployed", "attached", "unknown", "old"],
)
async def test_no_problem_with_endpoints_without_an_owned_deployment(changes):
    found = await inspected(owning("manage_inference") | changes)
    assert found.problems == ()  # only a rule that stops deployments makes it a problem
    assert "manage_inference" not in found.privileges
    unreadable = changes.get(INFERENCE) is UNAUTHORISED
    assert ("grant monitor_inference" in found.stop_rejected_because) is unreadable


UNLISTED = {
    "500": refusal(500, "null_pointer_exception", "oops"),
    "400": refusal(400, "status_exception", "Unknown service"),
    "no list": respond([]),
    "no key": respond({}),
    "proxy": page(502),
}


@pytest.mark.parametrize("version", ["8.19.4", "9.2.0"])
@pytest.mark.parametrize("answer", UNLISTED.values(), ids=UNLISTED)
async def test_endpoints_that_cannot_be_listed_are_warned_of(answer, version):
    responses = owning("manage_inference") | {ROOT: respond(info(version)), INFERENCE: answer}
    responses["/_inference/elser"] = answer
    found = await inspected(responses, retries=0)
    (problem,) = found.problems
    assert problem.level is Severity.WARNING
    assert "which inference endpoints own or use deployments is not known" in problem.sentence
    assert "no deployment is stopped" in problem.sentence
    guarded = version == "9.2.0"
    assert ("these are not changed" in problem.sentence) is not guarded
    assert found.unknown_owners == (frozenset() if guarded else {"elser"})
    assert found.complete


async def test_a_missing_privilege_is_reported_once():
    refused = dict.fromkeys((ROOT, LICENCE, ML_INFO, STATS), UNAUTHORISED)
    found = await inspected(
        endpoints(**refused, **{PRIVILEGES: privileges("monitor_ml", "monitor")})
    )
    assert [problem.level for problem in found.problems] == [Severity.FATAL, Severity.WARNING]
    assert not found.ok


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (refusal(401, "security_exception", "unable to authenticate"), "check the credentials"),
        (page(404), "no Elasticsearch at this path: .* with 404"),
        (respond(info(), headers={}), "is not Elasticsearch"),
        (page(502), "responded .* with 502; check whether Elasticsearch runs"),
        (page(429), "responded .* with 429; raise the rate limit"),
        (page(500), "responded .* with 500; see the log of the proxy"),
        (page(504), "responded .* with 504; check whether .* is overloaded"),
        (reset, "must begin with https"),
    ],
    ids=["credentials", "page", "stranger", "unavailable", "limited", "broken", "late", "reset"],
)
async def test_a_connection_problem_is_the_only_one_reported(broken, sentence):
    found = await inspected(broken, retries=0)
    (problem,) = found.problems
    assert problem.level is Severity.FATAL
    assert not found.ok
    assert not found.ok
    assert re.search(sentence, problem.sentence)


@pytest.mark.parametrize("path", [ROOT, PRIVILEGES, LICENCE, STATS, INFERENCE])
async def test_credentials_may_be_revoked_during_the_preflight(path):
    found = await inspected(endpoints(**{path: refusal(401, "security_exception", "expired")}))
    (problem,) = found.problems
    assert problem.level is Severity.FATAL
    assert "check the credentials" in problem.sentence


async def test_an_unreachable_cluster_is_one_problem():
    async with api_for("http://127.0.0.1:1") as api:
        found = await inspect(api)
    (problem,) = found.problems
    assert "cannot be reached" in problem.sentence


async def test_of_many_unreadable_deployments_some_are_named():
    damaged = [{"deployment_stats": {"deployment_id": f"d{n}", "nodes": {}}} for n in range(3)]
    damaged += [deployment(number) for number in range(20)]
    found = await inspected(endpoints(**{STATS: respond(stats(*damaged))}))
    sentences = [
        problem.sentence for problem in found.problems if "cannot be read" in problem.sentence
    ]
    assert len(sentences) == MAX_LISTED + 1
    assert f"{20 - MAX_LISTED} further deployments" in sentences[-1]


async def test_more_deployments_than_are_observed_are_reported():
    many = [deployment(f"d{number}") for number in range(MAX_DEPLOYMENTS + 1)]
    found = await inspected(endpoints(**{STATS: respond(stats(*many))}))
    (problem,) = found.problems
    assert f"has {MAX_DEPLOYMENTS + 1} deployments" in problem.sentence


@pytest.mark.parametrize(
    ("sentence", "remedy"),
    [
        ("the connection to http://es:9200 was lost", "; check whether the address must begin"),
        ("the connection to https://es:9200 was lost", "; check any proxy"),
        ("the connection to https://es:9200 was lost; see the log", ""),
    ],
)
def test_a_lost_connection_has_a_remedy_that_can_help(sentence, remedy):
    found = remedy_of(ConnectionBroken(sentence))
    assert found.startswith(remedy)
    assert bool(found) is bool(remedy)


def test_a_connection_that_cannot_be_made_in_time_has_a_remedy():
    error = transport_error_of(
        aiohttp.ConnectionTimeoutError(), request="GET /", place="http://es:9200", timeout_s=1.0
    )
    assert str(error).endswith("; check the address, and any firewall")
