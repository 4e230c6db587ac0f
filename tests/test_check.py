"""`check`: its findings and its report, against an emulated cluster."""

import io
import json
import re
from contextlib import asynccontextmanager

import aiohttp
import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import TestServer
from msgspec.structs import replace
from rich.console import Console

from autoscaler.adapters.state import SqliteStore
from autoscaler.check import check, report, view_of
from autoscaler.config import load
from autoscaler.core.state import StoppedDeployment
from autoscaler.simulation.emulator.faults import Fault
from autoscaler.simulation.emulator.server import running_emulator
from autoscaler.simulation.scenario import (
    Account,
    Adaptive,
    ClusterScenario,
    ScenarioDeployment,
    ScenarioModel,
    ScenarioNode,
    SecuritySettings,
    adjust,
)
from tests.observations import deployment
from tests.virtual_clock import VirtualClock

STATS = "/_ml/trained_models/_stats"

OBSERVED_ONLY = 'observe only: the cluster rejects updates in mode "{}"'

RULES = """[
    {"name": "not these", "deployments": ["test-*"], "exclude": true, "low_priority": true},
    {"name": "watched", "deployments": ["watched"], "max_allocations": 3, "dry_run": true},
    {"name": "models", "models": ["e5"], "max_allocations": 8}
]"""

SCENARIO = ClusterScenario(
    nodes=[ScenarioNode(name="ml-1")],
    models=[ScenarioModel(model_id="e5"), ScenarioModel(model_id="reranker")],
    deployments=[
        ScenarioDeployment(model_id="e5"),
        ScenarioDeployment(model_id="e5", deployment_id="test-1"),
        ScenarioDeployment(model_id="e5", deployment_id=".hidden"),
        ScenarioDeployment(model_id="e5", deployment_id="lazy", priority="low"),
        ScenarioDeployment(model_id="e5", deployment_id="watched"),
        ScenarioDeployment(
            model_id="e5", deployment_id="adaptive", adaptive_allocations=Adaptive(enabled=True)
        ),
        ScenarioDeployment(model_id="reranker"),
    ],
)
SECURED = ClusterScenario(
    nodes=SCENARIO.nodes,
    models=SCENARIO.models,
    deployments=SCENARIO.deployments,
    security=SecuritySettings(
        accounts=[Account(username="watcher", password="secret", roles=["watching"])],
        roles={"watching": ["monitor_ml", "monitor"]},
    ),
)


async def findings(scenario, *, faults=(), **variables):
    """What `check` finds in an emulated cluster."""
    async with running_emulator(scenario, clock=VirtualClock()) as emulator:
        for fault in faults:
            emulator.emulation.faults.add(fault)
        environ = {"AUTOSCALER_ELASTICSEARCH__HOSTS": emulator.url, "AUTOSCALER_RULES": RULES}
        return await check(load(None, environ | variables))


def shown(found, width=120, terminal=False):
    stream = io.StringIO()
    report(found, Console(file=stream, width=width, force_terminal=terminal, color_system=None))
    return stream.getvalue()


def remarks(found):
    return {deployment.deployment_id: deployment.remark for deployment in found.deployments}


async def test_every_deployment_is_listed_with_its_status():
    found = await findings(SCENARIO)
    listed = remarks(found)
    assert list(listed) == sorted(listed)
    assert listed["e5"] == "managed"
    for deployment_id, text in {
        "test-1": "excludes it",
        ".hidden": "dot",
        "lazy": "priority is low",
        "watched": "dry run",
        "adaptive": "held: adaptive allocations are enabled",
        "reranker": "no rule matches it",
    }.items():
        assert text in listed[deployment_id], deployment_id
    assert found.fatal == ()


MODES = """[
    {"name": "bounds", "deployments": ["*-bounds"], "max_allocations": 8, "mode": "bounds"},
    {"name": "taken", "deployments": ["*-taken"], "max_allocations": 8, "take_over": true},
    {"name": "idle", "deployments": ["*-idle"], "max_allocations": 8,
        "scale_to_zero": {"after": "30m", "via": "stop"}},
    {"name": "watched", "deployments": ["watched"], "max_allocations": 3, "dry_run": true}
]"""
ENABLED = Adaptive(enabled=True)


def mode_scenario(version="9.2", **changes):
    """A cluster with deployments for every control mode."""
    deployments = [
        ScenarioDeployment(model_id="e5", deployment_id="on-bounds", adaptive_allocations=ENABLED),
        ScenarioDeployment(model_id="e5", deployment_id="off-bounds"),
        ScenarioDeployment(model_id="e5", deployment_id="on-taken", adaptive_allocations=ENABLED),
        ScenarioDeployment(model_id="e5", deployment_id="off-taken"),
        ScenarioDeployment(model_id="e5", deployment_id="owned-bounds", owned_by_endpoint=True),
        ScenarioDeployment(model_id="e5", deployment_id="owned-idle", owned_by_endpoint=True),
        ScenarioDeployment(model_id="e5", deployment_id="free-idle"),
        ScenarioDeployment(model_id="e5", deployment_id="watched"),
    ]
    settings = {
        "version": version,
        "nodes": SCENARIO.nodes,
        "models": SCENARIO.models,
        "deployments": deployments,
    }
    return ClusterScenario(**(settings | changes))


async def mode_findings(scenario, tmp_path, **variables):
    return await findings(
        scenario, AUTOSCALER_RULES=MODES, AUTOSCALER_STATE_DIR=str(tmp_path), **variables
    )


async def test_the_status_in_each_control_mode(tmp_path):
    found = await mode_findings(mode_scenario(), tmp_path)
    assert remarks(found) == {
        "on-bounds": "managed: bounds of its adaptive allocations would be set",
        "off-bounds": "managed: adaptive allocations would be enabled and their bounds set",
        "on-taken": "managed: adaptive allocations would be disabled",
        "off-taken": "managed",
        "owned-bounds": "managed: adaptive allocations would be enabled and their bounds set, "
        "owned by an inference endpoint",
        "owned-idle": "managed: owned by an inference endpoint, never stopped",
        "free-idle": "managed",
        "watched": "dry run: decisions are logged and not sent",
    }
    assert found.warnings == ()
    assert "7 of 8 deployments would be scaled." in shown(found)


async def test_bounds_on_a_version_without_them_are_warned_of(tmp_path):
    without = [
        ScenarioDeployment(model_id="e5", deployment_id=f"off-{name}") for name in ("bounds", "x")
    ]
    found = await mode_findings(mode_scenario("8.15", deployments=without), tmp_path)
    assert remarks(found)["off-bounds"] == OBSERVED_ONLY.format("bounds")
    warning, *unused = found.warnings
    assert [text.partition(":")[0] for text in unused] == [
        f"rule '{name}' matches no deployment" for name in ("taken", "idle", "watched")
    ]
    assert "8.15.0 has no adaptive allocations" in warning
    assert "upgrade to 8.16 or later" in warning
    assert "8.15.0 has no adaptive allocations" in shown(found)


async def unused_rules(*rules):
    found = await findings(SCENARIO, AUTOSCALER_RULES=json.dumps(rules))
    return list(found.unused_rules)


async def test_a_rule_that_matches_nothing_is_named():
    assert await unused_rules(
        {"name": "typo", "deployments": ["rerankr", "x-*"], "max_allocations": 2},
        {"name": "no such model", "models": ["elser"], "max_allocations": 2},
        {"name": "excludes nothing", "deployments": ["tests-*"], "exclude": True},
        {"name": "all", "max_allocations": 8},
    ) == [
        ("rule 'typo' matches no deployment: deployments = rerankr, x-*; did you mean reranker?"),
        "rule 'no such model' matches no deployment: models = elser",
        (
            "rule 'excludes nothing' matches no deployment: deployments = tests-*; "
            "did you mean test-1?"
        ),
    ]


async def test_a_rule_that_other_rules_leave_nothing_is_named():
    assert await unused_rules(
        {"name": "e", "deployments": ["e*"], "max_allocations": 2},
        {"name": "e5", "models": ["e5"], "deployments": ["e5"], "max_allocations": 2},
        {"name": "elastic", "deployments": [".h*"], "max_allocations": 2},
    ) == [
        "rule 'e5' applies to no deployment; it matches e5, but so does rule 'e' before it",
        (
            "rule 'elastic' applies to no deployment; it matches .hidden, but "
            "its id begins with a dot, and no rule includes hidden deployments"
        ),
    ]


async def test_a_rule_may_match_a_deployment_that_cannot_be_read():
    async with (
        running_emulator(SCENARIO, clock=VirtualClock()) as emulator,
        damaging(emulator.url) as url,
    ):
        rules = '[{"name": "five", "deployments": ["e5"], "max_allocations": 8}]'
        environ = {"AUTOSCALER_ELASTICSEARCH__HOSTS": url, "AUTOSCALER_RULES": rules}
        assert (await check(load(None, environ))).unused_rules == ()


async def test_with_an_expired_licence_nothing_would_be_scaled():
    async with running_emulator(SCENARIO, clock=VirtualClock()) as emulator:
        emulator.emulation.licence_expired = True
        environ = {"AUTOSCALER_ELASTICSEARCH__HOSTS": emulator.url, "AUTOSCALER_RULES": RULES}
        found = await check(load(None, environ))
    text = shown(found)
    assert "0 of 7 deployments would be scaled." in text
    assert "observe only: the licence is trial and expired" in text
    assert "renew or upgrade it" in text
    assert remarks(found)["e5"] == "observe only: the licence is trial and expired"


async def test_bounds_that_no_rule_sets_are_not_warned_of():
    rules = '[{"name": "direct", "max_allocations": 8}]'
    found = await findings(
        mode_scenario("8.15", deployments=[ScenarioDeployment(model_id="e5")]),
        AUTOSCALER_RULES=rules,
    )
    assert found.warnings == ()
    assert remarks(found) == {"e5": "managed"}


async def test_on_serverless_only_bounds_can_be_set(tmp_path):
    found = await mode_findings(mode_scenario("serverless"), tmp_path)
    listed = remarks(found)
    assert listed["on-bounds"] == "managed: bounds of its adaptive allocations would be set"
    assert listed["free-idle"].startswith("held: adaptive allocations are enabled; set take_over")
    assert listed["on-taken"] == OBSERVED_ONLY.format("direct")
    (warning,) = found.warnings
    assert "serverless" in warning
    assert 'mode = "bounds"' in warning


async def findings_of_scaler(tmp_path, *privileges):
    """The findings for a user with these privileges."""
    account = Account(username="scaler", password="secret", roles=["scaling"])
    security = SecuritySettings(accounts=[account], roles={"scaling": list(privileges)})
    return await mode_findings(
        mode_scenario(security=security),
        tmp_path,
        AUTOSCALER_ELASTICSEARCH__USERNAME="scaler",
        AUTOSCALER_ELASTICSEARCH__PASSWORD="secret",
    )


async def test_without_monitor_inference_nothing_is_stopped(tmp_path):
    found = await findings_of_scaler(tmp_path, "manage_ml")
    assert any("grant monitor_inference" in warning for warning in found.warnings)


async def test_without_read_pipeline_the_statistics_decide_about_stops(tmp_path):
    found = await findings_of_scaler(tmp_path, "manage_ml", "monitor", "manage_inference")
    (warning,) = found.warnings
    assert warning.endswith("grant read_pipeline")


async def test_endpoints_that_cannot_be_updated_are_reported(tmp_path):
    privileges = ("manage_ml", "monitor", "monitor_inference", "read_pipeline")
    found = await findings_of_scaler(tmp_path, *privileges)
    listed = remarks(found)
    assert listed["owned-bounds"] == "observe only: scaler lacks manage_inference"
    assert listed["on-bounds"] == "managed: bounds of its adaptive allocations would be set"
    (warning,) = found.warnings
    assert "scaler lacks the cluster privilege manage_inference; grant" in warning


@pytest.mark.parametrize("width", [80, 120])
async def test_the_report_is_complete_and_fits(width):
    text = shown(await findings(SCENARIO), width, terminal=True)
    for part in ("9.2.0", "trial active", "security", "disabled", "adaptive", "1..8", "models"):
        assert part in text
    assert "1 of 7 deployments would be scaled." in text
    assert max(map(len, text.splitlines())) <= width


async def test_the_same_as_json():
    view = view_of(await findings(SCENARIO))
    by_id = {each.deployment: each for each in view.deployments}
    assert (view.version, view.build_flavor, view.problems) == ("9.2.0", "default", ())
    assert view.security_enabled is False
    watched, hidden = by_id["watched"], by_id[".hidden"]
    assert (watched.rule, watched.min_allocations, watched.max_allocations) == ("watched", 1, 3)
    assert watched.status == "dry run: decisions are logged and not sent"
    assert [each.would_be_scaled for each in (watched, hidden, by_id["e5"])] == [False, False, True]
    assert (hidden.rule, hidden.max_allocations) == (None, None)


async def test_elsewhere_a_deployment_is_one_line():
    """For `grep` and `awk`: nothing is wrapped, and the model has a separate column."""
    lines = shown(await findings(SCENARIO), 10_000).splitlines()
    (line,) = [line for line in lines if "watched" in line.split()[:1]]
    assert re.split(r"  +", line.strip()) == [
        "watched",
        "e5",
        "1",
        "1..3",
        "watched",
        "dry run: decisions are logged and not sent",
    ]


async def test_a_user_without_manage_ml_can_only_observe_which_is_reported_once():
    found = await findings(
        SECURED,
        AUTOSCALER_ELASTICSEARCH__USERNAME="watcher",
        AUTOSCALER_ELASTICSEARCH__PASSWORD="secret",
    )
    assert found.fatal == ()
    assert remarks(found)["e5"] == "observe only: watcher lacks manage_ml"
    text = shown(found)
    assert text.count("lacks the cluster privilege manage_ml; grant manage_ml") == 1
    assert "0 of 7 deployments would be scaled." in text


async def test_wrong_credentials_are_fatal():
    found = await findings(
        adjust(SCENARIO, user="root:right"),
        AUTOSCALER_ELASTICSEARCH__USERNAME="root",
        AUTOSCALER_ELASTICSEARCH__PASSWORD="wrong",
    )
    (sentence,) = found.fatal
    assert "401" in sentence
    assert "wrong" not in sentence
    assert found.deployments == ()


async def test_a_cluster_that_cannot_be_reached_is_fatal():
    async with running_emulator(SCENARIO, clock=VirtualClock()) as emulator:
        url = emulator.url
    found = await check(load(None, {"AUTOSCALER_ELASTICSEARCH__HOSTS": url}))
    (sentence,) = found.fatal
    assert url in sentence
    assert shown(found) == "state       not saved\nrecording   off\n"


async def test_credentials_that_others_may_read_are_warned_of(tmp_path):
    key = tmp_path / "key"
    key.write_text("c2VzYW1l")
    key.chmod(0o644)
    found = await findings(SCENARIO, AUTOSCALER_ELASTICSEARCH__API_KEY_FILE=str(key))
    assert "chmod o-r" in shown(found)


OTHER_PROGRAMS = {
    "a web server": web.Response(text="<h1>not found</h1>", content_type="text/html", status=404),
    "Kibana": web.json_response(
        {"statusCode": 404, "error": "Not Found", "message": "Not Found"}, status=404
    ),
    "Elasticsearch, below its root": web.json_response(
        {"error": "no handler found for uri [/es/_security/_authenticate] and method [GET]"},
        status=400,
        headers={"X-Elastic-Product": "Elasticsearch"},
    ),
    "an index of Elasticsearch": web.json_response(
        {"error": {"type": "index_not_found_exception", "reason": "no such index [es]"}},
        status=404,
        headers={"X-Elastic-Product": "Elasticsearch"},
    ),
}


async def check_at_path(respond):
    """The check of a server that responds with this at every path, and the configured URL."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", respond)
    async with TestServer(application) as server:
        url = str(server.make_url("/es"))
        return url, await check(load(None, {"AUTOSCALER_ELASTICSEARCH__HOSTS": url}))


@pytest.mark.parametrize("response", OTHER_PROGRAMS.values(), ids=OTHER_PROGRAMS)
async def test_a_wrong_path_is_fatal(response):
    async def respond(_request):
        return web.Response(
            body=response.body, status=response.status, headers=response.headers.copy()
        )

    url, found = await check_at_path(respond)
    (sentence,) = found.fatal
    assert sentence.startswith("no Elasticsearch at this path: ")
    assert f"{url} " in sentence
    assert "check the address and its path in hosts" in sentence


@pytest.mark.parametrize("content_type", ["text/html", "application/json"])
async def test_another_program_is_fatal(content_type):
    async def respond(_request):
        return web.Response(text='{"version": {"number": "2.11.0"}}', content_type=content_type)

    url, found = await check_at_path(respond)
    (sentence,) = found.fatal
    assert sentence.startswith(f"{url} is not Elasticsearch")


async def test_one_slow_side_request_is_not_fatal():
    slow = Fault(path="/_ml/info", calls=None, delay_s=60.0)
    found = await findings(
        SCENARIO, faults=[slow], AUTOSCALER_ELASTICSEARCH__REQUEST_TIMEOUT="100ms"
    )
    assert found.fatal == ()
    assert any("GET /_ml/info within 100 ms" in warning for warning in found.warnings)
    assert "1 of 7 deployments would be scaled." in shown(found)


@asynccontextmanager
async def damaging(url):
    """The address of a proxy that reports `e5` twice, so that its statistics are unreadable."""

    async def forward(request):
        async with aiohttp.request(request.method, url + request.path_qs) as response:
            document = await response.json()
        entries = document.get("trained_model_stats", [])
        deployed = ((entry, entry.get("deployment_stats", {})) for entry in entries)
        entries += [entry for entry, stats in deployed if stats.get("deployment_id") == "e5"]
        headers = {"X-Elastic-Product": "Elasticsearch"}
        return web.json_response(document, status=response.status, headers=headers)

    proxy = web.Application()
    proxy.router.add_route("*", "/{path:.*}", forward)
    async with TestServer(proxy) as server:
        yield str(server.make_url("")).rstrip("/")


async def test_a_deployment_whose_statistics_cannot_be_read_is_listed_too():
    async with (
        running_emulator(SCENARIO, clock=VirtualClock()) as emulator,
        damaging(emulator.url) as url,
    ):
        environ = {"AUTOSCALER_ELASTICSEARCH__HOSTS": url, "AUTOSCALER_RULES": RULES}
        found = await check(load(None, environ))
    remark = remarks(found)["e5"]
    assert remark.startswith("not managed: its statistics cannot be read: ")
    assert "two entries have this deployment id" in remark
    assert "0 of 7 deployments would be scaled." in shown(found)


async def test_figures_that_cannot_be_read_are_named():
    async with running_emulator(SCENARIO, clock=VirtualClock()) as emulator:

        async def forward(request):
            async with aiohttp.request(request.method, emulator.url + request.path_qs) as response:
                document = await response.json()
            for entry in document.get("trained_model_stats", []):
                if "deployment_stats" in entry:
                    entry["deployment_stats"]["queue_capacity"] = "many"
            headers = {"X-Elastic-Product": "Elasticsearch"}
            return web.json_response(document, status=response.status, headers=headers)

        proxy = web.Application()
        proxy.router.add_route("*", "/{path:.*}", forward)
        async with TestServer(proxy) as server:
            url = str(server.make_url("")).rstrip("/")
            environ = {"AUTOSCALER_ELASTICSEARCH__HOSTS": url, "AUTOSCALER_RULES": RULES}
            found = await check(load(None, environ))
    assert remarks(found)["e5"] == "managed"
    assert any(
        warning.startswith("figures of e5 cannot be read and are unknown: ")
        and "queue_capacity" in warning
        for warning in found.warnings
    )


async def test_without_statistics_the_report_has_no_deployments():
    harmless = Fault(path=STATS)
    refusal = Fault(path=STATS, calls=None, status=400, error_type="illegal_argument_exception")
    found = await findings(SCENARIO, faults=[harmless, refusal])
    assert found.preflight.deployments == 7
    assert found.deployments == ()
    assert "would be scaled" not in shown(found)


async def test_markup_in_ids_is_shown_literally():
    rules = '[{"name": "[bold]all", "max_allocations": 8}]'
    found = await findings(SCENARIO, AUTOSCALER_RULES=rules)
    assert "[bold]all" in shown(found)


class TestStoppedDeployments:
    """Those that the daemon has stopped are in its state, and not in the statistics."""

    RULES = """[{
        "name": "idle", "deployments": ["idle"], "max_allocations": 2,
        "scale_to_zero": {"after": "30m", "via": "stop"}
    }, {"name": "others", "max_allocations": 8}]"""

    async def found(self, tmp_path, names):
        since = VirtualClock().now() - 60.0
        store = SqliteStore(tmp_path, VirtualClock(), structlog.get_logger(), in_thread=False)
        await store.open([])
        await store.save_stopped(
            {
                name: StoppedDeployment(stats=deployment(deployment_id=name), since=since)
                for name in names
            }
        )
        await store.close()
        variables = {"AUTOSCALER_STATE": "sqlite", "AUTOSCALER_STATE_DIR": str(tmp_path)}
        return await findings(SCENARIO, **variables, AUTOSCALER_RULES=self.RULES)

    async def test_they_are_listed_and_their_rules_apply(self, tmp_path):
        found = await self.found(tmp_path, ["idle"])
        assert found.unused_rules == ()
        (idle,) = [each for each in found.deployments if each.deployment_id == "idle"]
        assert (idle.stats.allocations, idle.rule.name, idle.managed) == (0, "idle", True)
        assert idle.remark.startswith("stopped by the daemon, because it was idle; ")

    async def test_unless_they_run(self, tmp_path):
        found = await self.found(tmp_path, ["e5"])
        assert "e5" in remarks(found)
        assert not [each for each in found.deployments if each.remark.startswith("stopped")]
        assert len(found.unused_rules) == 1

    async def test_a_record_that_cannot_be_read_is_none(self, tmp_path):
        (tmp_path / "autoscaler.stopped").write_text("{")
        variables = {"AUTOSCALER_STATE": "sqlite", "AUTOSCALER_STATE_DIR": str(tmp_path)}
        found = await findings(SCENARIO, **variables, AUTOSCALER_RULES=self.RULES)
        assert len(found.unused_rules) == 1


ACT = ["manage_ml", "monitor"]
ON_THE_LEASES = [f"autoscaler-leases:{name}" for name in ("read", "index", "auto_configure")]


async def leased(roles, **variables):
    """What is found with a lease, and a user with these privileges."""
    account = Account(username="scaler", password="secret", roles=["scaling"])
    security = SecuritySettings(accounts=[account], roles={"scaling": roles})
    return await findings(
        replace(SCENARIO, security=security),
        AUTOSCALER_ELASTICSEARCH__USERNAME="scaler",
        AUTOSCALER_ELASTICSEARCH__PASSWORD="secret",
        **({"AUTOSCALER_LEADERSHIP__LEASE": "elasticsearch"} | variables),
    )


ON_THE_STATE = [f"autoscaler-state:{name}" for name in ("read", "index", "delete", "create_index")]
IN_THE_CLUSTER = {"AUTOSCALER_STATE": "elasticsearch", "AUTOSCALER_LEADERSHIP__LEASE": "none"}


class TestTheStateInTheCluster:
    async def test_with_the_privileges_that_it_needs(self):
        found = await leased([*ACT, *ON_THE_STATE], **IN_THE_CLUSTER)
        assert found.state_problem == ""

    @pytest.mark.parametrize("left_out", ON_THE_STATE)
    async def test_without_one_of_them_it_cannot_be_saved(self, left_out):
        granted = [each for each in ON_THE_STATE if each != left_out]
        found = await leased([*ACT, *granted], **IN_THE_CLUSTER)
        assert found.state_problem in found.warnings
        assert found.state_problem == (
            "the state cannot be saved, because scaler lacks the index privilege "
            f"{left_out.partition(':')[2]} for autoscaler-state; grant read, index, delete, "
            "create_index for it"
        )

    async def test_without_security(self):
        found = await findings(SCENARIO, **IN_THE_CLUSTER)
        assert found.state_problem == ""


class TestTheLease:
    async def test_with_the_privileges_that_it_needs(self):
        found = await leased([*ACT, *ON_THE_LEASES])
        assert found.lease == ("autoscaler in the index autoscaler-leases, not written yet", "")
        assert "lease       autoscaler in the index" in shown(found)

    @pytest.mark.parametrize("left_out", ON_THE_LEASES)
    async def test_without_one_of_them_no_instance_can_lead(self, left_out):
        found = await leased([*ACT, *(each for each in ON_THE_LEASES if each != left_out)])
        (problem,) = [each for each in found.warnings if "lead" in each]
        assert problem.startswith("no instance can lead, because ")
        assert "autoscaler-leases" in problem
        assert problem.endswith("grant read, index and auto_configure for the index of the lease")
        assert f"warning: {problem[:40]}" in shown(found)

    async def test_without_security(self):
        found = await findings(SCENARIO, AUTOSCALER_LEADERSHIP__LEASE="elasticsearch")
        assert found.lease.problem == ""

    async def test_the_file_of_another_program(self, tmp_path):
        path = tmp_path / "lease"
        path.write_text("[defaults]")
        found = await leased(
            ACT, AUTOSCALER_LEADERSHIP__LEASE="file", AUTOSCALER_LEADERSHIP__FILE=str(path)
        )
        assert found.lease.description == str(path)
        assert "something else than a lease" in found.lease.problem

    async def test_a_file_is_not_created(self, tmp_path):
        path = tmp_path / "lease"
        found = await leased(
            ACT, AUTOSCALER_LEADERSHIP__LEASE="file", AUTOSCALER_LEADERSHIP__FILE=str(path)
        )
        assert found.lease == (f"{path}, not written yet", "")
        assert not path.exists()

    async def test_outside_of_kubernetes(self):
        found = await leased(ACT, AUTOSCALER_LEADERSHIP__LEASE="kubernetes")
        assert found.lease.problem.startswith("no instance can lead: ")

    async def test_without_a_lease(self):
        assert (await findings(SCENARIO)).lease is None
