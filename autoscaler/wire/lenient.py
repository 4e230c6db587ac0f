"""Reads a document that has odd values: each of them counts as unknown, and the others are kept.

An integer may be written with a fraction of zero or an exponent, such as 1000.0 or 1e3, as some
proxies and serialisers do. It is that integer.

Strict decoding is the first attempt, because it is fast. This is the second attempt, for documents
that strict decoding rejects.
"""

import json
import math
import re
from collections.abc import Callable, Iterable
from decimal import Decimal
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import Struct
from msgspec.structs import FieldInfo, fields

from autoscaler.wire.bounds import MAX_NAME

Target = TypeVar("Target", bound=Struct)
Response = TypeVar("Response")

MAX_DIGITS = 18
"""Digits of an integer that is still a number here. 18 fit into 64 bits, and no figure of a cluster
has more."""


MAX_EXACT = 2**53
"""Largest integer that is read from a number with a fraction or an exponent. Above it, a double
does not represent every integer."""


MAX_ELEMENTS = 10_000
"""Elements of a list, or entries of an object, with an odd value among them."""


class Unreadable(ValueError):
    """A value that cannot be read, and without which nothing can. The message names its place."""


def parse_leniently(body: bytes) -> Any:
    """JSON as plain objects. Numbers that are not finite, or have too many digits, are texts, and
    whole numbers are integers, however they are written. Halves of characters are U+FFFD: no text
    with one of them can be encoded.

    Raises:
        ValueError: it is not JSON.
        RecursionError: it is nested too deeply.
    """
    text = body.decode()
    found = json.loads(text, parse_constant=str, parse_int=_integer, parse_float=_float)
    return _with_whole_characters(found) if _SURROGATE.search(text) else found


_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def _with_whole_characters(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_with_whole_characters(each) for each in value]
    if isinstance(value, dict):
        return {
            _with_whole_characters(name): _with_whole_characters(each)
            for name, each in value.items()
        }
    return value


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits.lstrip("-")) <= MAX_DIGITS else digits


def _float(digits: str) -> float | int | str:
    number = float(digits)
    if not math.isfinite(number):
        return digits
    # Exact: 1000.00000000000000001 is not an integer, but the double nearest to it is.
    if abs(number) <= MAX_EXACT and number.is_integer() and Decimal(digits) == int(number):
        return int(number)
    return number


def decode(body: bytes, kind: type[Response]) -> Response:
    """A document in which nothing may be odd.

    Raises:
        msgspec.DecodeError: it has another form.
        UnicodeDecodeError, RecursionError: it cannot be read at all.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as strict:
        try:
            return msgspec.convert(parse_leniently(body), kind)
        except (ValueError, RecursionError):
            raise strict from None


def read_leniently(
    value: object, target: type[Target], *, whole: Iterable[type[Struct]] = ()
) -> tuple[Target, tuple[str, ...]]:
    """The struct of a plain object, and the places of its odd values, with the error of each.

    An odd value is None if its field may be None, and otherwise the default of the field.

    Args:
        whole: structs that are unknown as a whole if one of their values is odd, because the
            others mean nothing without it.

    Raises:
        Unreadable: it is no object, or a required field is odd.
    """
    problems: list[str] = []
    read = _LenientReader(frozenset(whole), problems.append).struct(value, target, "")
    return read, tuple(problems)


class _LenientReader:
    def __init__(self, whole: frozenset[type[Struct]], report: Callable[[str], None]) -> None:
        self._whole = whole
        self._report = report

    def struct(self, value: object, target: type[Target], place: str) -> Target:
        if not isinstance(value, dict):
            raise Unreadable(f"{place or 'the entry'}: not an object")
        known = {
            field.name: self._field(value[field.encode_name], field, _below(place, field))
            for field in fields(target)
            if field.encode_name in value
        }
        return target(**known)

    def _field(self, value: object, field: FieldInfo, place: str) -> Any:
        try:
            return self._value(value, field.type, place)
        except (msgspec.ValidationError, Unreadable) as error:
            if field.required:
                raise Unreadable(f"{place}: {error}") from error
            self._report(str(error) if isinstance(error, Unreadable) else f"{place}: {error}")
            if type(None) in get_args(field.type):
                return None
            return (
                field.default
                if field.default_factory is msgspec.NODEFAULT
                else (field.default_factory())
            )

    def _value(self, value: object, hint: Any, place: str) -> Any:
        """The value as the type that it should have; as much of it as can be read."""
        try:
            return msgspec.convert(value, hint)
        except msgspec.ValidationError:
            for each in get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,):
                if isinstance(value, dict) and _is_struct(each) and each not in self._whole:
                    return self.struct(value, each, place)
                if isinstance(value, list) and get_origin(each) is list:
                    return self._elements(value, get_args(each)[0], place)
                if isinstance(value, dict) and get_origin(each) is dict:
                    return self._entries(value, get_args(each)[1], place)
            raise

    def _elements(self, values: list[Any], hint: Any, place: str) -> list[Any]:
        """The elements; an empty struct in the place of an unreadable element."""
        if len(values) > MAX_ELEMENTS:
            raise Unreadable(f"{place}: more than {MAX_ELEMENTS} elements, some of them odd")
        read = []
        for index, value in enumerate(values):
            try:
                read.append(self._value(value, hint, f"{place}[{index}]"))
            except (msgspec.ValidationError, Unreadable) as error:
                self._report(f"{place}[{index}]: {error}")
                if _is_struct(hint):
                    read.append(hint())
        return read

    def _entries(self, values: dict[str, Any], hint: Any, place: str) -> dict[str, Any]:
        if len(values) > MAX_ELEMENTS:
            raise Unreadable(f"{place}: more than {MAX_ELEMENTS} entries, some of them odd")
        read = {}
        for name, value in values.items():
            below = f"{place}.{name[:MAX_NAME]}"
            try:
                read[name] = self._value(value, hint, below)
            except (msgspec.ValidationError, Unreadable) as error:
                self._report(f"{below}: {error}")
        return read


def _below(place: str, field: FieldInfo) -> str:
    return f"{place}.{field.encode_name}" if place else field.encode_name


def _is_struct(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Struct)
