"""The table [elasticsearch] -> a connection, and the conflicts between keys of the table.

Everything else that can be wrong with a connection is found in `autoscaler.connection`.
"""

from collections.abc import Iterator
from pathlib import Path

from pydantic import SecretStr

from autoscaler.config.document import ElasticsearchTable
from autoscaler.connection import (
    ApiKey,
    Basic,
    Bearer,
    Connection,
    Credentials,
    Problem,
    problems_of,
)

MAX_DEFAULT_TIMEOUT_S = 30.0
"""The default of request_timeout is poll_interval, but at most this many seconds, so that a hanging
request does not cost minutes when poll_interval is long."""


def connection_of(table: ElasticsearchTable, directory: Path, poll_interval_s: float) -> Connection:
    """Relative paths in the table are relative to the directory."""
    return Connection(
        hosts=tuple([table.hosts] if isinstance(table.hosts, str) else table.hosts or ()),
        cloud_id=table.cloud_id or "",
        auth=_credentials(table, directory),
        ca_certs=_path(table.ca_certs, directory),
        ca_fingerprint=table.ca_fingerprint or "",
        client_certificate=_path(table.client_certificate, directory),
        client_key=_path(table.client_key, directory),
        request_timeout_s=table.request_timeout or min(poll_interval_s, MAX_DEFAULT_TIMEOUT_S),
    )


def connection_problems(table: ElasticsearchTable, connection: Connection) -> Iterator[Problem]:
    """Everything that is wrong with a table and the connection that it describes."""
    yield from _conflicts(table)
    for key, problem in problems_of(connection):
        # Of username and password, `_conflicts` reports that one is not set.
        if key != "password" or table.password is not None:
            yield key, problem


def _credentials(table: ElasticsearchTable, directory: Path) -> Credentials | None:
    if api_key := _secret(table.api_key, table.api_key_file, directory):
        return ApiKey(api_key)
    if table.username is not None:
        return Basic(table.username, _secret(table.password, table.password_file, directory) or "")
    if token := _secret(table.bearer_token, table.bearer_token_file, directory):
        return Bearer(token)
    return None


def _secret(value: SecretStr | None, file: str | None, directory: Path) -> str | Path | None:
    return _path(file, directory) or (value.get_secret_value() if value else None)


def _path(file: str | None, directory: Path) -> Path | None:
    return None if file is None else directory / file


def _conflicts(table: ElasticsearchTable) -> Iterator[Problem]:
    for key in ("api_key", "password", "bearer_token"):
        if getattr(table, key) is not None and getattr(table, f"{key}_file") is not None:
            yield f"{key}_file", f"{key} is set as well; keep one of the two"
    password = table.password or table.password_file
    kinds = {
        "api_key": table.api_key or table.api_key_file,
        "username": table.username or password,
        "bearer_token": table.bearer_token or table.bearer_token_file,
    }
    given = [name for name, value in kinds.items() if value]
    if len(given) > 1:
        yield "", f"{' and '.join(given)} exclude each other; keep one"
    if bool(table.username) != bool(password):
        yield "", "username and password belong together; set both"
