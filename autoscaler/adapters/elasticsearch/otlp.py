"""OTLP to the cluster itself, which accepts metrics since Elasticsearch 9.2, and logs later.

The path and the form of the body: Elasticsearch reference, "OTLP/HTTP endpoint".
"""

from autoscaler.adapters.elasticsearch.errors import ElasticsearchError
from autoscaler.adapters.elasticsearch.http_request import HttpRequest
from autoscaler.adapters.elasticsearch.transport import Transport
from autoscaler.otlp_access import ExportFailed

_HEADERS = {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"}


class OtlpEndpoint:
    """Sends requests to the hosts of the cluster, with its credentials and certificates."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def send(self, path: str, body: bytes) -> bytes:
        """The body of the response to a request that was accepted.

        Raises:
            ExportFailed: it was not, or there was no response.
        """
        request = HttpRequest(method="POST", path=f"/_otlp{path}", body=body, headers=_HEADERS)
        try:
            return await self._transport.send(request)
        except ElasticsearchError as error:
            wait_s: float | None = getattr(error, "retry_after_s", None)
            status: int | None = getattr(error, "status", None)
            raise ExportFailed(str(error), wait_s, status) from error
