"""From a dry run to live, by the steps of the README, and credentials that change meanwhile."""

import os

import pytest
from msgspec.structs import replace

from autoscaler.daemon import RELOAD_INTERVAL_S, SETTLE_S
from autoscaler.simulation.scenario import Account, SecuritySettings
from tests.test_daemon import SCENARIO, running

POLL_S = 10.0
READS, WRITES = "b2JzZXJ2ZTpyZWFkcw==", "b3BlcmF0ZTp3cml0ZXM="  # observe:reads, operate:writes

SECURED = replace(
    SCENARIO,
    security=SecuritySettings(
        accounts=[
            Account(username="observer", api_key="observe:reads", roles=["reading"]),
            Account(username="operator", api_key="operate:writes", roles=["writing"]),
        ],
        roles={
            "reading": ["monitor"],
            "writing": ["monitor", "manage_ml"],
        },
    ),
)


def config(*, dry_run=False, file="api_key", url="{url}"):
    return f"""
dry_run = {"true" if dry_run else "false"}
[elasticsearch]
hosts = ["{url}"]
api_key_file = "{file}"
[server]
port = 0
[[rules]]
name = "all"
max_allocations = 8
"""


class Operator:
    """Edits the files of a running daemon."""

    def __init__(self, setup, directory):
        self.setup, self.directory = setup, directory

    def key(self, secret, name="api_key"):
        (self.directory / name).write_text(f"{secret}\n")

    def config(self, *, dry_run, file="api_key"):
        url = self.setup.emulator.url
        self.setup.path.write_text(config(dry_run=dry_run, file=file, url=url))

    async def seconds_to_the_first_update(self, most_s=1000.0):
        waited_s = 0.0
        while not self.setup.messages("update.accepted"):
            assert waited_s < most_s, "nothing was sent"
            await self.setup.clock.advance(0.5)
            waited_s += 0.5
        return waited_s


def kubernetes_volume(directory, secret):
    """A secret as Kubernetes mounts it: a link to a link to a directory, which is exchanged."""
    version = directory / f"..{len(list(directory.iterdir()))}"
    version.mkdir()
    (version / "api_key").write_text(secret)
    link = directory / "..new"
    os.symlink(version.name, link)
    os.replace(link, directory / "..data")
    if not (directory / "api_key").is_symlink():
        os.symlink("..data/api_key", directory / "api_key")


RELOAD_S = RELOAD_INTERVAL_S + SETTLE_S
"""Seconds in which an edited file takes effect."""


async def test_by_the_readme_to_the_letter(tmp_path):
    """The key is replaced, then `dry_run` is set to false; the first update follows within the time
    to read the files and one poll interval."""
    (tmp_path / "api_key").write_text(READS)
    async with running(tmp_path, SECURED, config=config(dry_run=True)) as setup:
        operator = Operator(setup, tmp_path)
        await setup.clock.advance(300.0)
        assert setup.messages("update.accepted") == []
        assert "grant manage_ml" in setup.messages("cluster.observe_only")[-1]

        operator.key(WRITES)
        operator.config(dry_run=False)
        waited_s = await operator.seconds_to_the_first_update()
        assert waited_s <= RELOAD_S + POLL_S
        assert setup.requested > 1
        assert any("manage_ml now" in message for message in setup.messages("cluster.changed"))


@pytest.mark.parametrize("before", [0.0, 2.5, 4.5, 7.0, 9.5])
async def test_whenever_the_files_are_edited(tmp_path, before):
    (tmp_path / "api_key").write_text(READS)
    async with running(tmp_path, SECURED, config=config(dry_run=True)) as setup:
        operator = Operator(setup, tmp_path)
        await setup.clock.advance(300.0 + before)
        operator.config(dry_run=False)
        await setup.clock.advance(before)
        operator.key(WRITES)
        assert await operator.seconds_to_the_first_update() <= RELOAD_S + POLL_S


async def test_with_a_key_in_another_file(tmp_path):
    (tmp_path / "api_key").write_text(READS)
    async with running(tmp_path, SECURED, config=config(dry_run=True)) as setup:
        operator = Operator(setup, tmp_path)
        await setup.clock.advance(300.0)
        operator.key(WRITES, "live_key")
        operator.config(dry_run=False, file="live_key")
        assert await operator.seconds_to_the_first_update() <= RELOAD_S + POLL_S
        assert "restart" not in setup.messages("config.reloaded")[-1]


async def test_with_a_secret_of_kubernetes(tmp_path):
    volume = tmp_path / "secret"
    volume.mkdir()
    kubernetes_volume(volume, READS)
    async with running(tmp_path, SECURED, config=config(file="secret/api_key")) as setup:
        operator = Operator(setup, tmp_path)
        await setup.clock.advance(300.0)
        assert setup.messages("update.accepted") == []
        kubernetes_volume(volume, WRITES)
        assert await operator.seconds_to_the_first_update() <= RELOAD_S + POLL_S
        assert len(setup.messages("credentials.renewed")) == 1


async def test_after_a_privilege_was_granted_to_the_same_key(tmp_path):
    (tmp_path / "api_key").write_text(READS)
    async with running(tmp_path, SECURED, config=config()) as setup:
        operator = Operator(setup, tmp_path)
        await setup.clock.advance(300.0)
        roles = setup.emulator.emulation.security.roles
        roles["reading"] = ("monitor", "manage_ml")
        assert await operator.seconds_to_the_first_update() <= 60.0 + POLL_S


async def test_a_key_that_was_refused_is_replaced(tmp_path):
    """Refused requests are repeated once a minute, but not after the key has changed."""
    (tmp_path / "api_key").write_text("d3Jvbmc6a2V5")
    async with running(tmp_path, SECURED, config=config()) as setup:
        operator = Operator(setup, tmp_path)
        await setup.clock.advance(300.0)
        assert any("check the credentials" in each for each in setup.messages("cluster.problem"))
        operator.key(WRITES)
        # The first observation only begins the measurement.
        assert await operator.seconds_to_the_first_update() <= RELOAD_S + 2.0 * POLL_S


async def test_a_file_that_is_being_written_changes_nothing(tmp_path):
    (tmp_path / "api_key").write_text(WRITES)
    async with running(tmp_path, SECURED, config=config()) as setup:
        operator = Operator(setup, tmp_path)
        await operator.seconds_to_the_first_update()
        (tmp_path / "api_key").write_text("")
        await setup.clock.advance(60.0)
        assert setup.messages("credentials.renewed") == []
        assert (await setup.get("/readyz"))[0] == 200
