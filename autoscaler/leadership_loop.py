"""The lease of one instance: where it is stored, under which name, and what is logged of it."""

import os
import random
import secrets
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

from autoscaler.adapters.elasticsearch.documents import DocumentApi
from autoscaler.adapters.elasticsearch.lease import ElasticsearchLease
from autoscaler.adapters.elasticsearch.transport import Transport
from autoscaler.adapters.kubernetes_lease import KubernetesLease, pod_access
from autoscaler.adapters.lease_file import LeaseFile
from autoscaler.config import LeaseSettings
from autoscaler.core.election import Candidacy
from autoscaler.elector import Elector
from autoscaler.ports import Clock, LeaseStore


class LeadershipLoop:
    """Takes, renews and releases the lease; use it as an asynchronous context manager.

    Args:
        transport: to the cluster that the lease protects.
        log: a structlog logger.
        jitter: of the moments of its tries, which several instances must not share.
        on_lead: is called when this instance begins to lead.
        on_loss: is called when it does not lead any more.

    Raises:
        NotInKubernetes: the lease should be in Kubernetes, and this process is not.
    """

    def __init__(
        self,
        settings: LeaseSettings,
        transport: Transport,
        clock: Clock,
        log: Any,
        *,
        jitter: random.Random,
        on_lead: Callable[[], None],
        on_loss: Callable[[], None],
    ) -> None:
        self._log = log
        self._on_lead, self._on_loss = on_lead, on_loss
        self._stack = AsyncExitStack()
        self._store = lease_store(settings, transport)
        self._led, self._leader, self._failing = False, "", False  # as last logged
        self._releasing = False
        self.elector = Elector(
            self._store,
            clock,
            Candidacy(name=instance_name(), ttl_s=settings.ttl_s),
            jitter,
            on_change=self._log_change,
        )

    async def __aenter__(self) -> Self:
        if isinstance(self._store, KubernetesLease):
            await self._stack.enter_async_context(self._store)
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def run(self) -> None:
        """Until cancelled."""
        await self.elector.run()

    async def release(self) -> None:
        """Let another instance lead at once. For use when no change is under way any more."""
        self._releasing = True
        await self.elector.release()

    def _log_change(self) -> None:
        self._log_failure(self.elector.failure)
        leads, leader = self.elector.leads(), self.elector.leader
        if leads and not self._led:
            self._log.info("leadership.acquired", message=f"this instance, {leader}, leads")
        elif self._led and self._releasing:
            self._log.info(
                "leadership.released",
                message="this instance does not lead any more, because it ends",
            )
        elif self._led and not leads:
            self._log.warning(
                "leadership.lost",
                message="this instance does not lead any more, and changes nothing until it does",
                leader=leader,
            )
        elif leader and leader != self._leader:
            self._log.info(
                "leadership.observed", message=f"{leader} leads; this instance follows it"
            )
        if leads and not self._led:
            self._on_lead()
        elif self._led and not leads:
            self._on_loss()
        self._led, self._leader = leads, leader or self._leader

    def _log_failure(self, failure: str) -> None:
        if failure and not self._failing:
            self._log.warning(
                "lease.unavailable",
                message=f"the lease cannot be read or renewed: {failure}; an instance that cannot "
                "renew it stops changing the cluster when the lease ends",
            )
        elif self._failing and not failure:
            self._log.info("lease.available", message="the lease can be read and renewed again")
        self._failing = bool(failure)


def lease_store(settings: LeaseSettings, transport: Transport) -> LeaseStore:
    """
    Raises:
        NotInKubernetes: the lease should be in Kubernetes, and this process is not.
    """
    match settings.kind:
        case "elasticsearch":
            return ElasticsearchLease(DocumentApi(transport, settings.index), settings.name)
        case "kubernetes":
            return KubernetesLease(pod_access(os.environ, settings.namespace), settings.name)
    assert settings.file is not None, "the configuration requires it"
    return LeaseFile(settings.file)


def instance_name() -> str:
    """The name of this process in leases and logs. No other process has had it."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
