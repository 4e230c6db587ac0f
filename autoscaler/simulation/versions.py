"""Differences between the Elasticsearch versions that can be emulated."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from msgspec import Struct

_LAST_MINOR = {8: 19, 9: 5}
_FIRST = (8, 6)  # the first with `_update`

SERVERLESS = "serverless"
SUPPORTED = f"8.6 to 8.19, 9.0 to 9.5, and {SERVERLESS}"

_SERVERLESS_REPORTS = "8.11.0"
"""The version that serverless reports. It has no meaning, and the value is arbitrary."""


class Release(NamedTuple):
    major: int
    minor: int
    patch: int = 0


# For a change that was merged into several minors: the first patch of each minor that has it. Later
# minors have it from their first release.
_FirstPatches = Mapping[tuple[int, int], int]

# A removed process finishes its queue (elastic/elasticsearch#134673, September 2025).
_DRAINS: _FirstPatches = {(8, 18): 8, (8, 19): 5, (9, 0): 8, (9, 1): 5, (9, 2): 0}

# `_stop` refuses what inference endpoints use (#129325, June 2025; in the notes of 9.0.4).
_STOP_GUARD: _FirstPatches = {(8, 18): 4, (8, 19): 0, (9, 0): 4, (9, 1): 0}

# `_update` keeps low priority at one allocation (#139989, January 2026; in the notes of 9.2.4).
_LOW_PRIORITY: _FirstPatches = {(8, 19): 10, (9, 2): 4, (9, 3): 0}

# The inference API refuses new threads instead of ignoring them (#138122; in the notes of 9.2.2).
_FIXED_THREADS: _FirstPatches = {(9, 2): 2, (9, 3): 0}

# A node shutdown keeps deployments at zero (#146910, April 2026; in the notes of 9.3.5 and 9.4.0).
_SHUTDOWN_KEEPS_ZERO: _FirstPatches = {(9, 3): 5, (9, 4): 0}

# A request by deployment id scales up from zero (#153213; in the notes of 9.4.5).
_FINDS_BY_ID: _FirstPatches = {(9, 4): 5, (9, 5): 0}

# `_start` without room is a 409 (#155310; in the notes of 9.4.7 and 9.5.4). A late patch of 8.19
# has it, too; which one is not known, so 8.19 is emulated without it.
_NO_ROOM_IS_A_CONFLICT: _FirstPatches = {(9, 4): 7, (9, 5): 4}


class VersionBehaviour(Struct, frozen=True, kw_only=True):
    """How one version behaves where versions differ, defects included.

    Sources: the pull requests and issues named at the fields, all of elastic/elasticsearch.
    """

    number: str  # the full version, such as "8.19.4" (serverless: the newest)
    serverless: bool  # adaptive allocations always, nodes unseen, some endpoints missing
    deployment_id: bool  # several deployments of one model, each with its id
    memory_parameters: bool  # memory of a deployment and of an allocation in the assignment
    update_query_parameter: bool  # `?number_of_allocations=` of `_update` (#108868)
    adaptive_allocations: bool  # `adaptive_allocations` exists
    zero_allocations: bool  # adaptive allocations may scale to zero (#113455)
    zero_is_fully_allocated: bool  # ... and that counts as fully allocated (#114570)
    queue_capacity: int  # the default; requests waiting at one process (#115041)
    scale_to_zero_s: (
        float | None
    )  # idle time before adaptive allocations scale to zero; None: never
    drains: bool  # a removed process finishes its queue (#134673)
    inference_api: bool  # `_inference`
    inference_update: bool  # ... and its `_update`, at first of `num_allocations` only (#114457)
    inference_adaptive: bool  # ... then of that or the adaptive settings (#137129)
    inference_threads_fixed: bool  # ... and new threads are refused, not ignored (#138122)
    endpoint_owned_conflict: bool  # either API refuses deployments of the other (#130940)
    stop_guard: bool  # `_stop` refuses a deployment that an inference endpoint uses (#129325)
    low_priority_check: bool  # `_update` refuses a second allocation of low priority (#139989)
    no_room_is_a_conflict: bool  # `_start` without room: 409 instead of 429 or 500 (#155310)
    endpoint_list: str  # the key of the list: "models" until 8.14, then "endpoints" (#107704)
    endpoint_list_complete: bool  # 8.16 and 8.17 list one endpoint of each deployment only
    endpoint_keeps_settings: bool  # an endpoint `_update` with the stored settings does nothing
    start_forgets_zero: bool  # defect: a start deletes deployments at zero (#137134)
    shutdown_forgets_zero: bool  # defect: so does the shutdown of a node (#146806)
    waits_for_requested_id: bool  # defect: 409 at zero for requests by another id (#146835)

    @property
    def major(self) -> int:
        return int(self.number.partition(".")[0])

    @property
    def reported_number(self) -> str:
        """The version that `GET /` reports."""
        return _SERVERLESS_REPORTS if self.serverless else self.number


def behaviour_of(version: str) -> VersionBehaviour:
    """The behaviour of a version: a minor such as "8.19", meaning its first patch, or a full one.

    Serverless, which has no version, is the newest supported version with its own differences.

    Raises:
        ValueError: no such version can be emulated.

    >>> behaviour_of("8.16").number
    '8.16.0'
    >>> behaviour_of("8.19.4").queue_capacity
    10000
    >>> behaviour_of("serverless").serverless
    True
    """
    serverless = version == SERVERLESS
    release = Release(9, _LAST_MINOR[9]) if serverless else _parse(version)
    adaptive = release >= (8, 16)
    return VersionBehaviour(
        number=".".join(map(str, release)),
        serverless=serverless,
        deployment_id=release >= (8, 8),
        memory_parameters=release >= (8, 11),
        update_query_parameter=release >= (8, 15),
        adaptive_allocations=adaptive,
        zero_allocations=adaptive,
        zero_is_fully_allocated=adaptive,
        queue_capacity=10_000 if release >= (8, 17) else 1024,
        scale_to_zero_s=_scale_to_zero_s(release) if adaptive else None,
        drains=_has(release, _DRAINS),
        inference_api=release >= (8, 11),
        inference_update=release >= (8, 17),
        inference_adaptive=release >= (9, 2),
        inference_threads_fixed=_has(release, _FIXED_THREADS),
        endpoint_owned_conflict=release >= (9, 2),
        stop_guard=_has(release, _STOP_GUARD),
        low_priority_check=_has(release, _LOW_PRIORITY),
        no_room_is_a_conflict=_has(release, _NO_ROOM_IS_A_CONFLICT),
        endpoint_list="models" if release < (8, 15) else "endpoints",
        endpoint_list_complete=not (8, 16) <= release < (8, 18),
        endpoint_keeps_settings=release >= (9, 2),
        start_forgets_zero=(9, 1) <= release < (9, 3),
        shutdown_forgets_zero=adaptive and not _has(release, _SHUTDOWN_KEEPS_ZERO),
        waits_for_requested_id=adaptive and not _has(release, _FINDS_BY_ID),
    )


def _has(release: Release, firsts: _FirstPatches) -> bool:
    """Whether a release has the change that came with `firsts`."""
    minor = (release.major, release.minor)
    return minor > max(firsts) or release.patch >= firsts.get(minor, release.patch + 1)


def _scale_to_zero_s(release: Release) -> float:
    """15 minutes at first; 24 hours since 8.19 and 9.1, which were released together (#128914)."""
    return 86_400.0 if release[:2] == (8, 19) or release >= (9, 1) else 900.0


def _parse(version: str) -> Release:
    found = re.fullmatch(r"(\d{1,2})\.(\d{1,3})(?:\.(\d{1,3}))?", version)
    if found is None:
        raise ValueError(
            f"{version!r} is not a version of Elasticsearch: write it like 8.19 or 8.19.4, "
            f"or {SERVERLESS!r}"
        )
    release = Release(int(found[1]), int(found[2]), int(found[3] or 0))
    if release < _FIRST or release.minor > _LAST_MINOR.get(release.major, -1):
        raise ValueError(f"Elasticsearch {version} cannot be emulated: choose from {SUPPORTED}")
    return release
