"""Is everything as it must be, before a daemon relies on it?

Asks what the daemon will ask and a little more, and puts each problem into one sentence that says
what to do. Nothing is changed.
"""

import re
from collections.abc import Awaitable, Mapping
from enum import StrEnum
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from autoscaler.adapters.elasticsearch.api import ElasticsearchApi
from autoscaler.adapters.elasticsearch.errors import (
    ConnectionBroken,
    ElasticsearchError,
    MalformedAnswer,
    TransportError,
)
from autoscaler.adapters.elasticsearch.refusals import (
    ApiError,
    EndpointMissing,
    MissingPrivilege,
    NotFound,
    Unauthenticated,
)

_OLDEST = (8, 0)
_OLDEST_WITH_UPDATE = (8, 6)
_ENTITLING = frozenset({"platinum", "enterprise", "trial"})
_IN_FORCE = frozenset({"active", "valid"})
_SECURITY_IS_OFF = ("security must be explicitly enabled", "security is not enabled")

Answer = TypeVar("Answer")


class Level(StrEnum):
    FATAL = "fatal"  # the daemon would do nothing
    WARNING = "warning"  # it would do less than it could


class Problem(Struct, frozen=True):
    level: Level
    sentence: str


class _Need(Struct, frozen=True):
    privilege: str
    level: Level
    without: str


_NEEDS = (
    _Need("monitor_ml", Level.FATAL, "the statistics of deployments cannot be read"),
    _Need("manage_ml", Level.WARNING, "deployments can be watched but not scaled"),
    _Need("monitor", Level.WARNING, "the version, the licence and the nodes are not known"),
)


class Preflight(Struct, frozen=True, kw_only=True):
    """What was found. What could not be found out is empty, or None."""

    cluster_name: str = ""
    version: str = ""  # "" on serverless, whose number means nothing
    build_flavor: str = ""
    observe_only_because: str = ""  # "": allocations can be set, as far as is known
    licence_type: str = ""
    licence_status: str = ""
    licence_ok: bool | None = None
    security_enabled: bool | None = None
    user: str = ""
    authentication_type: str = ""  # realm, api_key, token, anonymous
    privileges: Mapping[str, bool] = {}
    upgrade_mode: bool | None = None
    deployments: int | None = None
    problems: tuple[Problem, ...] = ()

    @property
    def can_update(self) -> bool:
        return not self.observe_only_because and self.ok

    @property
    def ok(self) -> bool:
        """Whether the daemon can do its work, if only a part of it."""
        return all(problem.level is not Level.FATAL for problem in self.problems)


async def inspect(api: ElasticsearchApi) -> Preflight:
    """Ask the cluster everything that matters. Never raises: what fails becomes a problem."""
    inspection = _Inspection(api)
    try:
        await inspection.look_at_security()
        await inspection.look_at_version()
        await inspection.look_at_licence()
        await inspection.look_at_machine_learning()
        await inspection.look_at_deployments()
    except (TransportError, Unauthenticated) as error:
        # Whatever else would be asked would meet with the same.
        inspection.note(Level.FATAL, f"{error}{_hint(error)}")
    return inspection.found


def _hint(error: ElasticsearchError) -> str:
    if isinstance(error, ConnectionBroken):
        # What a port that speaks TLS does to a request in plain HTTP.
        return "; check whether the address must begin with https"
    return ""


class _Inspection:
    """The findings so far."""

    def __init__(self, api: ElasticsearchApi) -> None:
        self._api = api
        self.found = Preflight()

    def note(self, level: Level, sentence: str) -> None:
        self.found = replace(self.found, problems=(*self.found.problems, Problem(level, sentence)))

    async def look_at_version(self) -> None:
        info = await self._answer(self._api.info())
        if info is None:
            return
        serverless = info.version.build_flavor == "serverless"
        version = "" if serverless else info.version.number
        self.found = replace(
            self.found,
            cluster_name=info.cluster_name,
            build_flavor=info.version.build_flavor,
            version=version,
        )
        if serverless:
            self._observe_only(
                "serverless scales its deployments itself and accepts no number of allocations"
            )
        elif (known := _major_and_minor(version)) is None:
            self.note(Level.WARNING, f"the version {version!r} is not understood")
        elif known < _OLDEST:
            self.note(
                Level.FATAL,
                f"Elasticsearch {version} has no deployments of models; upgrade to 8.6 or later",
            )
        elif known < _OLDEST_WITH_UPDATE:
            self._observe_only(
                f"Elasticsearch {version} cannot change a running deployment; "
                "upgrade to 8.6 or later"
            )

    async def look_at_security(self) -> None:
        try:
            who = await self._api.authenticate()
            asked = tuple(need.privilege for need in _NEEDS)
            privileges = (await self._api.has_privileges(asked)).cluster
        except Unauthenticated:
            raise
        except (ApiError, MalformedAnswer) as error:
            if _says_security_is_off(error):
                self.found = replace(self.found, security_enabled=False)
            else:
                self._note_refusal(error)
            return
        self.found = replace(
            self.found,
            security_enabled=True,
            user=who.username,
            authentication_type=who.authentication_type,
            privileges={need.privilege: privileges.get(need.privilege, False) for need in _NEEDS},
        )
        for need in _NEEDS:
            if not privileges.get(need.privilege):
                self._note_missing(need, who.username)

    def _note_missing(self, need: _Need, user: str) -> None:
        name = need.privilege
        sentence = (
            f"{need.without}, because {user} lacks the cluster privilege {name}; grant {name}"
        )
        if name == "manage_ml":
            self._observe_only(sentence)
        else:
            self.note(need.level, sentence)

    async def look_at_licence(self) -> None:
        try:
            licence = await self._api.license()
        except Unauthenticated:
            raise
        except NotFound:
            self.note(Level.WARNING, "the cluster has no licence yet; ask again in a minute")
            return
        except (ApiError, MalformedAnswer) as error:
            self._note_refusal(error)
            return
        entitled = licence.type in _ENTITLING and licence.status in _IN_FORCE
        self.found = replace(
            self.found,
            licence_type=licence.type,
            licence_status=licence.status,
            licence_ok=entitled,
        )
        if not entitled:
            self.note(
                Level.WARNING,
                f"the licence is {licence.type} and {licence.status}, but deployments need a "
                "platinum, enterprise or trial licence in force; renew it or change the level",
            )

    async def look_at_machine_learning(self) -> None:
        ml_info = await self._answer(self._api.ml_info())
        if ml_info is None:
            return
        self.found = replace(self.found, upgrade_mode=ml_info.upgrade_mode)
        if ml_info.upgrade_mode:
            self.note(
                Level.WARNING,
                "machine learning is in upgrade mode, so nothing will be changed; "
                "end it with POST _ml/set_upgrade_mode?enabled=false",
            )

    async def look_at_deployments(self) -> None:
        statistics = await self._answer(self._api.stats(), Level.FATAL)
        if statistics is None:
            return
        self.found = replace(self.found, deployments=len(statistics.deployments))
        for place, what in statistics.unreadable:
            self.note(Level.WARNING, f"the statistics of {place} cannot be read: {what}")
        if not statistics.deployments and not statistics.unreadable:
            self.note(Level.WARNING, "there are no deployments; start one to have it scaled")

    async def _answer(
        self, asked: Awaitable[Answer], level: Level = Level.WARNING
    ) -> Answer | None:
        """The answer; None if there is none that makes sense, which is noted."""
        try:
            return await asked
        except Unauthenticated:
            raise
        except (ApiError, MalformedAnswer) as error:
            self._note_refusal(error, level)
            return None

    def _note_refusal(self, error: ElasticsearchError, level: Level = Level.WARNING) -> None:
        # A missing privilege has been noted by its name already.
        explained = isinstance(error, MissingPrivilege) and not all(self.found.privileges.values())
        if not explained:
            self.note(level, str(error))

    def _observe_only(self, because: str) -> None:
        self.found = replace(self.found, observe_only_because=because)
        self.note(Level.WARNING, because)


def _major_and_minor(version: str) -> tuple[int, int] | None:
    found = re.match(r"(\d{1,4})\.(\d{1,4})\b", version)
    return (int(found[1]), int(found[2])) if found else None


def _says_security_is_off(error: ElasticsearchError) -> bool:
    """Without security its endpoints do not exist, or say that it is not enabled."""
    return isinstance(error, EndpointMissing) or (
        isinstance(error, ApiError)
        and any(words in error.reason.lower() for words in _SECURITY_IS_OFF)
    )
