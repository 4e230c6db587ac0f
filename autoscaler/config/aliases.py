"""Former names of keys and values, which are accepted for one release with a warning each."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any, NamedTuple

from autoscaler.config.messages import KeyPath, KeySources


class Aliases:
    """Replaces former names in one document, in place.

    A key whose new name is set as well is a problem, and is removed.
    """

    def __init__(self, sources: KeySources) -> None:
        self._sources = sources
        self.warnings: list[str] = []
        self.problems: list[str] = []

    def key(self, table: Any, path: KeyPath, old: str, new: str) -> None:
        """Rename a key of the table at `path`."""
        if not isinstance(table, dict) or old not in table:
            return
        place = self._sources.of((*path, old))
        if new in table:
            self.problems.append(f"{place}: former name of {new}, which is set too; remove {old}")
            del table[old]
            return
        variable = place.removesuffix(old.upper())
        use = new if variable == place else f"{variable}{new.upper()}"
        self.warnings.append(f"{place}: deprecated; use {use}")
        self._sources.add_alias((*path, new), (*path, old))
        table[new] = table.pop(old)

    def value(self, table: Any, path: KeyPath, key: str, old: str, new: str) -> None:
        """Replace a value of the table at `path`."""
        if isinstance(table, dict) and table.get(key) == old:
            place = self._sources.of((*path, key))
            self.warnings.append(f'{place}: "{old}" is deprecated; use "{new}"')
            table[key] = new

    def note(self, path: KeyPath, problem: str) -> None:
        """Add a warning about the key at `path`."""
        self.warnings.append(f"{self._sources.of(path)}: {problem}")


_STATE_FILE = (
    "deprecated; the stopped deployments in it are taken over into state_dir once; then remove the "
    "key"
)


class Current(NamedTuple):
    """A configuration with current names. Keys under both names are problems."""

    document: dict[str, Any]
    warnings: tuple[str, ...]  # for each former name
    problems: tuple[str, ...]


def with_current_names(document: dict[str, Any], sources: KeySources) -> Current:
    current = deepcopy(document)
    aliases = Aliases(sources)
    for path, table in _scaling_tables(current):
        aliases.key(table.get("slo"), (*path, "slo"), "percentile", "target")
        aliases.value(
            table.get("scale_to_zero"), (*path, "scale_to_zero"), "via", "native", "adaptive"
        )
        aliases.value(table, path, "on_exit", "native", "adaptive")
    if "state_file" in current:
        aliases.note(("state_file",), _STATE_FILE)
    return Current(current, tuple(aliases.warnings), tuple(aliases.problems))


def without_observe(
    document: dict[str, Any], sources: KeySources
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The former mode observe is a dry run of direct, also where dry_run is false.

    A rule that overrides an inherited mode observe does not inherit the dry run with it. So this
    needs the whole configuration: one key may be in the file, and the other in the environment.
    """
    current = deepcopy(document)
    aliases = Aliases(sources)
    inherited: object = None
    for path, table in _scaling_tables(current):
        if table.get("mode") == "observe":
            aliases.note((*path, "mode"), '"observe" is deprecated; use dry_run = true')
            if path == ("defaults",):
                inherited = table.get("dry_run", False)
            table |= {"mode": "direct", "dry_run": True}
        elif inherited is not None and "mode" in table:
            table.setdefault("dry_run", inherited)
    return current, tuple(aliases.warnings)


def _scaling_tables(document: dict[str, Any]) -> Iterator[tuple[KeyPath, dict[str, Any]]]:
    defaults, rules = document.get("defaults"), document.get("rules")
    if isinstance(defaults, dict):
        yield ("defaults",), defaults
    for index, rule in enumerate(rules if isinstance(rules, list) else ()):
        if isinstance(rule, dict):
            yield ("rules", index), rule
