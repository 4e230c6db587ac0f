"""Every LeaseStore, for the tests of what they have in common."""

import random
from contextlib import asynccontextmanager

from autoscaler.adapters.elasticsearch.documents import DocumentApi
from autoscaler.adapters.elasticsearch.lease import ElasticsearchLease
from autoscaler.adapters.elasticsearch.transport import Transport
from autoscaler.adapters.kubernetes_lease import KubernetesLease
from autoscaler.adapters.lease_file import LeaseFile
from autoscaler.connection import Connection
from autoscaler.simulation.emulator.faults import Fault, Reset
from autoscaler.simulation.emulator.server import running_emulator
from tests.elections import MemoryLeaseStore
from tests.fake_kubernetes import FakeKubernetes
from tests.fakes import FakeClock
from tests.simulation.emulator.conftest import scenario

INDEX = "autoscaler-leases"


class Memory:
    """In memory."""

    @classmethod
    @asynccontextmanager
    async def opened(cls, directory):
        found = cls()
        found.store = found.other = MemoryLeaseStore()
        yield found

    def delete(self):
        self.store.stored = None

    def damage(self):
        self.store.put(None)


class Elasticsearch:
    """A document of an emulated cluster."""

    @classmethod
    @asynccontextmanager
    async def opened(cls, directory):
        found, clock = cls(), FakeClock(start=1_000.0)
        async with running_emulator(scenario(), clock=clock) as found.emulator:
            connection = Connection(hosts=(found.emulator.url,), retries=0)
            async with (
                Transport(connection, clock, random.Random(1)) as one,
                Transport(connection, clock, random.Random(2)) as two,
            ):
                found.store, found.other = (
                    ElasticsearchLease(DocumentApi(each, INDEX), "autoscaler")
                    for each in (one, two)
                )
                yield found

    def delete(self):
        self.emulator.emulation.indices.clear()

    def damage(self):
        self.emulator.emulation.indices[INDEX].write("autoscaler", {"holder": 7})

    def fail(self, *, applied):
        # Twice, because the HTTP library repeats a PUT on a reused connection.
        reset = Reset.AFTER if applied else Reset.BEFORE
        self.emulator.emulation.faults.add(Fault(path=f"/{INDEX}/*", reset=reset, calls=2))


class File:
    """A file."""

    @classmethod
    @asynccontextmanager
    async def opened(cls, directory):
        found = cls()
        found.path = directory / "lease"
        found.store, found.other = LeaseFile(found.path), LeaseFile(found.path)
        yield found

    def delete(self):
        self.path.unlink()

    def damage(self):
        self.path.write_bytes(b'{"holder":"\xff')


class Kubernetes:
    """A Lease behind an API server that enforces versions."""

    @classmethod
    @asynccontextmanager
    async def opened(cls, directory):
        found = cls()
        found.server = FakeKubernetes()
        await found.server.start()
        access = found.server.access(directory)
        try:
            async with (
                KubernetesLease(access, "autoscaler") as found.store,
                KubernetesLease(access, "autoscaler") as found.other,
            ):
                yield found
        finally:
            await found.server.stop()

    def delete(self):
        self.server.objects.clear()

    def damage(self):
        self.server.edit("autoscaler", spec={"holderIdentity": 7})

    def fail(self, *, applied):
        self.server.faults = ["reset after" if applied else "reset before"] * 2


STORES = (Memory, Elasticsearch, File, Kubernetes)
