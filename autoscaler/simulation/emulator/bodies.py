"""Strict parsing of JSON bodies: an unknown field is an error."""

import re
from typing import TypeVar

import msgspec

from autoscaler.simulation.errors import SimulatedApiError

Request = TypeVar("Request")


def parse_body(raw: bytes, kind: type[Request], *, parser: str) -> Request:
    """The body `raw` as a `kind`; an empty body means `{}`. Numbers may be strings.

    Raises:
        SimulatedApiError: 400, with line and column; `parser` is the name of the parser of the
            server.
    """
    try:
        return msgspec.json.decode(raw or b"{}", type=kind, strict=False)
    except msgspec.ValidationError as error:
        reason = _reason(raw, str(error), parser)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        reason = f"[1:1] {error}"
    raise SimulatedApiError(400, "x_content_parse_exception", reason)


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
