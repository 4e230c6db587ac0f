"""The lease as `check` reports it: who holds it, and what keeps an instance from leading."""

from typing import NamedTuple

from autoscaler.adapters.elasticsearch.api import ElasticsearchApi
from autoscaler.adapters.elasticsearch.index_privileges import lacking
from autoscaler.adapters.elasticsearch.transport import Transport
from autoscaler.adapters.kubernetes_lease import KubernetesLease, NotInKubernetes
from autoscaler.config import LeaseSettings
from autoscaler.core.election import RELEASED, StoredLease
from autoscaler.leadership_loop import lease_store
from autoscaler.ports import LeaseStore, LeaseUnavailable

INDEX_PRIVILEGES = ("auto_configure", "index", "read")
"""What a lease in Elasticsearch needs for its index."""


class LeaseCheck(NamedTuple):
    """Where the lease is, and who holds it; and why no instance with this configuration can lead,
    empty if one can."""

    description: str
    problem: str = ""


async def check_lease(settings: LeaseSettings, transport: Transport) -> LeaseCheck:
    """Read the lease, and change nothing."""
    where = _place(settings)
    try:
        found = None
        if settings.file is None or settings.file.exists():  # a read would create the file
            found = await _read(lease_store(settings, transport))
    except NotInKubernetes as error:
        return LeaseCheck(where, f"no instance can lead: {error}")
    except LeaseUnavailable as error:
        return LeaseCheck(where, f"no instance can lead, because of the lease: {error}")
    problem = await _missing(settings, transport) if settings.kind == "elasticsearch" else ""
    return LeaseCheck(f"{where}, {_holder(found)}", problem)


def _place(settings: LeaseSettings) -> str:
    match settings.kind:
        case "elasticsearch":
            return f"{settings.name} in the index {settings.index}"
        case "kubernetes":
            return f"{settings.name} in Kubernetes"
    return str(settings.file)


async def _read(store: LeaseStore) -> StoredLease | None:
    if isinstance(store, KubernetesLease):
        async with store:
            return await store.read()
    return await store.read()


async def _missing(settings: LeaseSettings, transport: Transport) -> str:
    who = await lacking(ElasticsearchApi(transport), settings.index, INDEX_PRIVILEGES)
    return (
        f"no instance can lead, because {who}; grant read, index and auto_configure for the index "
        "of the lease"
        if who
        else ""
    )


def _holder(found: StoredLease | None) -> str:
    if found is None:
        return "not written yet"
    if found.lease is None:
        return "which cannot be read, and is replaced by the next leader"
    return "released" if found.lease.holder == RELEASED else f"held by {found.lease.holder}"
