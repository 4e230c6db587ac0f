"""config.toml and the environment -> Config."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_origin

from msgspec import Struct
from msgspec.structs import replace
from pydantic import BaseModel, SecretStr
from pydantic_settings import EnvSettingsSource, SettingsConfigDict, SettingsError

from autoscaler.config.aliases import with_current_names, without_observe
from autoscaler.config.document import ConfigDocument
from autoscaler.config.durations import format_duration
from autoscaler.config.messages import (
    DELIMITER,
    INTEGER,
    NUMBER,
    PREFIX,
    ConfigError,
    KeyPath,
    KeySources,
    Problems,
    did_you_mean,
    table_of,
    types_of,
)
from autoscaler.config.polling import polling_of
from autoscaler.config.report import report_of, report_problems
from autoscaler.config.resolver import Resolver
from autoscaler.config.server import server_of
from autoscaler.config.server_tables import ServerTable
from autoscaler.config.toml_file import MAX_NESTING, TomlFile, nesting_exceeds, read_toml
from autoscaler.config.toml_lines import TomlLines
from autoscaler.config.validation import validate
from autoscaler.config.values import Config, ReportSettings, Server
from autoscaler.core.next_poll import Polling
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
    problems = Problems()
    config = None
    if (validated := validate(written.tables, written.unread, problems)) is not None:
        directory = path.parent if path else Path()
        resolver = Resolver(validated, directory, problems, written.warnings, environ)
        config = resolver.resolve()
        config = replace(config, file=path, file_has_secrets=written.has_secrets)
    written.ensure_none(problems, environ)
    assert config is not None, "it has problems"
    return config


def read_server(path: Path | None, environ: Mapping[str, str]) -> Server | None:
    """[server] alone, also if other parts of the file are invalid; None: not readable.

    For commands that only talk to a running daemon, which may run with an older configuration.
    """
    try:
        table = ServerTable.model_validate(read(path, environ).tables.get("server", {}))
    except (ConfigError, ValueError):
        return None
    return server_of(table, path.parent if path else Path())


class Written(Struct, frozen=True, kw_only=True):
    """A configuration as plain data with current names, before anything is validated."""

    file: str
    tables: dict[str, Any]
    lines: TomlLines
    aliases: Mapping[KeyPath, KeyPath]
    problems: tuple[str, ...]  # of variables, and of keys under two names
    unread: frozenset[KeyPath]  # the keys that those variables should set
    warnings: tuple[str, ...]
    has_secrets: bool  # the file

    def ensure_none(self, problems: Problems, environ: Mapping[str, str]) -> None:
        """
        Raises:
            ConfigError: there are problems of names, or others.
        """
        sources = KeySources(
            self.file, environ, self.aliases, line_of=self.lines.of, tables=self.tables
        )
        if self.problems or problems:
            found = [*problems.sentences(sources), *self.problems]
            raise ConfigError(found, self.warnings) from None


def read(path: Path | None, environ: Mapping[str, str]) -> Written:
    """Read the file and the environment.

    Raises:
        ConfigError: the file cannot be read.
    """
    hint = "begin with a copy of config.example.toml"
    file = TomlFile({}, TomlLines(""))
    if path is not None:
        public_keys = frozenset(_public_keys(ConfigDocument))
        file = read_toml(path, ConfigError, hint=hint, public_keys=public_keys)
    name = str(path) if path else "configuration"
    in_file = KeySources(name, {}, line_of=file.lines.of, tables=file.tables)
    tables = with_current_names(file.tables, in_file)
    unknown = _unknown(environ)
    given, not_json = _from_environment(environ)
    sources = KeySources(name, environ, line_of=file.lines.of, tables=file.tables | given)
    variables = with_current_names(given, sources)
    merged = _merged(tables.document, _typed(variables.document, ConfigDocument))
    merged, observe_warnings = without_observe(merged, sources)
    merged = _with_credentials_directory(merged, environ)
    overridden = {path for path in in_file.aliases if _contains(variables.document, path)}
    in_force = {path: at for path, at in in_file.aliases.items() if path not in overridden}
    return Written(
        file=name,
        tables=merged,
        lines=file.lines,
        aliases=in_force | sources.aliases,
        problems=(
            *(tables.problems + variables.problems),
            *(f"{name}: {problem}" for name, problem in (unknown | not_json).items()),
        ),
        unread=frozenset(map(_path_of, unknown | not_json)),
        warnings=observe_warnings + tables.warnings + variables.warnings,
        has_secrets=_has_secrets(file.tables, ConfigDocument),
    )


def rules_of(
    written: Written,
    *,
    environ: Mapping[str, str],
    poll_interval_s: float,
    min_allocations: int,
    max_allocations: int,
) -> tuple[Polling, tuple[Rule, ...]]:
    """How often is polled, and the rules, without the connection and all other settings.

    The arguments are used where the configuration sets nothing.

    Raises:
        ConfigError: a rule is invalid.
    """
    bounds = {"min_allocations": min_allocations, "max_allocations": max_allocations}
    absent = {"poll_interval": format_duration(poll_interval_s), "defaults": bounds}
    tables = _merged(absent, written.tables)
    problems = Problems()
    polling, rules = polling_of(poll_interval_s), tuple[Rule, ...]()
    if (validated := validate(tables, written.unread, problems)) is not None:
        polling, rules = Resolver(validated, Path(), problems, (), environ).resolve_rules()
    written.ensure_none(problems, environ)
    return polling, rules


def report_settings(written: Written) -> ReportSettings:
    """[report] alone, without the connection and the secrets.

    Raises:
        ConfigError: the configuration is invalid, other keys included.
    """
    problems = Problems()
    settings = ReportSettings()
    if (validated := validate(written.tables, written.unread, problems)) is not None:
        table = validated.document.report
        for key, problem in report_problems(table):
            if not validated.may_cause(("report", key)):
                problems.add(("report", key), problem)
        settings = report_of(table)
    written.ensure_none(problems, {})
    return settings


class _Environment(EnvSettingsSource):
    """Reads a given mapping instead of the environment of the process."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        super().__init__(ConfigDocument)
        # Newer versions of the library convert texts for strict models. `_typed` does that here.
        self.config = SettingsConfigDict(**(self.config | {"strict": False}))

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {name.lower(): value for name, value in self._environ.items() if value}


def _from_environment(environ: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """The tables with texts as values, and each variable that is not JSON and should be."""
    problems = {
        name: f"tables or lists are nested more than {MAX_NESTING} deep; flatten them"
        for name, value in environ.items()
        if name.upper().startswith(PREFIX) and _is_nested_too_deeply(value)
    }
    readable = {name: value for name, value in environ.items() if name not in problems}
    while True:
        try:
            return _Environment(readable)(), problems
        except SettingsError as error:
            # The library's message contains the key and nothing of the value.
            found = re.search(r'field "(\w+)"', str(error))
            variable = PREFIX + (found[1].upper() if found else "")
            names = [name for name in readable if name.upper() == variable]
            if not names:
                return {}, problems | {"environment": "must be JSON where it sets a table"}
            for name in names:
                problems[name] = "must be JSON, because it sets a table"
                del readable[name]


def _is_nested_too_deeply(text: str) -> bool:
    try:
        return nesting_exceeds(json.loads(text), MAX_NESTING)
    except ValueError:
        return False  # no JSON
    except RecursionError:
        return True


def _path_of(variable: str) -> KeyPath:
    return tuple(variable.upper().removeprefix(PREFIX).lower().split(DELIMITER))


def _typed(value: Any, table: type[BaseModel]) -> Any:
    """Texts as the booleans and numbers that keys of a table require. Variables have no types."""
    if not isinstance(value, dict):
        return value
    typed = {}
    for key, inner in value.items():
        field = table.model_fields.get(key)
        below = table_of(field)
        if below is not None and isinstance(inner, dict):
            typed[key] = _typed(inner, below)
        else:
            typed[key] = _parsed(inner, types_of(field)) if isinstance(inner, str) else inner
    return typed


def _parsed(text: str, types: tuple[Any, ...]) -> str | bool | int | float:
    if bool in types and text.lower() in {"true", "false"}:
        return text.lower() == "true"
    if int in types and re.fullmatch(INTEGER, text):
        return int(text)
    if float in types and re.fullmatch(NUMBER, text):
        return float(text)
    return text


def _unknown(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that have no meaning, each with the end of a sentence about it."""
    current = {CONFIG_VARIABLE, *_variables(ConfigDocument, PREFIX)}
    known = {*current, *(PREFIX + name for name in _FORMER_VARIABLES)}
    problems = {}
    for name in sorted(environ):
        variable = name.upper()
        if variable.startswith(PREFIX) and variable not in known:
            if _KUBERNETES_VARIABLES.fullmatch(variable):
                continue
            # Compared without the prefix, which would make all names similar.
            hint = did_you_mean(variable.removeprefix(PREFIX), _without_prefix(current), PREFIX)
            problems[name] = f"no such setting{hint}"
    return problems


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


def _with_credentials_directory(
    tables: Mapping[str, Any], environ: Mapping[str, str]
) -> dict[str, Any]:
    """The tables with the directory of the credentials that systemd has loaded for the service."""
    directory = environ.get("CREDENTIALS_DIRECTORY")

    def resolved(key: str, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: resolved(name, inner) for name, inner in value.items()}
        if directory and isinstance(value, str) and key.endswith("_file"):
            return re.sub(r"^\$CREDENTIALS_DIRECTORY(?=/)", lambda _: directory, value)
        return value

    return {name: resolved(name, value) for name, value in tables.items()}


def _has_secrets(tables: Mapping[str, Any], table: type[BaseModel]) -> bool:
    """Whether a secret itself is in tables, not only the name of its file."""
    for key, field in table.model_fields.items():
        value, inner = tables.get(key), table_of(field)
        if SecretStr in types_of(field) and value:
            return True
        if inner is not None and isinstance(value, dict) and _has_secrets(value, inner):
            return True
    return False


def _public_keys(table: type[BaseModel]) -> Iterator[str]:
    """The keys, at any depth, that do not contain secrets."""
    for key, field in table.model_fields.items():
        if SecretStr not in types_of(field):
            yield key
        if (inner := table_of(field)) is not None:
            yield from _public_keys(inner)


def _contains(document: Any, path: KeyPath) -> bool:
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
