"""What differs between the Elasticsearch versions that can be emulated."""

import re

from msgspec import Struct

_LAST_MINOR = {8: 19, 9: 3}
_FIRST = (8, 6)  # the first with `_update`

SUPPORTED = "8.6 to 8.19 and 9.0 to 9.3"

# The first patch of each minor that lets a removed process finish its queue (elastic/elasticsearch
# #134673, September 2025); the patch numbers follow from the dates of release.
_DRAINS_FROM_PATCH = {(8, 18): 8, (8, 19): 5, (9, 0): 8, (9, 1): 5}


class Behaviour(Struct, frozen=True, kw_only=True):
    """How one version behaves where versions differ.

    Sources: the pull requests named at the fields, all of elastic/elasticsearch.
    """

    number: str  # the full version, such as "8.19.4"
    deployment_id: bool  # several deployments of one model, each with its id
    memory_parameters: bool  # memory of a deployment and of an allocation in the assignment
    update_query_parameter: bool  # `?number_of_allocations=` of `_update` (#108868)
    adaptive_allocations: bool  # the native scaler
    zero_allocations: bool  # the native scaler may remove all allocations (#113455)
    zero_is_fully_allocated: bool  # ... and that counts as fully allocated (#114570)
    queue_capacity: int  # the default; requests waiting at one process (#115041)
    scale_to_zero_s: float | None  # idle time before the native scaler removes all; None: never
    drains: bool  # a removed process finishes its queue (#134673)
    endpoint_owned_conflict: bool  # `_update` refuses what an inference endpoint owns (#130940)
    stop_guard: bool  # `_stop` refuses what an inference endpoint uses (#129325)
    low_priority_check: bool  # `_update` refuses a second allocation of low priority (#139989)

    @property
    def major(self) -> int:
        return int(self.number.partition(".")[0])


def behaviour_of(version: str) -> Behaviour:
    """The behaviour of a version: a minor such as "8.19", meaning its first patch, or a full one.

    Raises:
        ValueError: no such version can be emulated.

    >>> behaviour_of("8.16").number
    '8.16.0'
    >>> behaviour_of("8.19.4").queue_capacity
    10000
    """
    major, minor, patch = _parse(version)
    release = (major, minor)
    adaptive = release >= (8, 16)
    return Behaviour(
        number=f"{major}.{minor}.{patch}",
        deployment_id=release >= (8, 8),
        memory_parameters=release >= (8, 11),
        update_query_parameter=release >= (8, 15),
        adaptive_allocations=adaptive,
        zero_allocations=adaptive,
        zero_is_fully_allocated=adaptive,
        queue_capacity=10_000 if release >= (8, 17) else 1024,
        scale_to_zero_s=_scale_to_zero_s(release) if adaptive else None,
        drains=release >= (9, 2) or patch >= _DRAINS_FROM_PATCH.get(release, patch + 1),
        endpoint_owned_conflict=release >= (9, 2),
        stop_guard=release >= (8, 18),
        low_priority_check=release >= (9, 2),
    )


def _scale_to_zero_s(release: tuple[int, int]) -> float:
    """A quarter of an hour at first; a day since 8.19 and 9.1, which were released together."""
    return 86_400.0 if release == (8, 19) or release >= (9, 1) else 900.0


def _parse(version: str) -> tuple[int, int, int]:
    found = re.fullmatch(r"(\d{1,2})\.(\d{1,3})(?:\.(\d{1,3}))?", version)
    if found is None:
        raise ValueError(
            f"{version!r} is not a version of Elasticsearch: write it like 8.19 or 8.19.4"
        )
    major, minor, patch = int(found[1]), int(found[2]), int(found[3] or 0)
    if (major, minor) < _FIRST or minor > _LAST_MINOR.get(major, -1):
        raise ValueError(f"Elasticsearch {version} cannot be emulated: choose from {SUPPORTED}")
    return major, minor, patch
