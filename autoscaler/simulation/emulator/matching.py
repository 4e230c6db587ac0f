"""The models and deployments for a list of ids in a path.

Source: elastic/elasticsearch, `ExpandedIdsMatcher.java` and `TrainedModelProvider.java`.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from msgspec import Struct

from autoscaler.simulation.errors import SimulatedApiError


class Page(Struct, frozen=True, kw_only=True):
    """A page of the matching models, in order of their ids."""

    count: int  # of all matching models
    models: tuple[str, ...]
    tokens: tuple[str, ...]

    def includes_deployment(self, deployment_id: str, model_id: str) -> bool:
        """Whether a deployment matches, by its deployment id or its model id."""
        return any(
            _matches(token, deployment_id) or _matches(token, model_id) for token in self.tokens
        )


def find_page(
    ids: str,
    models: Sequence[str],
    deployments: Mapping[str, str],
    *,
    start: int,
    size: int,
    allow_no_match: bool,
) -> Page:
    """The models for `ids`, a comma-separated list with wildcards.

    `deployments` maps deployment ids to model ids.

    Raises:
        SimulatedApiError: 404: an id without wildcard is unknown, or nothing matches without
            `allow_no_match`.
    """
    tokens = tuple(token.strip() for token in (ids or "_all").split(",") if token.strip())
    matching = sorted(
        model
        for model in models
        if any(
            _matches(token, model)
            or any(_matches(token, id_) for id_, of in deployments.items() if of == model)
            for token in tokens
        )
    )
    page = matching[start : start + size]
    # Only models on the page count as found.
    known = [*page, *(id_ for id_, model in deployments.items() if model in page)]
    missing = [
        token
        for token in tokens
        if (not allow_no_match or not _is_pattern(token))
        and not any(_matches(token, id_) for id_ in known)
    ]
    if missing:
        raise SimulatedApiError(
            404,
            "resource_not_found_exception",
            f"Could not find trained model [{','.join(missing)}]",
        )
    return Page(count=len(matching), models=tuple(page), tokens=tokens)


def _is_pattern(token: str) -> bool:
    return token == "_all" or "*" in token  # noqa: S105


def _matches(token: str, id_: str) -> bool:
    if not _is_pattern(token):
        return token == id_
    return token == "_all" or fnmatchcase(id_, token)  # noqa: S105
