"""What an endpoint is, and what it is called with."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from msgspec import Struct

from autoscaler.simulation.emulator.parameters import Query
from autoscaler.simulation.emulator.security import User

if TYPE_CHECKING:
    from autoscaler.simulation.emulator.emulation import Emulation


class Call(Struct, frozen=True, kw_only=True):
    """A request that has passed all that is checked for every endpoint alike."""

    method: str
    path: str
    ids: Mapping[str, str]  # the variable parts of the path
    query: Query
    body: bytes
    user: User | None  # None: security is off

    @property
    def human(self) -> bool:
        return self.query.boolean("human", False)


Handler = Callable[["Emulation", Call], Awaitable[object]]
"""Answers a call with a document; raises ApiError to refuse it."""


class ApiEndpoint(Struct, frozen=True, kw_only=True):
    """A method and path, and what to demand of whoever calls it."""

    method: str
    path: str  # in aiohttp's notation
    handler: Handler
    action: str | None = None  # whose privilege is needed; None: any authenticated user
    parameters: frozenset[str] = frozenset()  # besides the common ones
    needs_master: bool = False
