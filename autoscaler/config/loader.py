"""config.toml and the environment -> Config."""

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_settings import EnvSettingsSource, SettingsError

from autoscaler.config.document import DELIMITER, PREFIX, ConfigDocument
from autoscaler.config.messages import ConfigError, KeySources, describe, did_you_mean, table_of
from autoscaler.config.resolver import Resolver
from autoscaler.config.values import Config

CONFIG_VARIABLE = f"{PREFIX}CONFIG"
"""Names the file itself; read by the command line."""

_KUBERNETES_VARIABLES = re.compile(rf"{PREFIX}(SERVICE_(HOST|PORT.*)|PORT(_\d+_.*)?)")
"""What Kubernetes sets in every container if a service is called autoscaler. Not for us."""

MAX_BYTES = 1 << 20
"""A thousand rules take a fifth of it; a larger file was named by mistake."""


def load(path: Path | None, environ: Mapping[str, str]) -> Config:
    """Read and settle a configuration. Variables of the environment override the file.

    Relative paths in it are relative to the directory of the file.

    Args:
        path: the TOML file; None: the environment says it all.
        environ: AUTOSCALER_POLL_INTERVAL is the key `poll_interval`, and
            AUTOSCALER_ELASTICSEARCH__API_KEY is `api_key` in `[elasticsearch]`; lists of tables
            are JSON. An empty variable counts as unset.

    Raises:
        ConfigError: with one sentence for every problem.
    """
    places = KeySources(str(path) if path else "configuration", environ)
    written = _read(path) if path else {}
    _refuse_unknown(environ)
    try:
        document = ConfigDocument(**_merged(written, _from_environment(environ)))
    except ValidationError as error:
        raise ConfigError(describe(error, places)) from None
    return Resolver(document, places, path.parent if path else Path()).resolve()


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ConfigError([f"{path}: is larger than 1 MiB, so it cannot be a configuration"])
        return tomllib.loads(content.decode())
    except FileNotFoundError:
        raise ConfigError(
            [f"{path}: no such file; begin with a copy of config.example.toml"]
        ) from None
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: is not UTF-8 at byte {error.start}"]) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([_syntax_error(path, str(error))]) from None


def _syntax_error(path: Path, message: str) -> str:
    found = re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", message, re.DOTALL)
    return f"{path}:{found[2]}:{found[3]}: {found[1]}" if found else f"{path}: {message}"


class _Environment(EnvSettingsSource):
    """The variables of a given mapping instead of the process's."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        super().__init__(ConfigDocument)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {name.lower(): value for name, value in self._environ.items() if value}


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    try:
        return _Environment(environ)()
    except SettingsError as error:
        # The library's message names the key and nothing of the value.
        found = re.search(r'field "(\w+)"', str(error))
        variable = PREFIX + found[1].upper() if found else "environment"
        raise ConfigError([f"{variable}: must be JSON, since it stands for a table"]) from None


def _refuse_unknown(environ: Mapping[str, str]) -> None:
    known = {CONFIG_VARIABLE, *_variables(ConfigDocument, PREFIX)}
    problems = []
    for name in sorted(environ):
        variable = name.upper()
        if variable.startswith(PREFIX) and variable not in known:
            if _KUBERNETES_VARIABLES.fullmatch(variable):
                continue
            # Without the prefix, which all have in common and which would make all alike.
            meant = did_you_mean(variable.removeprefix(PREFIX), _without_prefix(known), PREFIX)
            problems.append(f"{name}: no such setting{meant}")
    if problems:
        raise ConfigError(problems)


def _without_prefix(variables: Iterable[str]) -> list[str]:
    return [variable.removeprefix(PREFIX) for variable in variables]


def _variables(table: type[BaseModel], prefix: str) -> Iterator[str]:
    """The name of every variable that sets something."""
    for key, field in table.model_fields.items():
        name = prefix + key.upper()
        yield name
        inner = None if get_origin(field.annotation) is list else table_of(field)
        if inner is not None:
            yield from _variables(inner, name + DELIMITER)


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(value, dict) and isinstance(below, dict):
            merged[key] = _merged(below, value)
        else:
            merged[key] = value
    return merged
