import pytest

from tests.contracts.clusters import CLUSTERS


@pytest.fixture(params=CLUSTERS)
async def cluster(request):
    """A cluster with the deployments `a` and `b`, behind the ports."""
    async with CLUSTERS[request.param]() as found:
        yield found
