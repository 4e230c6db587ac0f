"""The policy of docs/writing-a-policy.md, installed and used as the page describes."""

import re
import tomllib
from pathlib import Path

import pytest

from autoscaler.config import ConfigError, load
from autoscaler.core.explanation import explain
from autoscaler.core.flow.planning import plan
from autoscaler.core.state import State
from tests.observations import deployment, node, observation, policy
from tests.plugins import install
from tests.test_config import REACHABLE

PAGE = (Path(__file__).parents[1] / "docs/writing-a-policy.md").read_text()
(MODULE,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
PROJECT, RULES = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def configuration(tmp_path, monkeypatch):
    """The configuration of the page, with the distribution of the page installed."""
    project = tomllib.loads(PROJECT)
    ((name, value),) = project["project"]["entry-points"]["autoscaler.policies"].items()
    module, _, _ = value.partition(":")
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"] == [f"{module}.py"]
    install(tmp_path, monkeypatch, MODULE, name=module, points=f"{name} = {value}")
    path = tmp_path / "config.toml"
    path.write_text(REACHABLE + RULES)
    return path


def test_its_decisions_are_those_of_the_page(configuration):
    ruleset = policy(*load(configuration, {}).rules)
    state, messages = State(), []
    for at, completed in ((10.0, 1000), (20.0, 1997), (30.0, 2097)):
        observed = observation(
            at, deployment(node(completed=completed, allocations=2), allocations=2)
        )
        planned, state = plan(state, observed, ruleset)
        messages.append(explain(planned.decisions[0]))
    _, raised, lowered = messages
    assert f"\n{raised}\n" in PAGE
    assert "load 2.22, peak 3.95: 8 recommended" in lowered


def test_it_rejects_unknown_options(configuration):
    configuration.write_text(REACHABLE + RULES.replace("reserve", "reserves"))
    with pytest.raises(ConfigError) as refused:
        load(configuration, {})
    assert str(refused.value).endswith(
        ": policy: the policy 'square-root', which is square_root:make of square_root 1.0, "
        "cannot be made from its options (reserves): ValidationError: Object contains unknown "
        "field `reserves`"
    )
