"""The findings of the preflight, and what they mean for the daemon."""

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct

from autoscaler.core.decision import Mode, ObserveOnly, ObserveOnlyCause


class Severity(StrEnum):
    FATAL = "fatal"  # the daemon cannot work
    WARNING = "warning"  # a part of its work is impossible


class Problem(Struct, frozen=True):
    level: Severity
    sentence: str


class PreflightReport(Struct, frozen=True, kw_only=True):
    """The findings. A value that could not be determined is empty or None."""

    complete: bool = True  # False: requests failed on the way, and more could not be found out
    cluster_name: str = ""
    cluster_uuid: str = ""
    version: str = ""  # "" on serverless, where it has no meaning
    build_flavor: str = ""
    # Why changes, allocations or bounds would be rejected; "": they would not, as far as is known.
    observe_only_because: str = ""
    observe_only_cause: ObserveOnlyCause = ObserveOnlyCause.PRIVILEGE  # of `observe_only_because`
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
    owned: frozenset[str] = frozenset()  # deployments that inference endpoints own
    unknown_owners: frozenset[str] = frozenset()  # not changed, since they may be owned
    owned_rejected_because: str = ""  # "": these can be changed, as far as is known
    stop_rejected_because: str = ""  # "": deployments can be stopped, as far as is known
    problems: tuple[Problem, ...] = ()

    def rejection_of(self, mode: Mode) -> str:
        """Why changes in this control mode would be rejected, as a sentence; "": they would not."""
        by_mode = {
            Mode.DIRECT: self.direct_rejected_because,
            Mode.BOUNDS: self.bounds_rejected_because,
        }
        return self.observe_only_because or by_mode[mode]

    def observe_only(self, mode: Mode) -> ObserveOnly | None:
        """Why rules of this control mode can only observe; None: they can scale."""
        if not (sentence := self.rejection_of(mode)):
            return None
        cause = self.observe_only_cause if self.observe_only_because else ObserveOnlyCause.MODE
        return ObserveOnly(cause=cause, sentence=sentence)

    @property
    def owned_observe_only(self) -> ObserveOnly | None:
        """Why deployments of inference endpoints can only be observed; None: they can be scaled."""
        if not self.owned_rejected_because:
            return None
        return ObserveOnly(cause=ObserveOnlyCause.PRIVILEGE, sentence=self.owned_rejected_because)

    @property
    def ok(self) -> bool:
        """Whether the daemon can do at least a part of its work."""
        return all(problem.level is not Severity.FATAL for problem in self.problems)
