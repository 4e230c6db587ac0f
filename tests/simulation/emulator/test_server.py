import ssl

import aiohttp
import pytest
import trustme

from autoscaler.adapters.clock import HostClock
from autoscaler.simulation.emulator.server import Tls, running_emulator
from autoscaler.simulation.scenario import ClusterScenarioError, ScenarioDeployment, sample_scenario
from tests.simulation.emulator.conftest import scenario
from tests.virtual_clock import VirtualClock


async def fetch(url, **options):
    async with aiohttp.ClientSession() as session, session.get(url, **options) as response:
        return response.status, await response.json()


async def test_each_emulator_has_its_own_port():
    async with (
        running_emulator(scenario(), clock=VirtualClock()) as one,
        running_emulator(scenario(), clock=VirtualClock()) as other,
    ):
        assert one.url != other.url
        for running in (one, other):
            status, document = await fetch(running.url)
            assert (status, document["cluster_name"]) == (200, "emulated")


async def test_over_tls(tmp_path):
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    issued.cert_chain_pems[0].write_to_path(str(certificate))
    issued.private_key_pem.write_to_path(str(key))
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with running_emulator(
        scenario(), clock=VirtualClock(), tls=Tls(certificate, key)
    ) as running:
        assert running.url.startswith("https://")
        assert (await fetch(running.url, ssl=trusting))[0] == 200
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await fetch(running.url)


@pytest.mark.parametrize("version", ["8.6", "8.12", "8.16", "8.19.4", "9.0", "9.3"])
async def test_the_sample_serves_its_load_in_every_version(version):
    clock = VirtualClock()
    async with running_emulator(sample_scenario(version=version), clock=clock) as running:
        await clock.advance(30.0)
        _, document = await clock.run(fetch(f"{running.url}/_ml/trained_models/_stats"))
        deployed = [e for e in document["trained_model_stats"] if "deployment_stats" in e]
        assert len(deployed) == 3
        for entry in deployed:
            assert entry["deployment_stats"]["state"] == "started"
            assert entry["deployment_stats"]["inference_count"] > 0


async def test_the_same_scenario_gives_the_same_history():
    async def history():
        clock = VirtualClock()
        async with running_emulator(sample_scenario(), clock=clock) as running:
            documents = []
            for _ in range(3):
                await clock.advance(10.0)
                url = f"{running.url}/_ml/trained_models/_stats"
                documents.append((await clock.run(fetch(url)))[1])
            return documents

    assert await history() == await history()


async def test_an_invalid_scenario_is_reported_before_serving():
    impossible = scenario(deployments=[ScenarioDeployment(model_id="e5", number_of_allocations=99)])
    with pytest.raises(ClusterScenarioError, match=r"deployments\[0\]"):
        async with running_emulator(impossible, clock=VirtualClock()):
            pass


async def test_on_the_host_clock_time_passes_by_itself():
    scenario = sample_scenario(speed=1000.0)
    async with running_emulator(scenario, clock=HostClock(1000.0), keep_up=True) as running:
        start = running.emulation.clock.now()
        while running.cluster.now < start + 20.0:
            await running.emulation.clock.sleep(10.0)
        assert running.cluster.deployments["e5-small"].ledger.requests > 300
