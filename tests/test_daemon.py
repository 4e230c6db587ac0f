"""The daemon against an emulated cluster, with a clock that a test advances."""

import asyncio
import json
import os
import signal
import socket
import sqlite3
import threading
import time
from contextlib import asynccontextmanager, suppress

import aiohttp
import pytest
import structlog
from msgspec.structs import replace
from structlog.testing import capture_logs

from autoscaler import daemon as composition
from autoscaler.adapters.admin_http import CannotListen
from autoscaler.adapters.systemd import ServiceManager
from autoscaler.config import ConfigError, load
from autoscaler.daemon import Daemon
from autoscaler.preflight_loop import PREFLIGHT_INTERVAL_S
from autoscaler.simulation.emulator.faults import Fault
from autoscaler.simulation.emulator.server import running_emulator
from autoscaler.simulation.loads import Steady
from autoscaler.simulation.scenario import (
    Account,
    ClusterScenario,
    ScenarioDeployment,
    ScenarioModel,
    ScenarioNode,
    SecuritySettings,
)
from tests.adapters.elasticsearch.servers import serving
from tests.adapters.test_systemd import Systemd
from tests.virtual_clock import VirtualClock

SCENARIO = ClusterScenario(
    nodes=[ScenarioNode(name="ml-1")],
    models=[ScenarioModel(model_id="e5", service_time_s=0.05, load_s=2.0)],
    deployments=[
        ScenarioDeployment(model_id="e5", number_of_allocations=1, load=Steady(rate_per_s=60.0)),
    ],
)
WITHOUT_MANAGE_ML = ClusterScenario(
    nodes=SCENARIO.nodes,
    models=SCENARIO.models,
    deployments=SCENARIO.deployments,
    security=SecuritySettings(
        accounts=[Account(username="watcher", password="secret", roles=["watching"])],
        roles={"watching": ["monitor_ml", "monitor"]},
    ),
)

STOPS_WITHIN_S = 5.0

CONFIG = """
{top}
[elasticsearch]
hosts = ["{url}"]
[server]
port = {port}
[[rules]]
name = "all"
max_allocations = {most}
"""


@pytest.fixture(autouse=True)
def default_logging():
    structlog.reset_defaults()


class Broken:
    """A Recorder that raises once."""

    def __init__(self):
        self.calls = 0

    def planned(self, *_):
        self.calls += 1
        if self.calls == 1:
            raise ZeroDivisionError("a defect")

    def skipped(self, *_):
        pass


class Setup:
    """A daemon, its cluster, its file and its log."""

    def __init__(self, daemon, emulator, clock, path, log):
        self.daemon, self.emulator, self.clock, self.path = daemon, emulator, clock, path
        self.log = log
        self.task = None

    def write(self, *, top="", port=0, most=8, url=None):
        url = url or self.emulator.url
        self.path.write_text(CONFIG.format(top=top, url=url, port=port, most=most))

    def messages(self, event):
        return [entry["message"] for entry in self.log if entry["event"] == event]

    def levels(self, event):
        return [entry["log_level"] for entry in self.log if entry["event"] == event]

    async def until_logged(self, event, times=1):
        """Run the event loop, without virtual time passing, until an event is in the log."""
        async with asyncio.timeout(10):
            while len(self.messages(event)) < times:
                await asyncio.sleep(0)
        return self.messages(event)[-1]

    async def until_reloaded(self, event="config.reloaded", times=1):
        """Let so much time pass that a reload, once requested, is in the log."""
        await self.clock.advance(2 * composition.RELOAD_INTERVAL_S + composition.SETTLE_S)
        return await self.until_logged(event, times)

    async def get(self, path, **headers):
        """A response of the daemon's server."""
        url = f"http://127.0.0.1:{self.daemon.server.port}{path}"
        async with aiohttp.request("GET", url, headers=headers) as response:
            return response.status, await response.text()

    async def metric(self, name):
        _, text = await self.get("/metrics")
        (line,) = [line for line in text.splitlines() if line.startswith(f"{name} ")]
        return float(line.split()[-1])

    @property
    def requested(self):
        return self.emulator.cluster.deployments["e5"].requested


@asynccontextmanager
async def running(
    tmp_path,
    scenario=SCENARIO,
    *,
    recorders=(),
    started=True,
    config=None,
    service=composition.NO_SERVICE,
    log_lines_dropped=dict,
    **variables,
):
    """The daemon and its cluster; stopped at the end, unless it has ended before.

    `config` is the text of the configuration, with `{url}` for the address of the cluster.
    """
    clock = VirtualClock()
    async with running_emulator(scenario, clock=clock) as emulator:
        with capture_logs() as log:
            setup = Setup(None, emulator, clock, tmp_path / "config.toml", log)
            setup.write()
            if config is not None:
                setup.path.write_text(config.replace("{url}", emulator.url))
            setup.daemon = Daemon(
                lambda: load(setup.path, variables),
                clock=clock,
                recorders=recorders,
                service=service,
                log_lines_dropped=log_lines_dropped,
            )
            setup.task = asyncio.ensure_future(setup.daemon.run())
            try:
                if started:
                    await setup.daemon.started.wait()
                yield setup
                setup.daemon.stop()
                await setup.task
            finally:
                setup.task.cancel()
                with suppress(asyncio.CancelledError):
                    await setup.task


async def test_it_observes_scales_and_reports(tmp_path):
    async with running(tmp_path) as setup:
        assert (await setup.get("/readyz"))[0] == 503
        await setup.clock.advance(60.0)
        assert setup.requested == 5  # 60/s of 50 ms each at 70%
        assert (await setup.get("/healthz")) == (200, "ok\n")
        assert (await setup.get("/readyz")) == (200, "ok\n")
        status, metrics = await setup.get("/metrics")
        assert status == 200
        assert 'deployment="e5"' in metrics
        assert any("e5 1 -> 5" in message for message in setup.messages("update.accepted"))
    assert setup.messages("daemon.stopped")


async def test_its_status_page_shows_what_it_does_and_which_configuration_is_in_force(tmp_path):
    async with running(tmp_path) as setup:
        await setup.clock.advance(120.0)
        _, overview = await setup.get("/", Accept="text/html")
        assert "Configuration " in overview
        assert ": 1 rule<" in overview
        assert 'href="/deployments/e5"' in overview
        _, page = await setup.get("/deployments/e5", Accept="text/html")
        assert "update, accepted" in page  # from the history
        assert "Candidates that were weighed" in page
        setup.write(most=0)
        await setup.until_reloaded("config.reload_failed")
        _, overview = await setup.get("/", Accept="text/html")
        assert "the previous one in force" in overview
        assert "max_allocations" in overview


async def test_it_sends_metrics_and_decisions_by_otlp_and_a_receiver_that_hangs_delays_nothing(
    tmp_path,
):
    pytest.importorskip("opentelemetry.proto", reason="needs the extra otel, as the dev lock has")
    async with serving() as receiver:
        receiver.responses = [receiver.never]
        otlp = f'[otlp]\nendpoint = "{receiver.url}"\n'
        text = otlp + CONFIG.format(top="", url="{url}", port=0, most=8)
        async with running(tmp_path, config=text) as setup:
            await setup.clock.advance(60.0)
            async with asyncio.timeout(10):
                while len(receiver.requests) < 2:
                    await asyncio.sleep(0)
            assert {each.path for each in receiver.requests} == {"/v1/metrics", "/v1/logs"}
            await setup.clock.advance(60.0)
            assert await setup.metric('autoscaler_cycles_total{result="completed"}') >= 13
            failed = 'autoscaler_otlp_exports_total{result="failed",signal="metrics"}'
            assert await setup.metric(failed) == 0
        assert setup.messages("daemon.stopped")


async def test_the_service_manager_learns_what_the_daemon_does(tmp_path):
    systemd = Systemd(str(tmp_path / "notify"))
    service = ServiceManager(
        {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "300000000"}
    )
    with systemd.socket:
        async with running(tmp_path, service=service) as setup:
            assert systemd.received() == [], "no cycle has ended"
            await setup.clock.advance(11.0)
            ready, *others = systemd.received()
            assert ready[:3] == ["READY=1", "WATCHDOG=1", "WATCHDOG_USEC=120000000"]
            assert ready[3] == "STATUS=1 deployment observed"
            assert all(each[0] == "WATCHDOG=1" for each in others)
            os.kill(os.getpid(), signal.SIGHUP)
            await setup.until_reloaded()
            began, *_, ended = [each for each in systemd.received() if each[0] != "WATCHDOG=1"]
            assert (began[0], ended) == ("RELOADING=1", ["READY=1"])
            setup.write(top='poll_interval = "1m"')
            await setup.until_reloaded(times=2)
            await setup.clock.advance(60.0)
            assert systemd.received()[-1][1] == "WATCHDOG_USEC=600000000"
        assert ["STOPPING=1"] in systemd.received()


async def test_a_restart_continues_with_the_saved_state(tmp_path):
    few = replace(SCENARIO.deployments[0], number_of_allocations=8, load=Steady(rate_per_s=20.0))
    variables = {"AUTOSCALER_STATE_DIR": str(tmp_path / "state")}
    async with running(tmp_path, replace(SCENARIO, deployments=[few]), **variables) as setup:
        await setup.clock.advance(590.0)
        assert setup.requested == 8, "without a state, what was found is kept"
        await setup.clock.advance(300.0)
        assert setup.requested < 8
        (opened,) = setup.messages("state.opened")
        assert opened.startswith(f"the state is in {tmp_path}/state/autoscaler.sqlite, ")
        assert opened.endswith(" MB: 0 deployments, and 0 stopped")
        setup.daemon.stop()
        await setup.task
        setup.daemon = Daemon(lambda: load(setup.path, variables), clock=setup.clock)
        setup.task = asyncio.ensure_future(setup.daemon.run())
        await setup.daemon.started.wait()
        _, opened = setup.messages("state.opened")
        assert opened.endswith(" s ago: 1 deployment, and 0 stopped")
        await setup.clock.advance(15.0)
        _, text = await setup.get("/decisions/e5")
        assert "first_observation" not in text
        assert "cold_start" not in text


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_and_its_handler_is_restored(tmp_path, signum):
    before = signal.getsignal(signum)
    async with running(tmp_path) as setup:
        assert signal.getsignal(signum) is not before
        os.kill(os.getpid(), signum)
        async with asyncio.timeout(STOPS_WITHIN_S):
            await setup.task
    assert signal.getsignal(signum) is before


async def test_a_signal_ends_it_while_the_disk_of_its_state_hangs(tmp_path, monkeypatch):
    hanging, released = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def connect(*_arguments, **_options):
        loop.call_soon_threadsafe(hanging.set)
        released.wait()
        raise sqlite3.OperationalError("the disk hung")

    monkeypatch.setattr(sqlite3, "connect", connect)
    variables = {"AUTOSCALER_STATE_DIR": str(tmp_path / "state")}
    async with running(tmp_path, started=False, **variables) as setup:
        await hanging.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(STOPS_WITHIN_S):
            await setup.task
        assert setup.messages("daemon.stopped") == ["autoscaler has stopped before it began"]
        released.set()


async def test_it_ends_within_the_timeout_even_if_the_cluster_hangs(tmp_path):
    async with running(tmp_path, started=False) as setup:
        # Responses take an hour of virtual time, which does not pass.
        setup.emulator.emulation.faults.add(Fault(calls=None, delay_s=3600.0))
        await setup.daemon.started.wait()
        await setup.clock.advance(0.0)
        begin = time.monotonic()
        os.kill(os.getpid(), signal.SIGTERM)
        await setup.task
        assert time.monotonic() - begin < STOPS_WITHIN_S
        assert setup.messages("daemon.stopped")


async def test_credentials_that_others_may_read_are_logged_once_at_start(tmp_path):
    key = tmp_path / "key"
    key.write_text("c2VzYW1l")
    key.chmod(0o644)
    async with running(tmp_path, AUTOSCALER_ELASTICSEARCH__API_KEY_FILE=str(key)) as setup:
        await setup.clock.advance(60.0)
        (message,) = setup.messages("credentials.exposed")
        assert f"chmod o-r {key}" in message


async def test_credentials_that_others_may_read_after_a_reload_are_logged_then(tmp_path):
    async with running(tmp_path) as setup:
        await setup.clock.advance(60.0)
        assert setup.messages("credentials.exposed") == []
        text = setup.path.read_text()
        setup.path.write_text(text.replace("[server]", 'api_key = "c2VzYW1l"\n[server]'))
        setup.path.chmod(0o644)
        await setup.until_reloaded()
        await setup.clock.advance(60.0)
        (message,) = setup.messages("credentials.exposed")
        assert message == (
            f"a secret in {setup.path} can be read by every user of this machine; withdraw that "
            f"with `chmod o-r {setup.path}`"
        )


async def test_former_names_are_logged_once_at_start(tmp_path):
    variables = {"DEFAULTS__ON_EXIT": "native", "DEFAULTS__TAKE_OVER": "true"}
    variables = {f"AUTOSCALER_{name}": value for name, value in variables.items()}
    async with running(tmp_path, **variables) as setup:
        await setup.clock.advance(60.0)
        setup.daemon.reload()
        await setup.until_reloaded()
        assert setup.messages("config.deprecated") == [
            'AUTOSCALER_DEFAULTS__ON_EXIT: "native" is deprecated; use "adaptive"'
        ]


class TestReloading:
    async def test_a_former_name_in_the_new_configuration_is_logged_once(self, tmp_path):
        async with running(tmp_path) as setup:
            setup.write(top='[defaults]\non_exit = "native"\ntake_over = true')
            for _ in range(2):
                setup.daemon.reload()
                await setup.clock.advance(60.0)
            await setup.until_reloaded("config.deprecated")
            (warning,) = setup.messages("config.deprecated")
            assert warning.endswith('"native" is deprecated; use "adaptive"')

    async def test_sighup_puts_changed_rules_into_effect(self, tmp_path):
        async with running(tmp_path) as setup:
            await setup.clock.advance(60.0)
            setup.write(most=2)
            os.kill(os.getpid(), signal.SIGHUP)
            message = await setup.until_reloaded()
            assert message == "configuration reloaded"
            await setup.clock.advance(60.0)
            assert setup.requested == 2

    async def test_sighup_is_logged_even_if_nothing_has_changed(self, tmp_path):
        async with running(tmp_path) as setup:
            setup.daemon.reload()
            await setup.until_reloaded()

    async def test_a_changed_file_is_noticed_and_an_unchanged_one_is_not_logged(self, tmp_path):
        async with running(tmp_path) as setup:
            setup.write(most=3)
            await setup.until_reloaded()
            assert len(setup.messages("config.reloaded")) == 1
            setup.write(top="nonsense = 1")
            await setup.until_reloaded("config.reload_failed")
            assert len(setup.messages("config.reload_failed")) == 1
            setup.write(most=3)
            await setup.clock.advance(10.0 * composition.RELOAD_INTERVAL_S)
        assert len(setup.messages("config.reloaded")) == 2
        assert len(setup.messages("config.reload_failed")) == 1

    async def test_an_invalid_file_changes_nothing_and_is_reported(self, tmp_path):
        async with running(tmp_path) as setup:
            successful = "autoscaler_config_last_reload_successful"
            assert await setup.metric(successful) == 1.0
            setup.write(top='poll_interval = "soon"', most=2)
            setup.daemon.reload()
            message = await setup.until_reloaded("config.reload_failed")
            assert message.startswith("the previous configuration stays in effect: ")
            assert "poll_interval" in message
            assert await setup.metric(successful) == 0.0
            await setup.clock.advance(60.0)
            assert setup.requested == 5
            setup.write(most=2)
            setup.daemon.reload()
            await setup.until_reloaded()
            assert await setup.metric(successful) == 1.0

    async def test_a_reload_and_a_refused_one_are_in_the_history(self, tmp_path):
        async with running(tmp_path) as setup:
            setup.write(top='poll_interval = "soon"')
            await setup.until_reloaded("config.reload_failed")
            setup.write(most=2)
            await setup.until_reloaded()
            _, body = await setup.get("/api/v1/history")
            found = [
                (each["kind"], each["message"])
                for each in json.loads(body)["entries"]
                if each["kind"].startswith("config")
            ]
            assert found[0] == ("config_reloaded", "configuration reloaded")
            assert found[1][0] == "config_refused"
            assert "poll_interval" in found[1][1]

    async def test_users_and_limits_of_the_server_take_effect_at_once(self, tmp_path):
        async with running(tmp_path) as setup:
            text = setup.path.read_text()
            limited = text.replace("[[rules]]", "rate_limit.per_second = 0.001\n[[rules]]")
            setup.path.write_text(limited.replace("0.001", "0.001\nrate_limit.burst = 1"))
            assert await setup.until_reloaded() == "configuration reloaded"
            statuses = [(await setup.get("/api/v1/status"))[0] for _ in range(2)]
            assert statuses == [200, 429]
            hashed = "$2b$10$" + 53 * "."
            setup.path.write_text(text.replace("[[rules]]", f'users.a = "{hashed}"\n[[rules]]'))
            assert await setup.until_reloaded(times=2) == "configuration reloaded"
            assert (await setup.get("/api/v1/status"))[0] == 401
            assert (await setup.get("/healthz"))[0] == 200

    async def test_all_problems_of_an_invalid_file_are_logged(self, tmp_path):
        async with running(tmp_path) as setup:
            setup.write(top='poll_interval = "soon"\nnonsense = 1')
            setup.daemon.reload()
            message = await setup.until_reloaded("config.reload_failed")
            assert message.endswith("stays in effect: the new one has 2 problems")
            (line,) = [each for each in setup.log if each["event"] == "config.reload_failed"]
            first, second = line["problems"]
            assert "poll_interval: must be" in first
            assert "nonsense: no such key" in second

    async def test_settings_that_need_a_restart_are_named_at_every_reload(self, tmp_path):
        async with running(tmp_path) as setup:
            setup.write(port=9)
            setup.daemon.reload()
            assert "except [server], which needs a restart" in await setup.until_reloaded(
                "config.reloaded"
            )
            setup.write(port=9, most=3)
            setup.daemon.reload()
            message = await setup.until_reloaded(times=2)
            assert "except [server], which needs a restart" in message
            setup.write(most=3)
            setup.daemon.reload()
            assert "restart" not in await setup.until_reloaded(times=3)

    async def test_a_file_that_is_valid_before_it_is_complete_does_not_count(self, tmp_path):
        async with running(tmp_path) as setup:
            await setup.clock.advance(60.0)
            complete = setup.path.read_text()
            part = complete.replace("= 8", "= 1")  # a part of 16, as if it were to be written
            setup.path.write_text(part)
            await setup.clock.advance(composition.RELOAD_INTERVAL_S)
            setup.path.write_text(complete)
            await setup.clock.advance(60.0)
            assert setup.messages("config.reloaded") == []
            assert setup.requested == 5
            setup.path.write_text(part)
            await setup.until_reloaded()

    async def test_an_invalid_file_that_is_complete_in_time_is_no_error(self, tmp_path):
        async with running(tmp_path) as setup:
            setup.write(most=3)
            complete = setup.path.read_text()
            setup.path.write_text("[elastic")
            await setup.clock.advance(composition.RELOAD_INTERVAL_S)
            setup.path.write_text(complete)
            await setup.until_reloaded()
            assert setup.messages("config.reload_failed") == []

    async def test_a_file_that_never_stays_the_same_does_not_count(self, tmp_path):
        async with running(tmp_path) as setup:
            for most in range(10, 100):
                setup.write(most=most)
                await setup.clock.advance(composition.SETTLE_S / 2)
            assert setup.messages("config.reloaded") == []
            assert setup.messages("cluster.problem") == []

    async def test_many_signals_are_a_few_reloads(self, tmp_path):
        async with running(tmp_path) as setup:
            for _ in range(1_000):
                os.kill(os.getpid(), signal.SIGHUP)
                await setup.clock.advance(0.02)
            reloads = len(setup.messages("config.reloaded"))
            assert 1 <= reloads <= 20.0 / composition.RELOAD_INTERVAL_S
            setup.write(most=2)
            os.kill(os.getpid(), signal.SIGHUP)
            await setup.until_reloaded(times=reloads + 1)
            await setup.clock.advance(60.0)
            assert setup.requested == 2

    async def test_the_poll_interval_changes_too(self, tmp_path):
        async with running(tmp_path) as setup:
            setup.write(top='poll_interval = "1s"')
            setup.daemon.reload()
            await setup.until_reloaded()
            await setup.clock.advance(20.0)
            assert setup.requested > 1

    async def test_the_shortest_poll_interval_changes_too(self, tmp_path):
        async with running(tmp_path) as setup:
            for reloads, within_s in enumerate((2.0, 4.0, 10.0), start=1):
                setup.write(top=f'min_poll_interval = "{within_s:.0f}s"', most=1)  # overloaded
                setup.daemon.reload()
                await setup.until_reloaded(times=reloads)
                await setup.clock.advance(35.0)
                assert await setup.metric("autoscaler_next_poll_seconds") == within_s


async def test_a_defect_in_one_cycle_does_not_end_it(tmp_path):
    defect = Broken()
    async with running(tmp_path, recorders=(defect,)) as setup:
        await setup.clock.advance(60.0)
        (message,) = setup.messages("observation.failed")
        assert "a defect" in message
        assert defect.calls > 1
        assert (await setup.get("/healthz"))[0] == 200


async def test_a_defect_outside_the_cycle_ends_it_with_the_error(tmp_path):
    async with running(tmp_path) as setup:
        setup.daemon._load = lambda: 1 / 0
        setup.daemon.reload()
        with pytest.raises(ZeroDivisionError):
            await setup.task
        setup.task = asyncio.ensure_future(asyncio.sleep(0))


async def test_a_problem_of_the_cluster_is_logged_once_at_the_start(tmp_path):
    credentials = {
        "AUTOSCALER_ELASTICSEARCH__USERNAME": "watcher",
        "AUTOSCALER_ELASTICSEARCH__PASSWORD": "secret",
    }
    async with running(tmp_path, WITHOUT_MANAGE_ML, **credentials) as setup:
        message = await setup.until_logged("cluster.observe_only")
        assert message.startswith("observe only: ")
        assert "grant manage_ml" in message
        assert setup.messages("cluster.problem") == []


async def test_rejected_updates_are_not_tried_until_the_cluster_accepts_them(tmp_path):
    credentials = {
        "AUTOSCALER_ELASTICSEARCH__USERNAME": "watcher",
        "AUTOSCALER_ELASTICSEARCH__PASSWORD": "secret",
    }
    async with running(tmp_path, WITHOUT_MANAGE_ML, **credentials) as setup:
        await setup.until_logged("cluster.observe_only")
        await setup.clock.advance(120.0)
        assert setup.messages("update.refused") == []
        assert any("observe only" in message for message in setup.messages("decision.made"))
        assert not any("dry run" in message for message in setup.messages("decision.made"))
        roles = setup.emulator.emulation.security.roles
        roles["watching"] = ("monitor_ml", "manage_ml", "monitor")
        await setup.clock.advance(PREFLIGHT_INTERVAL_S)
        assert setup.messages("update.accepted")
        assert len(setup.messages("cluster.observe_only")) == 1


async def test_wrong_credentials_are_logged_and_it_continues(tmp_path):
    credentials = {
        "AUTOSCALER_ELASTICSEARCH__USERNAME": "watcher",
        "AUTOSCALER_ELASTICSEARCH__PASSWORD": "wrong",
    }
    async with running(tmp_path, WITHOUT_MANAGE_ML, **credentials) as setup:
        assert "check the credentials" in await setup.until_logged("cluster.problem")
        await setup.clock.advance(60.0)
        assert (await setup.get("/healthz"))[0] == 200
        assert (await setup.get("/readyz"))[0] == 503


async def test_a_port_in_use_is_reported_in_one_sentence(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        path = tmp_path / "config.toml"
        path.write_text(CONFIG.format(top="", url="http://127.0.0.1:9", port=port, most=8))
        with pytest.raises(CannotListen, match=rf"127\.0\.0\.1:{port}.*server\.port") as caught:
            await Daemon(lambda: load(path, {})).run()
    assert "\n" not in str(caught.value)


def test_a_configuration_that_is_not_valid_does_not_start(tmp_path):
    with pytest.raises(ConfigError):
        Daemon(lambda: load(tmp_path / "missing.toml", {}))


@pytest.mark.parametrize(
    "credentials",
    [{"API_KEY": "aWQ6a2V5"}, {"BEARER_TOKEN": "token"}, {"USERNAME": "u", "PASSWORD": "p"}],
    ids="_".join,
)
async def test_every_kind_of_credentials_is_sent(tmp_path, credentials):
    variables = {f"AUTOSCALER_ELASTICSEARCH__{name}": text for name, text in credentials.items()}
    async with running(tmp_path, WITHOUT_MANAGE_ML, **variables) as setup:
        message = await setup.until_logged("cluster.problem")
        assert "401" in message
        assert "missing authentication credentials" not in message


class TestToken:
    """A deployment that the daemon has not stopped: 404 shows that the token is right."""

    async def resume(self, setup, token):
        headers = {"Authorization": f"Bearer {token}"}
        url = f"http://127.0.0.1:{setup.daemon.server.port}/resume/e5"
        async with aiohttp.request("POST", url, headers=headers) as response:
            return response.status

    async def test_a_replaced_one_is_used_without_a_restart(self, tmp_path):
        path = tmp_path / "token"
        path.write_text("the-first-token-of-it")
        path.chmod(0o604)
        variables = {"AUTOSCALER_SERVER__TOKEN_FILE": str(path)}
        async with running(tmp_path, **variables) as setup:
            assert await self.resume(setup, "the-first-token-of-it") == 404
            path.write_text("the-other-token-of-it")
            assert await self.resume(setup, "the-other-token-of-it") == 401
            await setup.clock.advance(composition.RELOAD_INTERVAL_S)
            assert await self.resume(setup, "the-other-token-of-it") == 404
            assert await self.resume(setup, "the-first-token-of-it") == 401
            assert "can be read by every user" in setup.messages("credentials.exposed")[0]
            _, metrics = await setup.get("/metrics")
        assert 'autoscaler_http_refused_total{reason="token"} 2.0' in metrics
        assert len(setup.messages("http.refused")) == 1

    async def test_without_one_no_change_is_accepted(self, tmp_path):
        async with running(tmp_path) as setup:
            assert await self.resume(setup, "") == 403

    async def test_names_of_this_machine_and_of_the_configuration(self, tmp_path):
        variables = {"AUTOSCALER_SERVER__ALLOWED_HOSTS": "scaler.example"}
        async with running(tmp_path, **variables) as setup, aiohttp.ClientSession() as session:
            url = f"http://127.0.0.1:{setup.daemon.server.port}/healthz"
            hosts = (socket.gethostname(), "scaler.example", "other.example")
            for host, status in zip(hosts, (200, 200, 421), strict=True):
                async with session.get(url, headers={"Host": host}) as response:
                    assert response.status == status
