"""The models that ingest pipelines name.

Source: elastic/elasticsearch, `GetPipelineResponse.java`, `InferenceProcessor.java`.
"""

from collections.abc import Iterator

import msgspec

from autoscaler.wire.bounds import MAX_NAME

FILTER_PATH = "**.inference.model_id"
"""The models alone, of processors at any depth: in `foreach`, in `on_failure`."""


class MalformedPipelines(ValueError):
    """The document does not show which models the pipelines name."""


def parse_models(body: bytes) -> dict[str, str]:
    """One of the pipelines that name it, by the name: the id of a deployment or model, or an alias.

    Raises:
        MalformedPipelines: it does not describe pipelines, or a processor cannot be read.
    """
    try:
        document = msgspec.json.decode(body, type=dict[str, dict[str, object]])
        return {
            name: key[:MAX_NAME] for key, pipeline in document.items() for name in _names(pipeline)
        }
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedPipelines(str(error)) from error


def _names(value: object) -> Iterator[str]:
    if isinstance(value, list):
        for each in value:
            yield from _names(each)
    elif isinstance(value, dict):
        for key, each in value.items():
            if key == "inference" and isinstance(each, dict) and "model_id" in each:
                if not isinstance(each["model_id"], str):
                    raise MalformedPipelines("the model_id of an inference processor is no text")
                yield each["model_id"]
            yield from _names(each)
