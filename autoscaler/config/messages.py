"""Problems of a configuration or a scenario: sentences with the file or variable, and the key."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from autoscaler.errors import InputError

PREFIX = "AUTOSCALER_"
"""The environment variables of the configuration begin with it."""

DELIMITER = "__"
"""In the name of an environment variable, between the keys of nested tables."""

SHOWN_CHARACTERS = 60
"""Longer values are omitted from messages. Allocations and addresses are shorter."""

KeyPath = tuple[int | str, ...]
"""The keys and list indexes that lead to a value of a document."""


class DocumentError(InputError):
    """An invalid file: one sentence for each problem, one line each."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class ConfigError(DocumentError):
    """An invalid configuration."""


class KeySources:
    """The origin of each value: the file, or an environment variable."""

    def __init__(
        self, file: str, environ: Mapping[str, str], aliases: Mapping[KeyPath, KeyPath] = {}
    ) -> None:
        self.file = file
        self._set = {name.upper() for name, value in environ.items() if value}
        self.aliases = dict(aliases)

    def add_alias(self, path: KeyPath, written: KeyPath) -> None:
        """The key at `path` is written as a former name in the document."""
        self.aliases[path] = written

    def of(self, path: KeyPath) -> str:
        """The file or the variable, and the key at `path` as it is written there.

        If several variables contain the key, it is the most specific one. Variables override the
        file.
        """
        path = self.aliases.get(path, path)
        names = [str(part).upper() for part in path if isinstance(part, str)]
        for length in range(len(names), 0, -1):
            if (variable := PREFIX + DELIMITER.join(names[:length])) in self._set:
                whole = length == len(names) and len(names) == len(path)
                return variable if whole else f"{variable}: {dotted(path)}"
        return f"{self.file}: {dotted(path)}"


def dotted(path: KeyPath) -> str:
    """A path in the notation of TOML, with indexes.

    >>> dotted(("rules", 0, "name"))
    'rules[0].name'
    """
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def describe(
    error: ValidationError, sources: KeySources, document: type[BaseModel]
) -> Iterator[str]:
    """A sentence for every problem that validation found, in the order of the document."""
    reported: set[KeyPath] = set()
    for details in error.errors(include_url=False):
        path = _path_of_key(details["loc"], document)
        if path not in reported:
            reported.add(path)
            yield f"{sources.of(path)}: {_problem(details, path, document)}"


def did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
    """The end of a sentence about an unknown `name`: the most similar known one."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {prefix}{close[0]}?" if close else ""


def _problem(details: ErrorDetails, path: KeyPath, document: type[BaseModel]) -> str:
    match details["type"]:
        case "extra_forbidden":
            return f"no such key{did_you_mean(str(path[-1]), _siblings(path, document))}"
        case "missing":
            return "is required"
        case "value_error":
            return str(details["ctx"]["error"])
        case "model_type" | "model_attributes_type" | "dict_type":
            return "must be a table"
        case "list_type":
            return "must be a list"
    message = re.sub("^(Input|String) should", "must", details["msg"]).split(", unable to")[0]
    return message + _shown(details["input"], _field(path, document))


def _shown(value: object, field: FieldInfo | None) -> str:
    """The invalid value, unless it is, or could be, a secret."""
    secret = field is None or SecretStr in _types(field)
    if secret or not isinstance(value, str | int | float) or len(str(value)) > SHOWN_CHARACTERS:
        return ""
    return f", not {value!r}"


def _path_of_key(location: KeyPath, document: type[BaseModel]) -> KeyPath:
    """`location` without the parts that pydantic appends for members of a union."""
    path: list[int | str] = []
    table: Any = document
    for part in location:
        if table is None and isinstance(part, str):
            break
        path.append(part)
        if isinstance(part, str) and table is not None:
            table = table_of(table.model_fields.get(part))
    return tuple(path)


def _siblings(path: KeyPath, document: type[BaseModel]) -> Iterable[str]:
    table: Any = document
    for part in path[:-1]:
        if isinstance(part, str):
            table = table_of(table.model_fields[part])
    return table.model_fields if table else ()


def _field(path: KeyPath, document: type[BaseModel]) -> FieldInfo | None:
    table: Any = document
    field = None
    for part in path:
        if isinstance(part, str):
            field = table.model_fields.get(part) if table else None
            table = table_of(field)
    return field


def table_of(field: FieldInfo | None) -> type[BaseModel] | None:
    if field is None:
        return None
    return next(
        (t for t in _types(field) if isinstance(t, type) and issubclass(t, BaseModel)), None
    )


def _types(field: FieldInfo) -> tuple[Any, ...]:
    annotation = field.annotation
    return (annotation, *getattr(annotation, "__args__", ()))
