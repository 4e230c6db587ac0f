"""What a look at the cluster has found, and what that means for the daemon."""

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct

from autoscaler.core.values import Mode


class Severity(StrEnum):
    FATAL = "fatal"  # the daemon would do nothing
    WARNING = "warning"  # it would do less than it could


class Problem(Struct, frozen=True):
    level: Severity
    sentence: str


class PreflightReport(Struct, frozen=True, kw_only=True):
    """What was found. What could not be found out is empty, or None."""

    cluster_name: str = ""
    version: str = ""  # "" on serverless, whose number means nothing
    build_flavor: str = ""
    # Why no change, no number of allocations, no bounds can be set; "": it can, as far as is known.
    observe_only_because: str = ""
    direct_rejected_because: str = ""
    bounds_rejected_because: str = ""
    licence_type: str = ""
    licence_status: str = ""
    licence_ok: bool | None = None
    security_enabled: bool | None = None
    user: str = ""
    authentication_type: str = ""  # realm, api_key, token, anonymous
    privileges: Mapping[str, bool] = {}
    upgrade_mode: bool | None = None
    deployments: int | None = None
    owned: frozenset[str] = frozenset()  # deployments that belong to inference endpoints
    owned_refused_because: str = ""  # "": these can be changed, as far as is known
    stop_refused_because: str = ""  # "": deployments can be stopped, as far as is known
    problems: tuple[Problem, ...] = ()

    def rejection_of(self, mode: Mode) -> str:
        """Why changes by this lever would be refused, in a sentence; "" if they would not."""
        by_mode = {
            Mode.DIRECT: self.direct_rejected_because,
            Mode.BOUNDS: self.bounds_rejected_because,
        }
        return self.observe_only_because or by_mode[mode]

    @property
    def ok(self) -> bool:
        """Whether the daemon can do its work, if only a part of it."""
        return all(problem.level is not Severity.FATAL for problem in self.problems)
