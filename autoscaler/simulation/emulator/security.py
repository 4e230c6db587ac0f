"""Credentials, roles, and the privileges that grant an action.

Source: elastic/elasticsearch, `ClusterPrivilegeResolver.java`; the texts of the refusals are those
of `RBACEngine` and `DefaultAuthenticationFailureHandler`, as far as clients rely on them.
"""

import base64
import binascii
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from msgspec import Struct

from autoscaler.simulation.errors import SimulatedApiError

PRIVILEGES: Mapping[str, tuple[str, ...]] = {
    "monitor_ml": ("cluster:monitor/xpack/ml/*",),
    "manage_ml": ("cluster:monitor/xpack/ml/*", "cluster:admin/xpack/ml/*"),
    "monitor_inference": ("cluster:monitor/xpack/inference*",),
    "manage_inference": (
        "cluster:monitor/xpack/inference*",
        "cluster:admin/xpack/inference/*",
        "cluster:admin/xpack/ml/trained_models/deployment/start",
        "cluster:admin/xpack/ml/trained_models/deployment/stop",
    ),
    "read_pipeline": (
        "cluster:admin/ingest/pipeline/get",
        "cluster:admin/ingest/pipeline/simulate",
    ),
    "monitor": ("cluster:monitor/*",),
    "manage": ("cluster:*",),
    "all": ("cluster:*",),
}

INDEX_PRIVILEGES: Mapping[str, tuple[str, ...]] = {
    "read": ("indices:data/read/*",),
    "create_doc": ("indices:data/write/index", "indices:admin/mapping/auto_put"),
    "index": ("indices:data/write/index*", "indices:admin/mapping/auto_put"),
    "delete": ("indices:data/write/delete*",),
    "write": ("indices:data/write/*", "indices:admin/mapping/auto_put"),
    "auto_configure": ("indices:admin/auto_create",),
    "create_index": ("indices:admin/create", "indices:admin/auto_create"),
    "delete_index": ("indices:admin/delete",),
    "manage": ("indices:monitor/*", "indices:admin/*"),
    "all": ("indices:*",),
}
"""Actions by index privilege. `create_doc` may only create documents, which is not emulated."""

BUILT_IN_ROLES: Mapping[str, tuple[str, ...]] = {
    "superuser": ("all",),
    "machine_learning_admin": ("manage_ml",),
    "machine_learning_user": ("monitor_ml",),
    "inference_admin": ("manage_inference",),
    "inference_user": ("monitor_inference",),
}

CHALLENGES = ('Basic realm="security" charset="UTF-8"', 'Bearer realm="security"', "ApiKey")


class User(Struct, frozen=True, kw_only=True):
    """The user of a credential, with its roles."""

    username: str
    roles: tuple[str, ...]
    api_key_id: str | None = None
    by_token: bool = False


class Security(Struct, frozen=True, kw_only=True):
    """Users, roles and privileges.

    `passwords` maps "name:password", `api_keys` "id:key" and `tokens` a token to its user. A role
    is a list of cluster privileges, and of index privileges as "names:privilege", where * stands
    for any text in the names of the indices. The privilege `all` of a cluster includes all indices,
    which in Elasticsearch only the role `superuser` does.
    """

    passwords: Mapping[str, User] = {}
    api_keys: Mapping[str, User] = {}
    tokens: Mapping[str, User] = {}
    roles: Mapping[
        str, tuple[str, ...]
    ] = {}  # role -> privileges, in addition to the built-in ones

    def authenticate(self, authorization: str | None, path: str) -> User:
        """The user of an `Authorization` header.

        Raises:
            SimulatedApiError: 401.
        """
        if not authorization:
            raise _unauthenticated(f"missing authentication credentials for REST request [{path}]")
        scheme, _, credentials = authorization.partition(" ")
        known = {"basic": self.passwords, "apikey": self.api_keys, "bearer": self.tokens}
        if scheme.lower() not in known:
            raise _unauthenticated(f"missing authentication credentials for REST request [{path}]")
        secret = credentials if scheme.lower() == "bearer" else _decoded(credentials)
        user = known[scheme.lower()].get(secret)
        if user is None:
            name = secret.partition(":")[0] if scheme.lower() != "bearer" else "token"
            raise _unauthenticated(
                f"unable to authenticate user [{name}] for REST request [{path}]"
            )
        return user

    def privileges_of(self, user: User) -> frozenset[str]:
        """The privileges of the roles of a user. An unknown role grants nothing."""
        granted = [
            privilege
            for role in user.roles
            for privilege in self.roles.get(role, BUILT_IN_ROLES.get(role, ()))
        ]
        return frozenset(granted)

    def authorise(self, user: User, action: str, *, index: str = "") -> None:
        """Check that `user` may perform `action`, on an index if it is named.

        Raises:
            SimulatedApiError: 403, naming the action and the privileges that would grant it.
        """
        granted = self.privileges_of(user)
        if _grants_on(granted, action, index) if index else _grants(granted, action):
            return
        actor = f"user [{user.username}]"
        if user.api_key_id:
            actor = f"API key id [{user.api_key_id}] of {actor}"
        where, level, known = "", "cluster", PRIVILEGES
        if index:
            where, level, known = f" on indices [{index}]", "index", INDEX_PRIVILEGES
        enough = ",".join(
            name
            for name, actions in known.items()
            if any(fnmatchcase(action, pattern) for pattern in actions)
        )
        roles = ",".join(user.roles)
        raise SimulatedApiError(
            403,
            "security_exception",
            f"action [{action}] is unauthorized for {actor} with effective roles [{roles}]{where}, "
            f"this action is granted by the {level} privileges [{enough}]",
        )

    def has_privilege(self, user: User, privilege: str) -> bool:
        """Whether the privileges of a user include all actions of `privilege`.

        Raises:
            SimulatedApiError: 400: there is no such privilege.
        """
        actions = _actions_of("cluster", privilege, PRIVILEGES)
        granted = self.privileges_of(user)
        return all(_grants(granted, action) for action in actions)

    def has_privilege_on(self, user: User, privilege: str, index: str) -> bool:
        """Whether the privileges of a user include all actions of `privilege` on an index.

        Raises:
            SimulatedApiError: 400: there is no such privilege.
        """
        actions = _actions_of("index", privilege, INDEX_PRIVILEGES)
        granted = self.privileges_of(user)
        return all(_grants_on(granted, action, index) for action in actions)


def _actions_of(
    level: str, privilege: str, known: Mapping[str, tuple[str, ...]]
) -> tuple[str, ...]:
    """
    Raises:
        SimulatedApiError: 400: there is no such privilege.
    """
    if privilege not in known:
        raise SimulatedApiError(
            400, "illegal_argument_exception", f"unknown {level} privilege [{privilege}]"
        )
    return known[privilege]


def _grants(privileges: Iterable[str], action: str) -> bool:
    return any(
        fnmatchcase(action, pattern) for name in privileges for pattern in PRIVILEGES.get(name, ())
    )


def _grants_on(privileges: Iterable[str], action: str, index: str) -> bool:
    """Whether the privileges grant an action on an index."""
    for each in privileges:
        names, _, name = each.rpartition(":")
        actions = INDEX_PRIVILEGES.get(name, ()) if fnmatchcase(index, names) else ()
        if each == "all" or any(fnmatchcase(action, pattern) for pattern in actions):
            return True
    return False


def _decoded(credentials: str) -> str:
    try:
        return base64.b64decode(credentials.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _unauthenticated(reason: str) -> SimulatedApiError:
    return SimulatedApiError(
        401,
        "security_exception",
        reason,
        metadata={"header": {"WWW-Authenticate": list(CHALLENGES)}},
    )
