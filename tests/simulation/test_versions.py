import pytest

from autoscaler.simulation.versions import behaviour_of

EVERY = [
    "8.6",
    "8.8",
    "8.12",
    "8.15",
    "8.16",
    "8.18",
    "8.19",
    "9.0",
    "9.1",
    "9.2",
    "9.3",
    "9.4",
    "9.5",
]


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
        ("inference_api", "8.8", "8.11"),
        ("inference_update", "8.16.9", "8.17"),
        ("inference_adaptive", "9.1.9", "9.2"),
        ("inference_threads_fixed", "9.2.1", "9.2.2"),
        ("stop_guard", "8.17", "8.18.4"),
        ("stop_guard", "9.0.3", "9.0.4"),
        ("drains", "8.19.4", "8.19.5"),
        ("drains", "9.1", "9.2"),
        ("endpoint_owned_conflict", "9.1", "9.2"),
        ("low_priority_check", "8.19.9", "8.19.10"),
        ("low_priority_check", "9.1.10", "9.2.4"),
        ("no_room_is_a_conflict", "9.4.6", "9.4.7"),
        ("no_room_is_a_conflict", "9.5.3", "9.5.4"),
        ("endpoint_keeps_settings", "9.1", "9.2"),
    ],
)
def test_features_stay_in_later_versions(flag, without, first):
    assert not getattr(behaviour_of(without), flag)
    assert getattr(behaviour_of(first), flag)
    assert getattr(behaviour_of("9.5.4"), flag)


def test_queues_became_longer():
    assert [behaviour_of(version).queue_capacity for version in ("8.16", "8.18", "9.0")] == [
        1024,
        10_000,
        10_000,
    ]


def test_scale_to_zero_by_version():
    assert [behaviour_of(version).scale_to_zero_s for version in ("8.15", "8.16", "9.1")] == [
        None,
        900.0,
        86_400.0,
    ]


@pytest.mark.parametrize(
    ("flag", "first", "last", "never"),
    [
        ("start_forgets_zero", "9.1.0", "9.2.8", ["8.16", "8.19", "9.0", "9.3"]),
        ("shutdown_forgets_zero", "8.16.0", "9.3.4", ["8.15", "9.3.5", "9.4", "9.5"]),
        ("waits_for_requested_id", "8.16.0", "9.4.4", ["8.15", "9.4.5", "9.5"]),
    ],
)
def test_a_defect_has_a_beginning_and_may_have_an_end(flag, first, last, never):
    assert getattr(behaviour_of(first), flag)
    assert getattr(behaviour_of(last), flag)
    assert not any(getattr(behaviour_of(version), flag) for version in never)


def test_the_list_of_endpoints_was_renamed_and_once_incomplete():
    keys = {version: behaviour_of(version).endpoint_list for version in ("8.14.3", "8.15")}
    assert keys == {"8.14.3": "models", "8.15": "endpoints"}
    complete = [behaviour_of(v).endpoint_list_complete for v in ("8.15", "8.16", "8.17.9", "8.18")]
    assert complete == [True, False, False, True]


def test_serverless_is_the_newest_version_with_differences():
    serverless, newest = behaviour_of("serverless"), behaviour_of("9.5")
    assert serverless.serverless
    assert (serverless.number, serverless.major) == (newest.number, 9)
    assert (serverless.reported_number, newest.reported_number) == ("8.11.0", "9.5.0")
    assert serverless.scale_to_zero_s == 86_400.0


@pytest.mark.parametrize("version", ["", "8", "latest", "8.19.4-SNAPSHOT", "7.17", "8.5", "8.99"])
def test_an_unknown_version_is_refused_by_name(version):
    with pytest.raises(ValueError, match=r"8\.19") as refusal:
        behaviour_of(version)
    assert version in str(refusal.value)
