"""Queries of Prometheus' HTTP API over a long period, a part of it at a time.

Source: Prometheus, "HTTP API", "Range queries"; at most 11,000 points of a series in one response.
Elasticsearch has the same API below `/_prometheus` (its reference, "PromQL HTTP API"), which
accepts GET and no other parameters.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec
from msgspec import Struct

from autoscaler.importing.http_client import ImportFailed, StoreClient, TooLarge
from autoscaler.text import printable

MAX_POINTS = 10_000
"""Points of a series in one response; Prometheus refuses more than 11,000."""

_ROUNDING_S = 0.001
"""Seconds by which instants may differ from those that were requested: they are sent in ms."""

_TOO_LARGE = (
    "too many samples",
    "maximum resolution",
    "timed out",
    "too large",
    "circuit_breaking",
)
"""Parts of errors after which a shorter part of the period may succeed."""


class _SentSeries(Struct):
    metric: dict[str, str] = {}
    values: list[tuple[float, str]] = []


class _Data(Struct):
    resultType: str = ""  # noqa: N815 - as it is sent
    result: list[_SentSeries] = []


class _Response(Struct):
    status: str
    data: _Data = msgspec.field(default_factory=_Data)
    error: str = ""
    warnings: list[str] = []


_decoder = msgspec.json.Decoder(_Response)


class RangeSeries(NamedTuple):
    """The values of one series by their instants, without those that are no number, and those of
    instants that were not requested: the source ignores parameters."""

    labels: Mapping[str, str]
    points: list[tuple[float, float]]


class Refused(ImportFailed):
    """The source cannot evaluate the query."""


class RangeQueries:
    """
    Args:
        step_s: between two instants at which queries are evaluated.
        warn: for what the source says about the completeness of its responses.
    """

    def __init__(self, client: StoreClient, step_s: float, warn: Callable[[str], None]) -> None:
        self._client = client
        self._step_s = step_s
        self._warn = warn
        self.warnings: dict[str, None] = {}

    async def run(self, query: str, first: float, last: float) -> list[RangeSeries]:
        """The series of a query from `first` to `last`, both included.

        Raises:
            Refused: the source cannot evaluate it.
            TooLarge: even a single instant is too large.
            ImportFailed: there is no response, or it is not of this API.
        """
        points = math.floor((last - first) / self._step_s + 1e-6) + 1
        if points > MAX_POINTS:
            return await self._in_halves(query, first, points)
        try:
            return await self._once(query, first, first + (points - 1) * self._step_s)
        except TooLarge:
            if points == 1:
                raise
            return await self._in_halves(query, first, points)

    async def _in_halves(self, query: str, first: float, points: int) -> list[RangeSeries]:
        middle = first + (points // 2) * self._step_s
        earlier = await self.run(query, first, middle - self._step_s)
        later = await self.run(query, middle, first + (points - 1) * self._step_s)
        return [*earlier, *later]

    async def _once(self, query: str, first: float, last: float) -> list[RangeSeries]:
        parameters = {
            "query": query,
            "start": f"{first:.3f}",
            "end": f"{last:.3f}",
            "step": f"{self._step_s:g}",
        }
        reply = await self._client.get("/api/v1/query_range", parameters)
        try:
            response = _decoder.decode(reply.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            if reply.status != 200:
                raise self._client.refused(reply.status) from error
            raise ImportFailed(
                f"{self._client.url} answers in JSON, but not as Prometheus does: {error}; give "
                "the address before /api/v1"
            ) from error
        if reply.status != 200 or response.status != "success":
            raise self._error(query, reply.status, response.error)
        if response.data.resultType != "matrix":
            raise Refused(f"the query {query} gives no series over time; use one that does")
        for warning in response.warnings:
            self._note(warning)
        return [_series(each, first, last) for each in response.data.result]

    def _error(self, query: str, status: int, message: str) -> ImportFailed:
        said = printable(message)[:300]
        if any(part in message for part in _TOO_LARGE) or status in {503, 504}:
            return TooLarge(f"{self._client.url}: {said or f'status {status}'}")
        if status in {200, 400, 422}:
            return Refused(f"{self._client.url} does not evaluate {printable(query)}: {said}")
        return self._client.refused(status, message)

    def _note(self, warning: str) -> None:
        text = printable(warning)[:300]
        if text not in self.warnings and len(self.warnings) < 20:
            self.warnings[text] = None
            self._warn(f"{self._client.url} says: {text}")


def _series(found: _SentSeries, first: float, last: float) -> RangeSeries:
    points = []
    for at, text in found.values:
        if not first - _ROUNDING_S <= at <= last + _ROUNDING_S:
            continue
        try:
            value = float(text)
        except ValueError:
            continue
        if math.isfinite(value):
            points.append((at, value))
    return RangeSeries(found.metric, points)
