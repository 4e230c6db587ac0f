"""Whether an ingest pipeline uses a deployment, read before it is stopped.

The statistics have the number of pipelines, but they may be older than a pipeline. A processor
names the deployment, its model, or an alias of the model.
"""

from collections.abc import Collection

from autoscaler.adapters.elasticsearch.api import ElasticsearchApi

MAX_ALIASES = 20
"""Names that are looked up, each with a request, because they are those of no known deployment or
model. 20, because the check of a stop has a time-out."""


class TooManyNames(Exception):
    """The pipelines name more unknown models than are looked up."""


async def pipeline_of(
    api: ElasticsearchApi, deployment_id: str, model_id: str, known: Collection[str]
) -> str | None:
    """A pipeline that uses the deployment; None: none does.

    Args:
        known: ids of deployments and models, which are no aliases.

    Raises:
        ElasticsearchError: the pipelines cannot be read.
        TooManyNames: there are too many aliases.
    """
    named = await api.pipeline_models()
    for name in (deployment_id, model_id):
        if name in named:
            return named[name]
    aliases = sorted(named.keys() - set(known))
    if len(aliases) > MAX_ALIASES:
        raise TooManyNames(f"pipelines name {len(aliases)} unknown models")
    for alias in aliases:
        if await api.resolved_model(alias) == model_id:
            return named[alias]
    return None
