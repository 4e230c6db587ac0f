"""`_security/*`: the user and its privileges. Absent if security is disabled."""

from autoscaler.simulation.emulator.bodies import parse_body
from autoscaler.simulation.emulator.calls import ApiEndpoint, Call
from autoscaler.simulation.emulator.emulation import Emulation
from autoscaler.simulation.emulator.parameters import illegal_argument
from autoscaler.wire.cluster import (
    ApiKeyInfo,
    AuthenticateResponse,
    HasPrivilegesRequest,
    HasPrivilegesResponse,
    Realm,
)


async def authenticate(emulation: Emulation, call: Call) -> AuthenticateResponse:
    if call.user is None:  # security was disabled after the start
        raise illegal_argument("Security must be explicitly enabled when using a [basic] license")
    by_key = call.user.api_key_id is not None
    realm = Realm(name="_es_api_key", type="_es_api_key") if by_key else _NATIVE
    response = AuthenticateResponse(
        username=call.user.username,
        roles=list(call.user.roles),
        authentication_realm=realm,
        lookup_realm=realm,
        authentication_type=("api_key" if by_key else "token" if call.user.by_token else "realm"),
    )
    if call.user.api_key_id is not None:
        response.api_key = ApiKeyInfo(id=call.user.api_key_id, name=call.user.username)
        if emulation.cluster.behaviour.managed_api_keys:
            response.api_key.managed_by = "elasticsearch"
    return response


async def has_privileges(emulation: Emulation, call: Call) -> HasPrivilegesResponse:
    assert call.user is not None
    assert emulation.security is not None
    requested = parse_body(call.body, HasPrivilegesRequest, parser="has_privileges")
    has, has_on = emulation.security.has_privilege, emulation.security.has_privilege_on
    cluster = {name: has(call.user, name) for name in sorted(requested.cluster)}
    index: dict[str, dict[str, bool]] = {}
    for each in requested.index:
        for name in each.names:
            granted = {one: has_on(call.user, one, name) for one in sorted(each.privileges)}
            index.setdefault(name, {}).update(granted)
    all_granted = [*cluster.values(), *(one for each in index.values() for one in each.values())]
    return HasPrivilegesResponse(
        username=call.user.username,
        has_all_requested=all(all_granted),
        cluster=cluster,
        index=index,
    )


_NATIVE = Realm(name="native1", type="native")

ENDPOINTS = (
    ApiEndpoint(method="GET", path="/_security/_authenticate", handler=authenticate),
    ApiEndpoint(method="GET", path="/_security/user/_has_privileges", handler=has_privileges),
    ApiEndpoint(method="POST", path="/_security/user/_has_privileges", handler=has_privileges),
)
