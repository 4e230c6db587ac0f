"""The roles in deploy/elasticsearch: each suffices for its purpose, and without any of its
privileges it does not."""

import json
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from autoscaler.simulation.loads import Steady
from autoscaler.simulation.scenario import (
    Account,
    ScenarioDeployment,
    ScenarioEndpoint,
    SecuritySettings,
)
from tests.test_daemon import SCENARIO, running

ROLES = Path(__file__).parents[2] / "deploy/elasticsearch"
NAMES = ("observe", "act", "endpoints", "lease", "state")
ADDITIONAL = ("lease", "state")
"""Roles in addition to `act`."""

ENDPOINT_UPDATE = "/_inference/text_embedding/owned/_update"


def privileges(name):
    """As the emulator has them: those for an index begin with its name."""
    role = json.loads((ROLES / f"{name}.json").read_text())
    on_indices = [
        f"{index}:{privilege}"
        for granted in role.get("indices", [])
        for index in granted["names"]
        for privilege in granted["privileges"]
    ]
    return [*role.get("cluster", []), *on_indices]


def parts(name):
    """The role with each of its privileges left out."""
    return [
        pytest.param(name, left_out, id=f"{name} without {left_out}")
        for left_out in privileges(name)
    ]


@asynccontextmanager
async def daemon(tmp_path, role, granted):
    """A daemon with these privileges after three minutes, and one deployment that an endpoint owns
    if the role is for that."""
    scenario = replace(
        SCENARIO,
        version="9.3",
        security=SecuritySettings(
            accounts=[Account(username="scaler", password="secret", roles=["autoscaler"])],
            roles={"autoscaler": [*granted, *(privileges("act") if role in ADDITIONAL else [])]},
        ),
    )
    if role == "endpoints":
        owned = ScenarioDeployment(model_id="e5", deployment_id="owned", load=Steady(rate_per_s=60))
        scenario = replace(
            scenario,
            deployments=[owned],
            endpoints=[ScenarioEndpoint(inference_id="owned")],
        )
    variables = {
        "AUTOSCALER_ELASTICSEARCH__USERNAME": "scaler",
        "AUTOSCALER_ELASTICSEARCH__PASSWORD": "secret",
        "AUTOSCALER_DRY_RUN": "true" if role == "observe" else "false",
        "AUTOSCALER_LEADERSHIP__LEASE": "elasticsearch" if role == "lease" else "none",
        "AUTOSCALER_STATE": "elasticsearch" if role == "state" else "none",
    }
    async with running(tmp_path, scenario, **variables) as setup:
        await setup.clock.advance(180.0)
        if role == "state":  # a deployment that is gone is forgotten after a quarter of an hour
            setup.emulator.cluster.stop_deployment("e5", force=True)
            await setup.clock.advance(1000.0)
        yield setup


def serves_its_purpose(setup, role):
    """Whether the daemon does what the role is for, with everything that its safety depends on."""
    if role == "state":
        return not setup.messages("state.not_saved") + setup.messages("state.unusable")
    problems = setup.messages("cluster.problem") + setup.messages("observation.failed")
    if role == "observe":
        return not problems and len(setup.messages("decision.made")) > 0
    allocations = [each.requested for each in setup.emulator.cluster.deployments.values()]
    return not problems and min(allocations) > 1  # 60/s of 50 ms each keep three busy


@pytest.mark.parametrize("role", NAMES)
async def test_each_role_suffices(tmp_path, role):
    async with daemon(tmp_path, role, privileges(role)) as setup:
        assert serves_its_purpose(setup, role), setup.log


@pytest.mark.parametrize(("role", "left_out"), [each for name in NAMES for each in parts(name)])
async def test_less_does_not(tmp_path, role, left_out):
    granted = [each for each in privileges(role) if each != left_out]
    async with daemon(tmp_path, role, granted) as setup:
        assert not serves_its_purpose(setup, role)


async def test_the_role_to_observe_cannot_change_anything(tmp_path):
    async with daemon(tmp_path, "act", privileges("observe")) as setup:
        assert setup.requested == 1


def test_every_role_is_tested():
    assert {path.stem for path in ROLES.glob("*.json")} == set(NAMES)
