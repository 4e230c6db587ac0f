"""Strict parsing of JSON bodies: an unknown field is an error."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from autoscaler.simulation.errors import SimulatedApiError

Request = TypeVar("Request")

_INTEGERS = frozenset(
    {
        "inference_threads",
        "max_number_of_allocations",
        "min_number_of_allocations",
        "model_threads",
        "num_allocations",
        "num_threads",
        "number_of_allocations",
        "queue_capacity",
        "threads_per_allocation",
    }
)
"""Fields that are integers of 32 bits."""


_TASKS = frozenset(
    {
        "fill_mask",
        "ner",
        "pass_through",
        "question_answering",
        "text_classification",
        "text_embedding",
        "text_expansion",
        "text_similarity",
        "zero_shot_classification",
    }
)
"""The tasks of models of PyTorch."""


def task_of(inference_config: Mapping[str, Any], *, parser: str) -> str:
    """The task that an `inference_config` is for.

    Raises:
        SimulatedApiError: 400: it has no task, several, or one that no model has.
    """
    unknown = sorted(set(inference_config) - _TASKS)
    if unknown:
        reason = f"[1:1] [{parser}] unknown field [{unknown[0]}]"
        raise SimulatedApiError(400, "x_content_parse_exception", reason)
    if len(inference_config) != 1:
        raise SimulatedApiError(
            400,
            "illegal_argument_exception",
            f"[{parser}] [inference_config] must have one inference type, but has "
            f"{sorted(inference_config)}",
        )
    return next(iter(inference_config))


def parse_body(raw: bytes, kind: type[Request], *, parser: str) -> Request:
    """The body `raw` as a `kind`; an empty body means `{}`.

    A key that is given twice is an error. Numbers may be strings, and fractions of an integer are
    dropped, as by the parser of the server.

    Raises:
        SimulatedApiError: 400, with line and column; `parser` is the name of the parser of the
            server.
    """
    try:
        document = _with_integers(msgspec.json.decode(raw or b"{}"))
        json.loads(raw or b"{}", object_pairs_hook=_distinct, parse_int=str)
        return msgspec.convert(document, kind, strict=False)
    except msgspec.ValidationError as error:
        reason = _reason(raw, str(error), parser)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        reason = f"[1:1] {error}"
    raise SimulatedApiError(400, "x_content_parse_exception", reason)


def _distinct(pairs: Sequence[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise msgspec.DecodeError(f"Duplicate field '{key}'")
        seen.add(key)


def _with_integers(value: Any, name: str = "") -> Any:
    """The document with the numbers of its integer fields as integers.

    Raises:
        msgspec.ValidationError: one is out of range.
    """
    if isinstance(value, dict):
        return {key: _with_integers(item, key) for key, item in value.items()}
    if name not in _INTEGERS or isinstance(value, bool):
        return value
    number = _number(value)
    if number is None:
        return value
    if not -(2**31) <= number < 2**31:
        raise msgspec.ValidationError(f"{value} is out of range of int - at `$.{name}`")
    return int(number)


def _number(value: Any) -> float | None:
    try:
        number = float(value) if isinstance(value, int | float | str) else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _reason(raw: bytes, complaint: str, parser: str) -> str:
    if found := re.search(r"unknown field `([^`]*)`", complaint):
        line, column = _place(raw, found[1])
        return f"[{line}:{column}] [{parser}] unknown field [{found[1]}]"
    if found := re.search(r"at `\$\.([^`]*)`", complaint):
        name = found[1].rpartition(".")[2]
        line, column = _place(raw, name)
        return f"[{line}:{column}] [{parser}] failed to parse field [{name}]: {complaint}"
    return f"[1:1] [{parser}] {complaint}"


def _place(raw: bytes, name: str) -> tuple[int, int]:
    """Line and column of a field, from 1."""
    before = raw.partition(f'"{name}"'.encode())[0]
    return before.count(b"\n") + 1, len(before.rpartition(b"\n")[2]) + 1
