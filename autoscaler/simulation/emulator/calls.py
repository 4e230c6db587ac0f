"""Endpoints and their calls."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from msgspec import Struct

from autoscaler.simulation.emulator.parameters import Query
from autoscaler.simulation.emulator.security import User

if TYPE_CHECKING:
    from autoscaler.simulation.emulator.emulation import Emulation


class Call(Struct, frozen=True, kw_only=True):
    """A request that has passed the checks common to all endpoints."""

    method: str
    path: str
    ids: Mapping[str, str]  # the variable parts of the path
    query: Query
    body: bytes
    user: User | None  # None: security is disabled

    @property
    def human(self) -> bool:
        return self.query.boolean("human", False)


class StatusDocument(Struct, frozen=True, kw_only=True):
    """A document that is not an error, with a status other than 200."""

    status: int
    document: object


Handler = Callable[["Emulation", Call], Awaitable[object]]
"""Returns the document for a call, or a `StatusDocument`; raises SimulatedApiError to refuse it."""


class ApiEndpoint(Struct, frozen=True, kw_only=True):
    """A method and path, with the requirements for a call."""

    method: str
    path: str  # in aiohttp's notation
    handler: Handler
    action: str | None = None  # needs the privilege for this action; None: any authenticated user
    parameters: frozenset[str] = frozenset()  # in addition to the common ones
    needs_master: bool = False
    # Refuses a call that is invalid in itself, before anything of the cluster is looked at.
    validate: Callable[["Emulation", Call], object] | None = None
