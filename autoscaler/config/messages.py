"""Problems of a configuration or a scenario: sentences with the file and its line, or the variable,
and the key."""

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, get_args, get_origin

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

INTEGER = r"[+-]?[0-9]{1,18}"
NUMBER = INTEGER + r"(\.[0-9]{1,18})?"
"""Regular expressions of texts that are numbers."""

KeyPath = tuple[int | str, ...]
"""The keys and list indexes that lead to a value of a document."""


class DocumentError(InputError):
    """An invalid file: one sentence for each problem, one line each."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(*self.problems)


class ConfigError(DocumentError):
    """An invalid configuration.

    `warnings` has a sentence for each former name that it uses, which may be why it is invalid.
    """

    def __init__(self, problems: Iterable[str], warnings: tuple[str, ...] = ()) -> None:
        super().__init__(problems)
        self.warnings = warnings


def _unknown(_: KeyPath) -> None:
    return None


class KeySources:
    """The origin of each value: the file and the line, or an environment variable.

    Args:
        line_of: the line of a key of the file; None: unknown.
        tables: the document, for the names of its rules.
    """

    def __init__(
        self,
        file: str,
        environ: Mapping[str, str],
        aliases: Mapping[KeyPath, KeyPath] = {},
        *,
        line_of: Callable[[KeyPath], int | None] = _unknown,
        tables: Mapping[str, Any] = {},
    ) -> None:
        self.file = file
        self._set = {name.upper() for name, value in environ.items() if value}
        self._line_of = line_of
        self._tables = tables
        self.aliases = dict(aliases)

    def add_alias(self, path: KeyPath, written: KeyPath) -> None:
        """The key at `path` is written as a former name in the document."""
        self.aliases[path] = written

    def of(self, path: KeyPath) -> str:
        """The file and the line, or the variable, and the key at `path` as it is written there.

        If several variables contain the key, it is the most specific one. Variables override the
        file. A rule is called by its name, if it has one.
        """
        path = self.aliases.get(path, path)
        if (variable := self._variable(path)) is not None:
            whole = variable == PREFIX + DELIMITER.join(str(part).upper() for part in path)
            return variable if whole else f"{variable}: {self._key(path)}"
        line = self._line_of(path)
        return f"{self.file}{'' if line is None else f':{line}'}: {self._key(path)}"

    def order(self, path: KeyPath) -> tuple[bool, int]:
        """Sorts problems by line, and those of variables after those of the file."""
        path = self.aliases.get(path, path)
        return self._variable(path) is not None, self._line_of(path) or 0

    def _variable(self, path: KeyPath) -> str | None:
        names = [str(part).upper() for part in path if isinstance(part, str)]
        for length in range(len(names), 0, -1):
            if (variable := PREFIX + DELIMITER.join(names[:length])) in self._set:
                return variable
        return None

    def _key(self, path: KeyPath) -> str:
        match path:
            case ("rules", int() as index, *rest):
                try:
                    name = self._tables["rules"][index]["name"]
                except (KeyError, IndexError, TypeError):
                    return dotted(path)
                if not isinstance(name, str) or not name or len(name) > SHOWN_CHARACTERS:
                    return dotted(path)
                return f"rule {name!r}{f': {dotted(tuple(rest))}' if rest else ''}"
        return dotted(path)


class Problems:
    """Collects problems: keys, each with a sentence."""

    def __init__(self) -> None:
        self._found: list[tuple[KeyPath, str]] = []

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, path: KeyPath, text: str) -> None:
        if (path, text) not in self._found:  # inherited keys are resolved for each rule
            self._found.append((path, text))

    def sentences(self, sources: KeySources) -> list[str]:
        """In the order of the file."""
        found = sorted(self._found, key=lambda problem: sources.order(problem[0]))
        return [f"{sources.of(path)}: {text}" for path, text in found]


def dotted(path: KeyPath) -> str:
    """A path in the notation of TOML, with indexes.

    >>> dotted(("rules", 0, "name"))
    'rules[0].name'
    """
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def describe(error: ValidationError, document: type[BaseModel]) -> Iterator[tuple[KeyPath, str]]:
    """A key and a sentence for every problem that validation found."""
    reported: set[KeyPath] = set()
    for details in error.errors(include_url=False):
        path = _path_of_key(details["loc"], document)
        if path not in reported:
            reported.add(path)
            yield path, _problem(details, path, document)


def did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
    """The end of a sentence about an unknown `name`: the most similar known one."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {prefix}{close[0]}?" if close else ""


MAX_LISTED = 14
"""Keys of a table that a message lists at most. More do not help to find the right one."""


def _listed(keys: Iterable[str]) -> str:
    """The end of a sentence about a wrong key or table: the keys that the table has."""
    names = list(keys)
    if not 0 < len(names) <= MAX_LISTED:
        return ""
    *rest, last = names
    if not rest:
        return f"; its only key is {last}"
    return f"; its keys are {', '.join(rest)} and {last}"


def _described(value: object, field: FieldInfo | None) -> str:
    """The end of a sentence about a value that is no table: the value, and the keys of the table.

    A table with secrets may have been replaced by one.
    """
    table = table_of(field)
    if table is None:
        return ""
    secret = any(SecretStr in types_of(inner) for inner in table.model_fields.values())
    return ("" if secret else _shown(value, field)) + _listed(table.model_fields)


def _hint_of_list(value: object, path: KeyPath, document: type[BaseModel]) -> str:
    """How to write a list, if that is clear."""
    field = _field(path, document)
    if table_of(field) is not None and isinstance(value, dict):
        return f"; write [[{dotted(path)}]] with two brackets"
    return _shown(value, field)


def _problem(details: ErrorDetails, path: KeyPath, document: type[BaseModel]) -> str:
    match details["type"]:
        case "extra_forbidden":
            known = siblings(path, document)
            return f"no such key{did_you_mean(str(path[-1]), known) or _listed(known)}"
        case "missing":
            return "is required"
        case "value_error":
            return str(details["ctx"]["error"])
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"must be a table{_described(details['input'], _field(path, document))}"
        case "list_type":
            return "must be a list" + _hint_of_list(details["input"], path, document)
    message = _TYPE_PROBLEMS.get(details["type"]) or re.sub(
        "^(Input|String) should", "must", details["msg"]
    )
    return message + _shown(details["input"], _field(path, document)) + _hint(details)


_TYPE_PROBLEMS = {
    "bool_type": "must be true or false",
    "int_type": "must be an integer",
    "float_type": "must be a number",
    "string_type": "must be a text",
}


def _hint(details: ErrorDetails) -> str:
    """How to write a value that has the wrong type only."""
    value, kind = details["input"], details["type"]
    if isinstance(value, str):
        pattern = _UNQUOTED.get(kind)
        return "; remove the quotes" if pattern and re.fullmatch(pattern, value) else ""
    if kind == "string_type" and isinstance(value, int | float):
        return "; put it in quotes"
    return ""


_UNQUOTED = {
    "bool_type": "true|false",
    "int_type": INTEGER,
    "float_type": NUMBER,
}


def _shown(value: object, field: FieldInfo | None) -> str:
    """The invalid value, unless it is, or could be, a secret."""
    secret = field is None or SecretStr in types_of(field)
    if secret or not isinstance(value, str | int | float) or len(str(value)) > SHOWN_CHARACTERS:
        return ""
    return f", not {str(value).lower() if isinstance(value, bool) else repr(value)}"


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


def siblings(path: KeyPath, document: type[BaseModel]) -> Iterable[str]:
    """The keys of the table that should contain the last key of the path."""
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
        (t for t in types_of(field) if isinstance(t, type) and issubclass(t, BaseModel)), None
    )


def types_of(field: FieldInfo | None) -> tuple[Any, ...]:
    """The type of a key and, if it is a union, its members."""
    if field is None:
        return ()
    members = (field.annotation, *get_args(field.annotation))
    return tuple(
        get_args(member)[0] if get_origin(member) is Annotated else member for member in members
    )
