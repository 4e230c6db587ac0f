"""What operators ask of a running daemon: the commands `pause`, `unpause`, `override`,
`end-override`, `instructions`, `reload` and `status`."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
import structlog
from click.testing import CliRunner

from autoscaler import daemon as composition
from autoscaler.cli import main
from autoscaler.explain.status_lines import status_lines
from autoscaler.wire.decision_views import LeadershipView
from autoscaler.wire.status_views import CountsView, StatusResponse
from tests.test_daemon import running

TOKEN = "0123456789abcdef"
CLIENT = """
[elasticsearch]
hosts = ["http://127.0.0.1:9"]
[server]
port = {port}
token_file = "token"
"""


@pytest.fixture(autouse=True)
def default_logging():
    structlog.reset_defaults()


class Operator:
    """A daemon, and a configuration with which commands find it."""

    def __init__(self, setup, path):
        self.setup, self.path = setup, path
        port = setup.daemon.server.port
        (path / "operator.toml").write_text(CLIENT.format(port=port))

    async def run(self, *arguments):
        given = [*map(str, arguments), "--config", str(self.path / "operator.toml")]
        return await asyncio.to_thread(CliRunner().invoke, main, given)

    async def says(self, *arguments):
        result = await self.run(*arguments)
        assert (result.exit_code, result.stderr) == (0, ""), result.output
        return result.stdout

    async def history(self, deployment_id):
        _, text = await self.setup.get(f"/api/v1/deployments/{deployment_id}/history")
        return text

    async def fails(self, *arguments):
        result = await self.run(*arguments)
        assert result.exit_code == 1, result.output
        (line,) = result.stderr.splitlines()
        return line.removeprefix("autoscaler: ")


@asynccontextmanager
async def operating(tmp_path, *, config=None):
    (tmp_path / "token").write_text(TOKEN)
    variables = {"AUTOSCALER_STATE_DIR": str(tmp_path / "state")}
    if config is None:
        variables["AUTOSCALER_SERVER__TOKEN"] = TOKEN
    async with running(tmp_path, config=config, **variables) as setup:
        await setup.clock.advance(1.0)
        yield Operator(setup, tmp_path)


async def test_what_is_paused_does_not_change_until_it_is_unpaused(tmp_path):
    async with operating(tmp_path) as operator:
        said = await operator.says("pause", "e5", "--for", "2h", "--reason", "load test")
        assert said.startswith("e5: paused until ")
        await operator.setup.clock.advance(600.0)
        assert operator.setup.requested == 1
        assert "but paused by operator" in await operator.says("explain", "e5")
        listed = await operator.says("instructions")
        assert listed.startswith("e5: paused by operator for another 110 min: load test")
        assert (await operator.says("unpause", "e5")).startswith("e5: the pause is ended")
        assert await operator.says("instructions") == "no pause and no override is in force\n"
        await operator.setup.clock.advance(600.0)
        assert operator.setup.requested > 1


async def test_an_override_is_set_and_ended(tmp_path):
    async with operating(tmp_path) as operator:
        said = await operator.says("override", "e5", "7", "--for", "1h", "--json")
        accepted = json.loads(said)
        assert accepted["saved"]
        assert accepted["message"].startswith("e5: overridden to 7 allocations until ")
        await operator.setup.clock.advance(60.0)
        assert operator.setup.requested == 7
        assert "1 overridden" in await operator.says("status")
        explained = await operator.says("explain", "e5")
        assert "overridden to 7 allocations by operator for another 59 min" in explained
        assert (await operator.says("end-override", "e5")).startswith("e5: the override is ended")


async def test_all_are_paused_in_one_direction(tmp_path):
    async with operating(tmp_path) as operator:
        said = await operator.says("pause", "--all", "--for", "1d", "--only", "increases")
        assert said.startswith("all deployments: increases are paused until ")
        (found,) = json.loads(await operator.says("instructions", "--json"))["instructions"]
        assert (found["deployment"], found["changes"]) == (None, "increases")
        assert (await operator.says("unpause", "--all")).startswith("all deployments: the pause")


async def test_a_refusal_is_one_sentence(tmp_path):
    async with operating(tmp_path) as operator:
        assert "outside the bounds 1..8" in await operator.fails(
            "override", "e5", "9", "--for", "1h"
        )
        assert await operator.fails("unpause", "e5") == "e5: not paused"
        assert (await operator.fails("pause", "\x1b[2J", "--for", "1h")).startswith("\\x1b[2J: not")
        (tmp_path / "token").write_text("another-token-of-16")
        assert "token" in await operator.fails("pause", "--all", "--for", "1h")


NAMED = """
[elasticsearch]
hosts = ["{url}"]
[server]
port = 0
tokens = {alice = "alice", bob = "bob"}
[[rules]]
name = "all"
max_allocations = 8
"""


async def test_the_name_of_the_token_says_who(tmp_path):
    (tmp_path / "alice").write_text("a-token-of-alice-only")
    (tmp_path / "bob").write_text("the-token-that-bob-has")
    async with operating(tmp_path, config=NAMED) as operator:
        config = tmp_path / "operator.toml"
        own = 'tokens = {bob = "bob"}'
        config.write_text(config.read_text().replace('token_file = "token"', own))
        await operator.says("pause", "e5", "--for", "2h", "--reason", "load test")
        assert "paused by bob" in await operator.says("instructions")
        async with asyncio.timeout(10):  # a thread writes it
            while '"by":"bob","stated_reason":"load test"' not in await operator.history("e5"):
                pass


@pytest.mark.parametrize(
    "arguments",
    [
        ("pause", "--for", "1h"),
        ("pause", "e5", "--all", "--for", "1h"),
        ("pause", "e5"),
        ("pause", "e5", "--for", "8d"),
        ("pause", "e5", "--for", "1s"),
        ("override", "e5", "-1", "--for", "1h"),
        ("unpause",),
        ("pause", "e5", "--for", "1h", "--reason", "\udcff"),
        ("override", "e\udcff", "1", "--for", "1h"),
        ("resume", "e\udcff"),
        ("explain", "e\udcff"),
        ("history", "e\udcff"),
        ("stop", "e\udcff"),
        ("start", "e\udcff"),
        ("release", "e\udcff"),
        ("pause", "e5", "--for", "1h", "--reason", "a" * 201),
        *[
            (command, name, *more)
            for name in ("", ".", "..", "a" * 513)
            for command, *more in (
                ("pause", "--for", "1h"),
                ("override", "1", "--for", "1h"),
                ("end-override",),
                ("resume",),
                ("explain",),
                ("history",),
                ("stop",),
                ("start",),
                ("release",),
            )
        ],
    ],
    ids=ascii,
)
def test_wrong_usage(arguments):
    assert CliRunner().invoke(main, arguments).exit_code == 2


class TestReload:
    async def reload(self, operator):
        asked = asyncio.ensure_future(operator.run("reload"))
        while not asked.done():
            await operator.setup.clock.advance(composition.SETTLE_S)
            await asyncio.sleep(0.01)
        return asked.result()

    async def test_it_says_what_came_of_it(self, tmp_path):
        async with operating(tmp_path) as operator:
            operator.setup.write(most=5)
            result = await self.reload(operator)
            assert (result.exit_code, result.stdout) == (0, "configuration reloaded\n")

    async def test_a_configuration_that_is_not_valid_is_refused(self, tmp_path):
        async with operating(tmp_path) as operator:
            operator.setup.write(top="nonsense = 1")
            result = await self.reload(operator)
            assert result.exit_code == 1
            assert "the previous configuration stays in effect" in result.stderr
            assert "the changed configuration is not in effect" in await operator.says("status")


def status(**given):
    fields = {
        "autoscaler": "1.2.3",
        "cluster": "",
        "alive": True,
        "ready": True,
        "problem": "",
        "observed_at": 1.0,
        "age_s": 5.0,
        "reload_failure": "",
        "next_poll": None,
        "leadership": None,
        "deployments": None,
        "instructions": (),
    }
    return StatusResponse(**fields | given)


@pytest.mark.parametrize(
    ("found", "lines"),
    [
        (status(), ["autoscaler 1.2.3: ready", "last observed 5 s ago"]),
        (
            status(ready=False, problem="no connection", observed_at=None, age_s=None),
            ["autoscaler 1.2.3: not ready: no connection"],
        ),
        (
            status(state_saved=False),
            [
                "autoscaler 1.2.3: ready",
                "the state is not saved, and lost if the daemon ends; its log says why",
                "last observed 5 s ago",
            ],
        ),
        (status(state_saved=True), ["autoscaler 1.2.3: ready", "last observed 5 s ago"]),
        (
            status(
                leadership=LeadershipView(instance="b", leads=False, leader="a"),
                reload_failure="one\ntwo",
                deployments=CountsView(
                    managed=3,
                    unmanaged=1,
                    dry_run=0,
                    observe_only=0,
                    paused=2,
                    overridden=0,
                    short=1,
                ),
            ),
            [
                "autoscaler 1.2.3: ready",
                "the changed configuration is not in effect: one (and 1 more)",
                "last observed 5 s ago",
                "a leads, this instance, b, does not",
                "deployments: 3 managed, 1 not managed, 2 paused, 1 with missing allocations",
            ],
        ),
    ],
    ids=["healthy", "blind", "not saved", "saved", "a follower"],
)
def test_the_status_in_lines(found, lines):
    assert list(status_lines(found)) == lines
