"""Responses of a cluster, damaged at random: values, structure, bytes and statuses."""

import json
import random
from base64 import b64encode
from typing import Any
from urllib.parse import quote

Json = Any

MAX_DEPTH = 60


def odd_values(secret: str) -> list[Json]:
    """Values that no field expects, or that only some do."""
    header = f"ApiKey {secret}"
    nested: Json = "deep"
    for level in range(MAX_DEPTH):
        nested = [nested] if level % 2 else {"a": nested}
    return [
        *(None, True, False, "", [], {}, [[]], {"": {}}),
        *(-1, 0, 1, 1.5, 1000.0, 1e308, -0.0, 2**31, 2**53, 2**63, 2**200),
        *(float("nan"), float("inf"), -float("inf")),
        *("started", "stopping", "NaN", "12", "1gb", "x" * 600, "é" * 200),
        *("\x1b[2J\x1b[31m", "\u202eabc", "a\nb\rc", "\x00", "\ud800", "../../_all", "a/b?c=d#e"),
        *(header, secret, quote(header), b64encode(header.encode()).decode(), {header: header}),
        *([header] * 3, [1] * 500, [{}] * 200, nested),
    ]


class Damage:
    """Changes documents and bytes, the same for the same seed."""

    def __init__(self, seed: str, odd: list[Json]) -> None:
        self._random = random.Random(seed)
        self._odd = odd

    def body(self, document: Json) -> bytes:
        """The document as bytes, mostly with a few changes."""
        for _ in range(self._random.choice((0, 0, 1, 1, 1, 2, 3, 12))):
            document = self._changed(document)
        body = json.dumps(document).encode()
        return self._bytes(body) if self._random.random() < 0.1 else body

    def status(self) -> int:
        """Mostly 200."""
        if self._random.random() < 0.85:
            return 200
        return self._random.choice((204, 301, 400, 401, 403, 404, 408, 409, 429, 500, 502, 503))

    def is_elasticsearch(self) -> bool:
        """Whether the response has the header of the product."""
        return self._random.random() < 0.97

    def _changed(self, value: Json) -> Json:
        """A copy with one change, at any depth."""
        if isinstance(value, dict) and value and self._random.random() < 0.9:
            key = self._random.choice(list(value))
            match self._random.randrange(12):
                case 0:
                    return {name: each for name, each in value.items() if name != key}
                case 1:
                    return {**value, str(self._random.choice(self._odd))[:700]: value[key]}
                case _:
                    return {**value, key: self._changed(value[key])}
        if isinstance(value, list) and value and self._random.random() < 0.9:
            position = self._random.randrange(len(value))
            before, each, after = value[:position], value[position], value[position + 1 :]
            match self._random.randrange(12):
                case 0:
                    return before + after
                case 1:
                    return [*before, each, each, *after]
                case _:
                    return [*before, self._changed(each), *after]
        if isinstance(value, int) and self._random.random() < 0.3:
            return self._random.choice((value - 1, value * 1000, -value, float(value)))
        return self._random.choice(self._odd)

    def _bytes(self, body: bytes) -> bytes:
        at = self._random.randrange(len(body) + 1)
        match self._random.randrange(6):
            case 0:
                return body[:at]
            case 1:
                return body[:at] + self._random.randbytes(3) + body[at:]
            case 2:
                return body[:at] + bytes([self._random.randrange(256)]) + body[at + 1 :]
            case 3:
                return b"\xef\xbb\xbf" + body
            case 4:
                return body + body
            case _:
                return self._random.choice((b"", b"null", b"[]", b"<html>", b'"', b"[" * 5000))
