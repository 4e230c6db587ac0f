"""The page for operators names every key of `GET /decisions`."""

from pathlib import Path

import pytest

from autoscaler.wire.decision_views import DeploymentResponse, DeploymentsResponse

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
HEADING = "`explain --json` and `GET /decisions` return"


@pytest.mark.parametrize("response", [DeploymentsResponse, DeploymentResponse])
def test_every_key_of_a_response_is_described(response):
    table = PAGE.read_text().split(HEADING)[1].split("\n\n")[1]
    named = "".join(line.split(" | ")[0] for line in table.splitlines())
    assert [key for key in response.__struct_fields__ if f"`{key}`" not in named] == []
