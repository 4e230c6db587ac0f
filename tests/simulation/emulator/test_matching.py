import pytest

from autoscaler.simulation.emulator.matching import find_page
from autoscaler.simulation.errors import SimulatedApiError

MODELS = ["reranker", "e5", "elser"]
DEPLOYMENTS = {"search": "e5", "ingest": "e5", "elser": "elser"}


def page(ids="", *, start=0, size=100, allow_no_match=True):
    return find_page(
        ids, MODELS, DEPLOYMENTS, start=start, size=size, allow_no_match=allow_no_match
    )


@pytest.mark.parametrize(
    ("ids", "models"),
    [
        ("", ("e5", "elser", "reranker")),
        ("_all", ("e5", "elser", "reranker")),
        ("*", ("e5", "elser", "reranker")),
        ("e*", ("e5", "elser")),
        ("search", ("e5",)),
        ("sea*,reranker", ("e5", "reranker")),
        ("nothing*", ()),
    ],
)
def test_ids_match_models_by_model_id_or_deployment_id(ids, models):
    assert page(ids).models == models


def test_a_deployment_id_matches_only_that_deployment():
    assert page("search").includes_deployment("search", "e5")
    assert not page("search").includes_deployment("ingest", "e5")
    assert page("e5").includes_deployment("ingest", "e5")


def test_pages_contain_models_and_the_total_count():
    second = page(start=2, size=2)
    assert (second.count, second.models) == (3, ("reranker",))
    assert page(start=7).models == ()


@pytest.mark.parametrize("ids", ["gone", "e5,gone", "*,gone"])
@pytest.mark.parametrize("allow_no_match", [True, False])
def test_an_unknown_id_without_wildcard_fails_the_whole_request(ids, allow_no_match):
    with pytest.raises(
        SimulatedApiError, match=r"Could not find trained model \[gone\]"
    ) as refusal:
        page(ids, allow_no_match=allow_no_match)
    assert refusal.value.status == 404


def test_wildcards_may_match_nothing_by_default():
    assert page("gone*").count == 0
    with pytest.raises(SimulatedApiError, match=r"gone\*"):
        page("gone*", allow_no_match=False)
