"""The table [server] -> the daemon's HTTP server, and what is wrong with the table."""

from collections.abc import Iterator
from pathlib import Path

from autoscaler.config.document import ServerTable
from autoscaler.config.values import Server
from autoscaler.connection import Bearer, Problem, token_of


def server_of(table: ServerTable, directory: Path) -> Server:
    """A relative path in the table is relative to the directory."""
    hosts = table.allowed_hosts or ()
    return Server(
        host=table.host,
        port=table.port,
        token=_token(table, directory),
        open_reads=table.open_reads,
        allowed_hosts=(hosts,) if isinstance(hosts, str) else tuple(hosts),
    )


def server_problems(table: ServerTable, server: Server) -> Iterator[Problem]:
    """Everything that is wrong with a table and the server that it describes."""
    if table.token is not None and table.token_file is not None:
        yield "token_file", "token is set as well; keep one of the two"
    if server.token is None:
        if not table.open_reads:
            yield "open_reads", "must be true without a token; set token_file"
        return
    try:
        token_of(server.token)
    except ValueError as error:
        yield "token" if table.token_file is None else "token_file", str(error)


def _token(table: ServerTable, directory: Path) -> Bearer | None:
    if table.token_file is not None:
        return Bearer(directory / table.token_file)
    return None if table.token is None else Bearer(table.token.get_secret_value())
