"""config.toml and the environment -> Config."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_origin

from msgspec import Struct
from pydantic import BaseModel, ValidationError
from pydantic_settings import EnvSettingsSource, SettingsError

from autoscaler.config.aliases import with_current_names, without_observe
from autoscaler.config.document import ConfigDocument
from autoscaler.config.durations import format_duration
from autoscaler.config.messages import (
    DELIMITER,
    PREFIX,
    ConfigError,
    KeySources,
    describe,
    did_you_mean,
    table_of,
)
from autoscaler.config.resolver import Resolver, resolve_rules
from autoscaler.config.toml_file import read_toml
from autoscaler.config.values import Config
from autoscaler.core.selection import Rule

CONFIG_VARIABLE = f"{PREFIX}CONFIG"
"""The variable that names the file. The command line reads it."""

_KUBERNETES_VARIABLES = re.compile(rf"{PREFIX}(SERVICE_(HOST|PORT.*)|PORT(_\d+_.*)?)")
"""Variables that Kubernetes sets in every container if a service is named autoscaler. They are
ignored."""

_FORMER_VARIABLES = ("DEFAULTS__SLO__PERCENTILE",)
"""Variables of keys that have another name now, without the prefix."""


def load(path: Path | None, environ: Mapping[str, str]) -> Config:
    """Read and resolve a configuration. Environment variables override the file.

    Relative paths in it are relative to the directory of the file.

    Args:
        path: the TOML file; None: everything is set in the environment.
        environ: AUTOSCALER_POLL_INTERVAL is the key `poll_interval`, and
            AUTOSCALER_ELASTICSEARCH__API_KEY is `api_key` in `[elasticsearch]`; lists of tables
            are JSON. An empty variable counts as unset.

    Raises:
        ConfigError: with one sentence for every problem.
    """
    written = read(path, environ)
    sources = written.sources(environ)
    document = _validated(written.tables, sources)
    directory = path.parent if path else Path()
    return Resolver(document, sources, directory, written.warnings).resolve()


class Written(Struct, frozen=True, kw_only=True):
    """A configuration as plain data with current names, before anything is validated."""

    file: str
    tables: dict[str, Any]
    aliases: Mapping[tuple[int | str, ...], tuple[int | str, ...]]
    warnings: tuple[str, ...]

    def sources(self, environ: Mapping[str, str]) -> KeySources:
        return KeySources(self.file, environ, self.aliases)


def read(path: Path | None, environ: Mapping[str, str]) -> Written:
    """Read the file and the environment.

    Raises:
        ConfigError: the file cannot be read, a variable is unknown, or a key is set under its
            former name as well.
    """
    sources = KeySources(str(path) if path else "configuration", environ)
    in_file = KeySources(str(path), {})
    hint = "begin with a copy of config.example.toml"
    tables, in_file_warnings = with_current_names(
        read_toml(path, ConfigError, hint=hint) if path else {}, in_file
    )
    _reject_unknown(environ)
    variables, warnings = with_current_names(_from_environment(environ), sources)
    merged, observe_warnings = without_observe(_merged(tables, variables), sources)
    overridden = {path for path in in_file.aliases if _contains(variables, path)}
    in_force = {path: at for path, at in in_file.aliases.items() if path not in overridden}
    return Written(
        file=sources.file,
        tables=merged,
        aliases=in_force | sources.aliases,
        warnings=observe_warnings + in_file_warnings + warnings,
    )


def rules_of(
    written: Written,
    *,
    environ: Mapping[str, str],
    poll_interval_s: float,
    min_allocations: int,
    max_allocations: int,
) -> tuple[float, tuple[Rule, ...]]:
    """The poll interval in seconds, and the rules, without the connection and all other settings.

    The arguments are used where the configuration sets nothing.

    Raises:
        ConfigError: a rule is invalid.
    """
    bounds = {"min_allocations": min_allocations, "max_allocations": max_allocations}
    absent = {"poll_interval": format_duration(poll_interval_s), "defaults": bounds}
    tables = _merged(absent, written.tables)
    sources = written.sources(environ)
    document = _validated(tables, sources)
    return document.poll_interval, resolve_rules(document, sources)


def _validated(tables: Mapping[str, Any], sources: KeySources) -> ConfigDocument:
    try:
        return ConfigDocument(**tables)
    except ValidationError as error:
        raise ConfigError(describe(error, sources, ConfigDocument)) from None


class _Environment(EnvSettingsSource):
    """Reads a given mapping instead of the environment of the process."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        super().__init__(ConfigDocument)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {name.lower(): value for name, value in self._environ.items() if value}


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    try:
        return _Environment(environ)()
    except SettingsError as error:
        # The library's message contains the key and nothing of the value.
        found = re.search(r'field "(\w+)"', str(error))
        variable = PREFIX + found[1].upper() if found else "environment"
        raise ConfigError([f"{variable}: must be JSON, because it sets a table"]) from None


def _reject_unknown(environ: Mapping[str, str]) -> None:
    current = {CONFIG_VARIABLE, *_variables(ConfigDocument, PREFIX)}
    known = {*current, *(PREFIX + name for name in _FORMER_VARIABLES)}
    problems = []
    for name in sorted(environ):
        variable = name.upper()
        if variable.startswith(PREFIX) and variable not in known:
            if _KUBERNETES_VARIABLES.fullmatch(variable):
                continue
            # Compared without the prefix, which would make all names similar.
            hint = did_you_mean(variable.removeprefix(PREFIX), _without_prefix(current), PREFIX)
            problems.append(f"{name}: no such setting{hint}")
    if problems:
        raise ConfigError(problems)


def _without_prefix(variables: Iterable[str]) -> list[str]:
    return [variable.removeprefix(PREFIX) for variable in variables]


def _variables(table: type[BaseModel], prefix: str) -> Iterator[str]:
    """The names of all variables."""
    for key, field in table.model_fields.items():
        name = prefix + key.upper()
        yield name
        inner = None if get_origin(field.annotation) is list else table_of(field)
        if inner is not None:
            yield from _variables(inner, name + DELIMITER)


def _contains(document: Any, path: tuple[int | str, ...]) -> bool:
    for part in path:
        try:
            document = document[part]
        except (KeyError, IndexError, TypeError):
            return False
    return True


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(value, dict) and isinstance(below, dict):
            merged[key] = _merged(below, value)
        else:
            merged[key] = value
    return merged
