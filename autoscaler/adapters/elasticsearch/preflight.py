"""Checks the requirements of the daemon: connection, privileges, version, licence and deployments.

It sends the read requests of the daemon and a few more, changes nothing, and reports each problem
as one sentence with its fix.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import islice
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from autoscaler.adapters.elasticsearch.api import ElasticsearchApi
from autoscaler.adapters.elasticsearch.api_errors import (
    ApiError,
    EndpointMissing,
    MissingPrivilege,
    NotAvailable,
    NotFound,
    Unauthenticated,
)
from autoscaler.adapters.elasticsearch.errors import (
    ElasticsearchError,
    MalformedResponse,
    TimedOut,
    TransportError,
)
from autoscaler.adapters.elasticsearch.observed_ids import MAX_DEPLOYMENTS
from autoscaler.adapters.elasticsearch.ownership import Ownership
from autoscaler.adapters.elasticsearch.preflight_report import PreflightReport, Problem, Severity
from autoscaler.adapters.elasticsearch.server_version import ServerVersion, minor_of, server_version
from autoscaler.adapters.elasticsearch.transport_errors import remedy_of
from autoscaler.core.decision import ObserveOnlyCause
from autoscaler.wire.bounds import MAX_LISTED, listed

__all__ = ["PreflightReport", "Problem", "Severity", "inspect"]

_OLDEST = (8, 0)
_OLDEST_WITH_UPDATE = (8, 6)
_OLDEST_WITH_ADAPTIVE = (8, 16)
_OLDEST_WITH_ENDPOINT_UPDATE = (8, 17)
_ENTITLING = frozenset({"platinum", "enterprise", "trial"})
_NOT_ENTITLING = frozenset({"basic", "standard", "gold", "missing"})
_IN_FORCE = frozenset({"active", "valid"})
_NOT_IN_FORCE = frozenset({"expired", "invalid"})
_UPGRADE_MODE = {
    True: "machine learning is in upgrade mode, so nothing is changed; end it with POST "
    "_ml/set_upgrade_mode?enabled=false",
    None: "whether machine learning is in upgrade mode is unknown, because the response of GET "
    "_ml/info lacks upgrade_mode, so nothing is changed; check any proxy before Elasticsearch",
}
_MANAGE_INFERENCE = "manage_inference"
READ_PIPELINE = "read_pipeline"
"""The privilege that only rules need that stop deployments, and not urgently."""

MAX_OWNERS_ASKED_FOR = 100
"""Deployments whose owner a check requests, each with a request of its own. The owners of others
are requested before they are changed."""

_SECURITY_IS_OFF = ("security must be explicitly enabled", "security is not enabled")

Response = TypeVar("Response")


class _Need(Struct, frozen=True):
    privilege: str
    level: Severity
    without: str  # the consequence of lacking it


_NEEDS = (
    _Need("monitor_ml", Severity.FATAL, "the statistics of deployments cannot be read"),
    _Need("manage_ml", Severity.WARNING, "deployments can be observed but not scaled"),
    _Need("monitor", Severity.WARNING, "the version, the licence and the nodes are unknown"),
)


async def inspect(
    api: ElasticsearchApi,
    *,
    ownership: Ownership | None = None,
    deployed: Callable[[], Awaitable[frozenset[str] | None]] | None = None,
    stopped: bool = False,
) -> PreflightReport:
    """Check the cluster. Never raises: a failed request is reported as a problem.

    Args:
        ownership: the known owners of deployments, which the check updates; None: unknown.
        deployed: waits for the deployments, which are read elsewhere, and returns None if they
            cannot be read; None: they are read here.
        stopped: whether the daemon has stopped some, so that having none is no problem.
    """
    inspection = _Inspection(api, ownership or Ownership(api))
    try:
        await inspection.check_security()
        await inspection.check_version()
        await inspection.check_licence()
        await inspection.check_machine_learning()
        if deployed is None:
            await inspection.read_deployments(stopped=stopped)
        else:
            inspection.take_deployments(await deployed(), stopped=stopped)
        await inspection.check_ownership()
    except (TransportError, Unauthenticated) as error:
        # All further requests would fail in the same way.
        inspection.note(Severity.FATAL, f"{error}{remedy_of(error)}")
        inspection.found = replace(inspection.found, complete=False)
    return inspection.found


class _Inspection:
    """The report so far."""

    def __init__(self, api: ElasticsearchApi, ownership: Ownership) -> None:
        self._api = api
        self._ownership = ownership
        self.deployed: frozenset[str] = frozenset()
        self.found = PreflightReport()

    def note(self, level: Severity, sentence: str) -> None:
        self.found = replace(self.found, problems=(*self.found.problems, Problem(level, sentence)))

    async def check_version(self) -> None:
        info = await self._response(self._api.info())
        if info is None:
            self._incomplete_unless_denied("monitor")
            return
        if self._ownership.version == ServerVersion():
            self._ownership.version = server_version(info)
        serverless = info.version.build_flavor == "serverless"
        version = "" if serverless else info.version.number
        self.found = replace(
            self.found,
            cluster_name=info.cluster_name,
            cluster_uuid=info.cluster_uuid,
            build_flavor=info.version.build_flavor,
            version=version,
        )
        if serverless:
            self.found = replace(
                self.found,
                direct_rejected_because="serverless scales its deployments with adaptive "
                'allocations and rejects a number of allocations; set mode = "bounds"',
            )
        elif (known := minor_of(version)) is None:
            self.note(
                Severity.WARNING,
                f"version {version!r} is unknown, so its features cannot be checked",
            )
        elif known < _OLDEST:
            self.note(
                Severity.FATAL,
                f"Elasticsearch {version} has no model deployments; upgrade to 8.6 or later",
            )
        elif known < _OLDEST_WITH_UPDATE:
            self._observe_only(
                ObserveOnlyCause.VERSION,
                f"Elasticsearch {version} cannot change a running deployment; "
                "upgrade to 8.6 or later",
            )
        elif known < _OLDEST_WITH_ADAPTIVE:
            self.found = replace(
                self.found,
                bounds_rejected_because=f"Elasticsearch {version} has no adaptive "
                'allocations; upgrade to 8.16 or later, or set mode = "direct"',
            )

    async def check_security(self) -> None:
        try:
            account = await self._api.authenticate()
            names = (*(need.privilege for need in _NEEDS), READ_PIPELINE)
            privileges = (await self._api.has_privileges(names)).cluster
        except Unauthenticated:
            raise
        except (ApiError, MalformedResponse) as error:
            if _says_security_is_off(error):
                self.found = replace(self.found, security_enabled=False)
            else:
                self._note_refusal(error)
                self.found = replace(self.found, complete=False)
            return
        self.found = replace(
            self.found,
            security_enabled=True,
            user=account.username,
            authentication_type=account.authentication_type,
            privileges={name: privileges[name] for name in names if name in privileges},
        )
        unreported = [need.privilege for need in _NEEDS if need.privilege not in privileges]
        if unreported:
            self.note(
                Severity.WARNING,
                f"whether {account.username} has the cluster privileges {', '.join(unreported)} is "
                "not reported; check any proxy before Elasticsearch",
            )
        for need in _NEEDS:
            if privileges.get(need.privilege) is False:
                self._note_missing(need, account.username)

    def _note_missing(self, need: _Need, user: str) -> None:
        name = need.privilege
        sentence = (
            f"{need.without}, because {user} lacks the cluster privilege {name}; grant {name}"
        )
        if name == "manage_ml":
            self._observe_only(ObserveOnlyCause.PRIVILEGE, sentence)
        else:
            self.note(need.level, sentence)

    async def check_licence(self) -> None:
        try:
            licence = await self._api.license()
        except Unauthenticated:
            raise
        except (ApiError, MalformedResponse, TimedOut) as error:
            if isinstance(error, NotFound) and not error.type:  # its body has no error
                sentence = "the cluster has no licence yet; check again in a minute"
                self.note(Severity.WARNING, sentence)
            else:
                self._note_refusal(error)
            return
        if not (licence.type and licence.status):
            self.note(
                Severity.WARNING,
                "the response of /_license has no type or no status, so the licence is unknown; "
                "check any proxy before Elasticsearch",
            )
            return
        entitled = licence.type in _ENTITLING and licence.status in _IN_FORCE
        self.found = replace(
            self.found,
            licence_type=licence.type,
            licence_status=licence.status,
            licence_ok=entitled,
        )
        if entitled:
            return
        sentence = (
            f"the licence is {licence.type} and {licence.status}, but deployments need an "
            "active platinum, enterprise or trial licence; renew or upgrade it"
        )
        if licence.type in _NOT_ENTITLING or licence.status in _NOT_IN_FORCE:
            self._observe_only(ObserveOnlyCause.LICENCE, sentence)
        else:  # a type or status that is not known; the cluster may accept changes
            self.note(Severity.WARNING, sentence)

    async def check_machine_learning(self) -> None:
        ml_info = await self._response(self._api.ml_info())
        if ml_info is not None:
            self.found = replace(self.found, upgrade_mode=ml_info.upgrade_mode)
            if (sentence := _UPGRADE_MODE.get(ml_info.upgrade_mode)) is not None:
                self.note(Severity.WARNING, sentence)

    def take_deployments(self, deployed: frozenset[str] | None, *, stopped: bool) -> None:
        if deployed is None:  # the failed cycle has reported why
            self.found = replace(self.found, complete=False)
            return
        self.deployed = deployed
        self._note_none(stopped=stopped or bool(deployed))

    async def read_deployments(self, *, stopped: bool) -> None:
        statistics = await self._response(self._api.stats(), Severity.FATAL)
        if statistics is None:
            return
        self.deployed = frozenset(stats.deployment_id for stats in statistics.deployments)
        self.found = replace(self.found, deployments=len(self.deployed))
        for place, error in statistics.unreadable[:MAX_LISTED]:
            self.note(Severity.WARNING, f"the statistics of {place} cannot be read: {error}")
        if (others := len(statistics.unreadable) - MAX_LISTED) > 0:
            self.note(
                Severity.WARNING,
                f"the statistics of {others} further deployments cannot be read; "
                "check any proxy that changes responses",
            )
        if (number := len(self.deployed)) > MAX_DEPLOYMENTS:
            self.note(
                Severity.WARNING,
                f"the cluster has {number} deployments, of which {MAX_DEPLOYMENTS} are observed; "
                "the others are not scaled",
            )
        self._note_none(stopped=stopped or bool(statistics.deployments or statistics.unreadable))

    def _note_none(self, *, stopped: bool) -> None:
        if not stopped:
            self.note(Severity.WARNING, "no deployments found; start one")

    async def check_ownership(self) -> None:
        """Check the privileges for deployments of inference endpoints, if there are any."""
        ownership = self._ownership
        try:
            await ownership.read(self.deployed)
        except Unauthenticated:
            raise
        except MissingPrivilege:
            reason = (
                f"no deployment can be stopped, because {self.found.user} lacks the cluster "
                "privilege monitor_inference, which shows the deployments of inference endpoints; "
                "grant monitor_inference"
            )
            self.found = replace(self.found, stop_rejected_because=reason)
        except (ElasticsearchError, TimeoutError):
            if ownership.failure:
                await self._note_unknown_owners()
            return  # otherwise, an update of an owned deployment reports it
        owned = frozenset(filter(ownership.is_owned, self.deployed))
        self.found = replace(self.found, owned=owned)
        if not owned or not self.found.security_enabled or self._lacks_endpoint_update():
            return
        try:
            privileges = (await self._api.has_privileges((_MANAGE_INFERENCE,))).cluster
        except Unauthenticated:
            raise
        except (ElasticsearchError, TimeoutError):
            return  # an update of an owned deployment reports it
        granted = privileges.get(_MANAGE_INFERENCE)
        if granted is None:
            return  # not reported; an update of an owned deployment shows it
        self.found = replace(
            self.found, privileges={**self.found.privileges, _MANAGE_INFERENCE: granted}
        )
        if not granted:
            reason = (
                f"deployments of inference endpoints can be observed but not scaled, because "
                f"{self.found.user} lacks the cluster privilege {_MANAGE_INFERENCE}; "
                f"grant {_MANAGE_INFERENCE}"
            )
            self.found = replace(self.found, owned_rejected_because=reason)
            self.note(Severity.WARNING, reason)

    async def _note_unknown_owners(self) -> None:
        """Report that the endpoints cannot be listed, and the deployments that may be owned."""
        ownership = self._ownership
        if not ownership.version.guards_updates:
            with suppress(ElasticsearchError):
                unknown_owners = filter(ownership.unknown_because, sorted(self.deployed))
                for name in islice(unknown_owners, MAX_OWNERS_ASKED_FOR):
                    await ownership.ask_for(name)
            unknown = frozenset(filter(ownership.unknown_because, self.deployed))
            self.found = replace(self.found, unknown_owners=unknown)
        owned = frozenset(filter(ownership.owner_of, self.deployed))
        self.found = replace(self.found, owned=owned)
        names = listed(sorted(self.found.unknown_owners))
        held = f", and these are not changed, since one may own them: {names}" if names else ""
        reason = (
            "which inference endpoints own or use deployments is not known, because "
            f"{ownership.failure}; no deployment is stopped{held}"
        )
        self.found = replace(self.found, stop_rejected_because=reason)
        self.note(Severity.WARNING, reason)

    def _incomplete_unless_denied(self, privilege: str) -> None:
        if self.found.privileges.get(privilege, True):
            self.found = replace(self.found, complete=False)

    def _lacks_endpoint_update(self) -> bool:
        known = minor_of(self.found.version)
        return known is not None and known < _OLDEST_WITH_ENDPOINT_UPDATE

    async def _response(
        self, request: Awaitable[Response], level: Severity = Severity.WARNING
    ) -> Response | None:
        """The response; None if it was refused or is unreadable, which is reported."""
        try:
            return await request
        except Unauthenticated:
            raise
        except (ApiError, MalformedResponse, TimedOut) as error:
            self._note_refusal(error, level)
            return None

    def _note_refusal(self, error: ElasticsearchError, level: Severity = Severity.WARNING) -> None:
        # A missing privilege has already been reported by name, and a missing feature of serverless
        # cannot be fixed.
        explained = isinstance(error, MissingPrivilege) and not all(self.found.privileges.values())
        if not explained and not isinstance(error, NotAvailable):
            self.note(level, str(error))

    def _observe_only(self, cause: ObserveOnlyCause, reason: str) -> None:
        self.found = replace(self.found, observe_only_because=reason, observe_only_cause=cause)
        self.note(Severity.WARNING, reason)


def _says_security_is_off(error: ElasticsearchError) -> bool:
    """With security disabled, its endpoints do not exist, or report that it is not enabled.

    A 405 does not mean that: a proxy may not permit the method.
    """
    return (isinstance(error, EndpointMissing) and error.status == 400) or (
        isinstance(error, ApiError)
        and any(words in error.reason.lower() for words in _SECURITY_IS_OFF)
    )
