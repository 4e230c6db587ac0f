"""The table [server] -> the daemon's HTTP server, and what is wrong with the table."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from msgspec import structs

from autoscaler.config.server_tables import ServerTable, ServerTlsTable
from autoscaler.config.values import Server
from autoscaler.connection import Bearer, Problem, token_of
from autoscaler.server_access import (
    UNNAMED_TOKEN,
    RequestLimit,
    ServerAccess,
    ServerTls,
    contents_digest,
    hash_problem,
    server_context,
)

MAX_NAME_CHARACTERS = 64
"""Characters of the name of an operator, which is shown in logs and in the history."""


def server_of(table: ServerTable, directory: Path) -> Server:
    """A relative path in the table is relative to the directory."""
    hosts = table.allowed_hosts or ()
    return Server(
        host=table.host,
        port=table.port,
        token=_token(table, directory),
        tokens={name: Bearer(directory / file) for name, file in (table.tokens or {}).items()},
        open_reads=table.open_reads,
        allowed_hosts=(hosts,) if isinstance(hosts, str) else tuple(hosts),
        access=ServerAccess(
            tls=None if table.tls is None else _tls(table.tls, directory),
            users={name: hashed.get_secret_value() for name, hashed in (table.users or {}).items()},
            rate_limit=(
                None
                if table.rate_limit is None
                else RequestLimit(per_s=table.rate_limit.per_second, burst=table.rate_limit.burst)
            ),
        ),
    )


def server_problems(table: ServerTable, server: Server) -> Iterator[Problem]:
    """Everything that is wrong with a table and the server that it describes."""
    if table.token is not None and table.token_file is not None:
        yield "token_file", "token is set as well; keep one of the two"
    yield from _access_problems(server.access)
    yield from _token_problems(table, server)
    if not (table.open_reads or server.access.users or server.tokens or server.token):
        yield "open_reads", "must be true without a token and users; set token_file or users"


def _token_problems(table: ServerTable, server: Server) -> Iterator[Problem]:
    owners: dict[str, str] = {}
    if server.token is not None:
        try:
            owners[token_of(server.token)] = "the token without a name"
        except ValueError as error:
            yield "token" if table.token_file is None else "token_file", str(error)
    for name, token in server.tokens.items():
        if len(name) > MAX_NAME_CHARACTERS:
            yield "tokens", f"the name of an operator has at most {MAX_NAME_CHARACTERS} characters"
        if name == UNNAMED_TOKEN and server.token is not None:
            yield "tokens", f"{name} is the name of the token in token_file; use another name"
        try:
            other = owners.setdefault(token_of(token), name)
        except ValueError as error:
            yield "tokens", f"{name}: {error}"
            continue
        if other != name:
            yield "tokens", f"{name}: the same as that of {other}; make one for each"


def _tls(table: ServerTlsTable, directory: Path) -> ServerTls:
    tls = ServerTls(
        cert_file=directory / table.cert_file,
        key_file=directory / table.key_file,
        client_ca_file=None if table.client_ca_file is None else directory / table.client_ca_file,
    )
    with suppress(OSError):  # which is a problem; see below
        return structs.replace(tls, digest=contents_digest(*_files(tls)))
    return tls


def _files(tls: ServerTls) -> tuple[Path, ...]:
    files = (tls.cert_file, tls.key_file, tls.client_ca_file)
    return tuple(path for path in files if path is not None)


def _access_problems(access: ServerAccess) -> Iterator[Problem]:
    for name, hashed in access.users.items():
        if not name or ":" in name:
            yield "users", "the name of a user must not be empty, and has no colon"
        elif problem := hash_problem(hashed):
            yield "users", f"{name}: {problem}"
    if access.tls is None:
        return
    try:
        contents_digest(*_files(access.tls))
        server_context(access.tls)
    except OSError as error:
        yield "tls", f"{error.filename}: {(error.strerror or str(error)).lower()}"
    except ValueError as error:
        yield "tls", str(error)


def _token(table: ServerTable, directory: Path) -> Bearer | None:
    if table.token_file is not None:
        return Bearer(directory / table.token_file)
    return None if table.token is None else Bearer(table.token.get_secret_value())
