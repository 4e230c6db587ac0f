import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.simulation.emulator.filtering import filter_document
from autoscaler.wire.stats_document import FILTER_PATH

STATS = {
    "count": 1,
    "trained_model_stats": [
        {
            "model_id": "e5",
            "pipeline_count": 0,
            "deployment_stats": {
                "deployment_id": "e5",
                "nodes": [
                    {
                        "node": {
                            "n1": {
                                "name": "ml-1",
                                "ephemeral_id": "x",
                                "roles": ["ml"],
                                "attributes": {"ml.machine_memory": "1"},
                            }
                        },
                        "routing_state": {"routing_state": "started"},
                    }
                ],
            },
        },
        {"model_id": "undeployed", "pipeline_count": 0},
    ],
}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("count", {"count": 1}),
        (
            "trained_model_stats.model_id",
            {"trained_model_stats": [{"model_id": "e5"}, {"model_id": "undeployed"}]},
        ),
        (
            "*.deployment_stats.*_id",
            {"trained_model_stats": [{"deployment_stats": {"deployment_id": "e5"}}]},
        ),
        ("trained_model_stats.**.no_such_name", {}),
        ("nothing", {}),
        ("", STATS),
    ],
)
def test_an_include_keeps_only_matching_values(path, expected):
    assert filter_document(STATS, path) == expected


def test_two_stars_match_any_depth():
    found = filter_document(STATS, "**.name")
    nodes = found["trained_model_stats"][0]["deployment_stats"]["nodes"]
    assert nodes == [{"node": {"n1": {"name": "ml-1"}}}]


def test_an_exclude_removes_only_matching_values():
    found = filter_document(STATS, "-trained_model_stats.deployment_stats,-count")
    assert found == {
        "trained_model_stats": [
            {"model_id": "e5", "pipeline_count": 0},
            {"model_id": "undeployed", "pipeline_count": 0},
        ]
    }


def test_excludes_apply_to_included_values():
    found = filter_document(STATS, FILTER_PATH)
    assert found["count"] == 1
    deployed, undeployed = found["trained_model_stats"]
    assert undeployed == {"model_id": "undeployed", "pipeline_count": 0}
    assert deployed["deployment_stats"]["nodes"] == [
        {"node": {"n1": {"name": "ml-1"}}, "routing_state": {"routing_state": "started"}}
    ]


def test_only_values_emptied_by_filtering_are_omitted():
    assert filter_document({"a": [], "b": {"c": 1}}, "-b.c") == {"a": []}
    assert filter_document({"a": [], "b": {}}, "a") == {"a": []}


def test_dots_in_names_are_written_with_a_backslash():
    assert filter_document({"a.b": 1, "a": {"b": 2}}, "a\\.b") == {"a.b": 1}


NAMES = st.text("ab", min_size=1, max_size=2)
DOCUMENTS = st.recursive(
    st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(NAMES, DOCUMENTS, max_size=3), st.lists(NAMES, min_size=1, max_size=3))
def test_a_path_and_its_opposite_share_no_value(document, names):
    path = ".".join(names)
    kept, rest = filter_document(document, path), filter_document(document, f"-{path}")
    assert _leaves(kept) + _leaves(rest) == _leaves(document)


def _leaves(value):
    if isinstance(value, dict):
        return sum(map(_leaves, value.values()))
    if isinstance(value, list):
        return sum(map(_leaves, value))
    return 1
