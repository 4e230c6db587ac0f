import pytest

from autoscaler.simulation.versions import behaviour_of

EVERY = ["8.6", "8.8", "8.12", "8.15", "8.16", "8.18", "8.19", "9.0", "9.1", "9.2", "9.3"]


@pytest.mark.parametrize("version", EVERY)
def test_a_minor_means_its_first_patch(version):
    assert behaviour_of(version).number == f"{version}.0"
    assert behaviour_of(f"{version}.0") == behaviour_of(version)


def test_a_full_number_is_kept():
    assert behaviour_of("8.19.4").number == "8.19.4"
    assert behaviour_of("8.19.4").major == 8


@pytest.mark.parametrize(
    ("flag", "without", "first"),
    [
        ("deployment_id", "8.6", "8.8"),
        ("update_query_parameter", "8.12", "8.15"),
        ("adaptive_allocations", "8.15", "8.16"),
        ("zero_allocations", "8.15", "8.16"),
        ("zero_is_fully_allocated", "8.15", "8.16"),
        ("stop_guard", "8.16", "8.18"),
        ("drains", "8.19.4", "8.19.5"),
        ("drains", "9.1", "9.2"),
        ("endpoint_owned_conflict", "9.1", "9.2"),
        ("low_priority_check", "9.1", "9.2"),
    ],
)
def test_what_a_version_brought_it_keeps(flag, without, first):
    assert not getattr(behaviour_of(without), flag)
    assert getattr(behaviour_of(first), flag)
    assert getattr(behaviour_of("9.3"), flag)


def test_queues_became_longer():
    assert [behaviour_of(version).queue_capacity for version in ("8.16", "8.18", "9.0")] == [
        1024,
        10_000,
        10_000,
    ]


def test_scaling_to_zero_came_late_and_then_took_a_day():
    assert [behaviour_of(version).scale_to_zero_s for version in ("8.15", "8.16", "9.1")] == [
        None,
        900.0,
        86_400.0,
    ]


@pytest.mark.parametrize("version", ["", "8", "latest", "8.19.4-SNAPSHOT", "7.17", "8.5", "8.99"])
def test_an_unknown_version_is_refused_by_name(version):
    with pytest.raises(ValueError, match=r"8\.19") as refusal:
        behaviour_of(version)
    assert version in str(refusal.value)
