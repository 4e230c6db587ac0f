"""Which privileges for an index are missing."""

from autoscaler.adapters.elasticsearch.api import ElasticsearchApi
from autoscaler.adapters.elasticsearch.errors import ElasticsearchError


async def lacking(api: ElasticsearchApi, index: str, privileges: tuple[str, ...]) -> str:
    """Who lacks which of the privileges for an index, as the end of a sentence; empty if all are
    granted, or if that is not known."""
    try:
        found = await api.has_privileges(index={index: privileges})
    except ElasticsearchError:  # security is off, or the report of the cluster says why
        return ""
    granted = found.index.get(index, {})
    missing = [name for name in privileges if granted.get(name) is False]
    if not missing:
        return ""
    plural = "s" if len(missing) > 1 else ""
    return (
        f"{found.username or 'the user'} lacks the index privilege{plural} {', '.join(missing)} "
        f"for {index}"
    )
