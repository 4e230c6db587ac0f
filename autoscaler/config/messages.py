"""What is wrong with a configuration, in sentences that name the place and the key."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from autoscaler.config.document import DELIMITER, PREFIX, ConfigDocument
from autoscaler.errors import InputError

SHOWN_CHARACTERS = 60
"""Values longer than this are left out of messages; no number or address is."""


class ConfigError(InputError):
    """A configuration that cannot be obeyed: one sentence a problem, a line each."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class KeySources:
    """Tells where a value came from: the file, or a variable of the environment."""

    def __init__(self, file: str, environ: Mapping[str, str]) -> None:
        self._file = file
        self._set = {name.upper() for name, value in environ.items() if value}

    def of(self, path: tuple[int | str, ...]) -> str:
        """Where to look for the key at `path`.

        The longest variable that covers the key is to blame, since variables override the file.
        """
        names = [str(part).upper() for part in path if isinstance(part, str)]
        for length in range(len(names), 0, -1):
            if (variable := PREFIX + DELIMITER.join(names[:length])) in self._set:
                whole = length == len(names) and len(names) == len(path)
                return variable if whole else f"{variable}: {dotted(path)}"
        return f"{self._file}: {dotted(path)}"


def dotted(path: tuple[int | str, ...]) -> str:
    """A path as one reads it.

    >>> dotted(("rules", 0, "name"))
    'rules[0].name'
    """
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def describe(error: ValidationError, places: KeySources) -> Iterator[str]:
    """A sentence for every problem that validation found, in the order of the document."""
    told: set[tuple[int | str, ...]] = set()
    for details in error.errors(include_url=False):
        path = _path_of_key(details["loc"])
        if path not in told:
            told.add(path)
            yield f"{places.of(path)}: {_complaint(details, path)}"


def did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
    """The end of a sentence about an unknown `name`: the known one that is most like it."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {prefix}{close[0]}?" if close else ""


def _complaint(details: ErrorDetails, path: tuple[int | str, ...]) -> str:
    match details["type"]:
        case "extra_forbidden":
            return f"no such key{did_you_mean(str(path[-1]), _siblings(path))}"
        case "missing":
            return "is missing"
        case "value_error":
            return str(details["ctx"]["error"])
        case "model_type" | "model_attributes_type" | "dict_type":
            return "must be a table"
        case "list_type":
            return "must be a list"
    message = re.sub("^(Input|String) should", "must", details["msg"]).split(", unable to")[0]
    return message + _shown(details["input"], path)


def _shown(value: object, path: tuple[int | str, ...]) -> str:
    """The offending value, unless it is, or might be, a secret."""
    field = _field(path)
    secret = field is None or SecretStr in _types(field)
    if secret or not isinstance(value, str | int | float) or len(str(value)) > SHOWN_CHARACTERS:
        return ""
    return f", not {value!r}"


def _path_of_key(location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """`location` without what pydantic appends for the members of a union."""
    path: list[int | str] = []
    table: Any = ConfigDocument
    for part in location:
        if table is None and isinstance(part, str):
            break
        path.append(part)
        if isinstance(part, str) and table is not None:
            table = table_of(table.model_fields.get(part))
    return tuple(path)


def _siblings(path: tuple[int | str, ...]) -> Iterable[str]:
    table: Any = ConfigDocument
    for part in path[:-1]:
        if isinstance(part, str):
            table = table_of(table.model_fields[part])
    return table.model_fields if table else ()


def _field(path: tuple[int | str, ...]) -> FieldInfo | None:
    table: Any = ConfigDocument
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
