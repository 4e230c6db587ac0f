"""`filter_path`: responses with a part of a document.

Source: elastic/elasticsearch, `docs/reference/elasticsearch/rest-apis/common-options.md`: a list of
dotted paths; `*` stands for any part of a name, `**` for any number of levels, a leading `-`
excludes. Arrays are transparent. Objects and arrays that become empty are omitted.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

Pattern = tuple[str, ...]

_EMPTIED = object()


def filter_document(document: object, filter_path: str) -> object:
    """The part of a document, of dicts, lists and scalars, that `filter_path` selects.

    >>> filter_document({"count": 1, "models": [{"id": "a", "size": 2}]}, "models.id")
    {'models': [{'id': 'a'}]}
    >>> filter_document({"count": 1, "models": []}, "-count")
    {'models': []}
    """
    includes, excludes = _parse(filter_path)
    if includes:
        document = _included(document, includes)
    if excludes and document is not _EMPTIED:
        document = _excluded(document, excludes)
    return {} if document is _EMPTIED else document


def _parse(filter_path: str) -> tuple[list[Pattern], list[Pattern]]:
    includes: list[Pattern] = []
    excludes: list[Pattern] = []
    for path in filter(None, (part.strip() for part in filter_path.split(","))):
        names = tuple(part.replace("\\.", ".") for part in re.split(r"(?<!\\)\.", path.lstrip("-")))
        (excludes if path.startswith("-") else includes).append(names)
    return includes, excludes


def _included(value: object, patterns: Sequence[Pattern]) -> object:
    if isinstance(value, dict):
        kept = {}
        for key, inner in value.items():
            whole, deeper = _descend(patterns, key)
            part = inner if whole else _included(inner, deeper) if deeper else _EMPTIED
            if part is not _EMPTIED:
                kept[key] = part
        return kept or _EMPTIED
    if isinstance(value, list):
        return _without_emptied(_included(item, patterns) for item in value) or _EMPTIED
    return _EMPTIED


def _excluded(value: object, patterns: Sequence[Pattern]) -> object:
    if isinstance(value, dict):
        kept = {}
        for key, inner in value.items():
            whole, deeper = _descend(patterns, key)
            part = _EMPTIED if whole else _excluded(inner, deeper) if deeper else inner
            if part is not _EMPTIED:
                kept[key] = part
        return kept if kept or not value else _EMPTIED
    if isinstance(value, list):
        items = _without_emptied(_excluded(item, patterns) for item in value)
        return items if items or not value else _EMPTIED
    return value


def _without_emptied(items: Iterable[object]) -> list[object]:
    return [item for item in items if item is not _EMPTIED]


def _descend(patterns: Iterable[Pattern], key: str) -> tuple[bool, list[Pattern]]:
    """Whether `key` matches completely, and the patterns that continue inside it."""
    whole, deeper = False, []
    for first, *rest in patterns:
        if first == "**":
            deeper.append((first, *rest))
            whole_below, below = _descend([tuple(rest)], key) if rest else (True, [])
            whole = whole or whole_below
            deeper.extend(below)
        elif _name_matches(first, key):
            whole = whole or not rest
            if rest:
                deeper.append(tuple(rest))
    return whole, deeper


@lru_cache(maxsize=4096)
def _name_matches(pattern: str, name: str) -> bool:
    if "*" not in pattern:
        return pattern == name
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name) is not None
