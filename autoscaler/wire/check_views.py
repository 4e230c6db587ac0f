"""The JSON of `check`."""

from msgspec import Struct


class CheckedDeploymentView(Struct, frozen=True, kw_only=True):
    """What the daemon would do with one deployment."""

    deployment: str
    model: str  # empty: unknown
    allocations: int | None  # None: unknown
    rule: str | None  # None: it would not be managed
    min_allocations: int | None
    max_allocations: int | None
    would_be_scaled: bool
    status: str  # in words, such as why it would not be scaled


class CheckView(Struct, frozen=True, kw_only=True):
    """What would be managed, and which problems there are. A text that is empty is unknown, or
    there is nothing to say."""

    autoscaler: str  # the version of this program
    cluster: str
    version: str
    build_flavor: str
    licence: str
    security_enabled: bool | None  # None: unknown
    user: str
    privileges: tuple[str, ...]
    state: str
    recording: str
    lease: str
    problems: tuple[str, ...]  # for which the daemon could do nothing; empty: it could
    observe_only: str  # why it could observe, and change nothing
    warnings: tuple[str, ...]
    deployments: tuple[CheckedDeploymentView, ...]
