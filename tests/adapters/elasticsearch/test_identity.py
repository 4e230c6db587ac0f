"""Which cluster responds, where not enough responses come at once."""

import pytest

from autoscaler.adapters.elasticsearch.identity import CONFIRMATIONS, ClusterIdentity
from autoscaler.wire.cluster import InfoResponse

pytestmark = pytest.mark.asyncio


def allowing(requests, uuid):
    """Responses of a cluster behind a proxy that allows so many requests before it refuses one."""
    left = requests

    async def read():
        nonlocal left
        left -= 1
        if left < 0:
            raise TimeoutError
        return InfoResponse(cluster_uuid=uuid)

    return read


@pytest.mark.parametrize("doubtful", [False, True])
async def test_another_cluster_is_believed_although_its_responses_come_in_several_calls(doubtful):
    identity = ClusterIdentity()
    await identity.confirmed(allowing(2, "one"))
    for _ in range(2):
        with pytest.raises(TimeoutError):
            await identity.confirmed(allowing(5, "two"), doubtful=doubtful)
    assert (await identity.confirmed(allowing(5, "two"), doubtful=doubtful)).cluster_uuid == "two"


async def test_responses_from_before_a_doubt_do_not_settle_it():
    identity = ClusterIdentity()
    await identity.confirmed(allowing(2, "one"))
    with pytest.raises(TimeoutError):
        await identity.confirmed(allowing(5, "two"))
    with pytest.raises(TimeoutError):
        await identity.confirmed(allowing(CONFIRMATIONS - 1, "two"), doubtful=True)
