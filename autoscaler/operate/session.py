"""The configured cluster, for the duration of one command."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from msgspec import Struct

from autoscaler.adapters.admin_http.client import AdminRequestFailed, DaemonAddress, send
from autoscaler.adapters.elasticsearch.api import ElasticsearchApi
from autoscaler.adapters.elasticsearch.error_mapping import outcome_kind_of
from autoscaler.adapters.elasticsearch.errors import (
    ElasticsearchError,
    NotElasticsearch,
    TlsError,
    TransportError,
    Unreachable,
)
from autoscaler.cluster_connection import transport_to
from autoscaler.config import Config
from autoscaler.core.decision import OutcomeKind
from autoscaler.ports import Clock

DAEMON_TIMEOUT_S = 2.0
"""Seconds to wait for a daemon before a command goes on without having found one."""

_UNCERTAIN = frozenset({OutcomeKind.UNKNOWN, OutcomeKind.UNRECOGNISED})
_NEVER_ARRIVED = (Unreachable, TlsError, NotElasticsearch)


@asynccontextmanager
async def api_session(config: Config, clock: Clock) -> AsyncIterator[ElasticsearchApi]:
    """The API of the configured cluster, until the end of the block.

    Raises:
        ConnectionSettingsError: the connection settings are not usable.
    """
    async with transport_to(config, clock) as transport:
        yield ElasticsearchApi(transport)


def uncertain(kind: OutcomeKind) -> bool:
    """Whether a change with this outcome may have been made."""
    return kind in _UNCERTAIN


def outcome_unknown(error: ElasticsearchError) -> bool:
    """Whether the request may have been carried out."""
    if isinstance(error, TransportError):
        return not isinstance(error, _NEVER_ARRIVED)
    return uncertain(outcome_kind_of(error))


async def daemon_answers(daemon: DaemonAddress) -> bool:
    """Whether a daemon responds at this address. Another program does not count."""
    try:
        _, body = await send("GET", daemon, "/decisions?deployment=", timeout_s=DAEMON_TIMEOUT_S)
        return bool(msgspec.json.decode(body, type=_AnyResponse).autoscaler)
    except (AdminRequestFailed, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


class _AnyResponse(Struct):
    """What every response of a daemon begins with, an error included."""

    autoscaler: str
