"""One process of a group: the unmodified daemon, its network, its clock and its store."""

import asyncio
import random
import shutil
from collections.abc import Callable, Mapping
from contextvars import Context
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace
from yarl import URL

from autoscaler.adapters.state import SqliteStore
from autoscaler.cluster_controller import ClusterController
from autoscaler.config import Config
from autoscaler.core.instructions import Instructions
from autoscaler.core.state import StoppedDeployment
from autoscaler.daemon import Daemon
from autoscaler.ports import Clock, Recorder
from tests.chaos.network import Answer, Network, Server, SimulatedTransport
from tests.chaos.processes import Host, Process
from tests.chaos.trace import Request, Trace

Files = Mapping[str, bytes]


class Place(Struct, frozen=True):
    """Where one process of the group runs, again and again."""

    number: int
    host: Host
    configuration: Path
    state: Path


class MemberNetwork(Network):
    """Requests that are on their way go on while their process is suspended or killed."""

    def __init__(
        self,
        server: Server,
        trace: Trace,
        daemon: str,
        clock: Clock,
        *,
        on_sent: Callable[[Request], None],
        on_executed: Callable[[Request], None],
    ) -> None:
        super().__init__(server, trace, daemon, clock)
        self._on_sent, self._on_executed = on_sent, on_executed
        self._on_the_way: set[asyncio.Task[Answer]] = set()

    async def exchange(
        self, method: str, url: URL, headers: Mapping[str, str], body: bytes
    ) -> Answer:
        sent = self._trace.sent(self._daemon, method, url, body)
        self._on_sent(sent)
        carried = self._carried(sent, self._disturbance_of(sent, url), (method, url, headers, body))
        task = asyncio.get_running_loop().create_task(carried, context=Context())
        self._on_the_way.add(task)
        task.add_done_callback(self._arrived, context=Context())
        try:
            answer = await asyncio.shield(task)
        except asyncio.CancelledError:
            task.cancel()  # the client closes the connection
            raise
        finally:
            self._trace.returned(sent)
        sent.status = answer.status
        return answer

    def _arrived(self, task: asyncio.Task[Answer]) -> None:
        self._on_the_way.discard(task)
        if not task.cancelled():
            task.exception()  # nothing may wait for it any more

    async def _executed(self, sent: Request, request: Any) -> Answer:
        answer = await super()._executed(sent, request)
        self._on_executed(sent)
        return answer

    async def close(self) -> None:
        for task in list(self._on_the_way):
            task.cancel()
        await asyncio.gather(*self._on_the_way, return_exceptions=True)


class MemberStore(SqliteStore):
    """A store that knows what of it a power failure leaves."""

    durable: Files | None = None  # None: it has not been open

    async def open(self, policies: Any) -> Any:
        state = await super().open(policies)
        self.durable = files_in(self.status.path.parent)
        return state

    async def save_stopped(self, stopped: Mapping[str, StoppedDeployment]) -> None:
        await super().save_stopped(stopped)
        self.durable = files_in(self.status.path.parent)

    async def save_instructions(self, instructions: Instructions) -> None:
        await super().save_instructions(instructions)
        self.durable = files_in(self.status.path.parent)

    def abandon(self) -> Files:
        """What the kernel does when the process is killed: the locks are released, and the files
        stay as they are, unless they were not open. What is in them."""
        directory = self.status.path.parent
        left = files_in(directory)
        if self.is_open:
            self._session.give_up()
            put_files(directory, left)
        return left


class Member(Daemon):
    """The daemon of one process. Its configuration is read from a file.

    Args:
        connect: returns the HTTP client.
        on_accepted: is called with each configuration that takes effect.
        on_lead: is called when it takes over, and begins a poll.
    """

    def __init__(
        self,
        place: Place,
        process: Process,
        load: Callable[[], Config],
        recorder: Recorder,
        connect: Callable[[Config, Clock], SimulatedTransport],
        jitter: random.Random,
        on_accepted: Callable[[Config], None],
        on_lead: Callable[[], None],
    ) -> None:
        super().__init__(load, clock=process.clock)
        self._on_accepted = on_accepted
        self.place, self.process = place, process
        self.entered = False
        self.store: MemberStore | None = None
        in_file = self._config.state_index is None
        self.controller = self._cluster = ClusterController(
            self._config,
            process.clock,
            recorders=(recorder,),
            connect=connect,
            store_of=self._open if in_file else None,
        )
        if self.controller._leadership is not None:
            elector = self.controller._leadership.elector
            elector._jitter = jitter
            elector._candidacy = replace(elector._candidacy, name=process.name)
        loop = self.controller._loop
        lead = loop.lead

        def noted() -> None:
            on_lead()
            lead()

        loop.lead = noted  # type: ignore[method-assign]

    def _open(self, config: Config, clock: Clock, log: Any) -> MemberStore:
        assert config.state_dir is not None
        self.store = MemberStore(
            config.state_dir, clock, log, outlives=lambda _: False, in_thread=False
        )
        return self.store

    def _accept(self, config: Config, *, requested: bool) -> None:
        super()._accept(config, requested=requested)
        self._on_accepted(config)

    def leads(self, *, for_s: float = 0.0) -> bool:
        """Whether it believes that it may change the cluster."""
        leadership = self.controller._leadership
        return self.entered and (leadership is None or leadership.elector.leads(for_s=for_s))

    async def serve(self) -> None:
        """As the daemon runs, without its HTTP server and its signals."""
        async with self.controller:
            self.entered = True
            try:
                await self._run_until_stopped()
                await self.controller.release()
            finally:
                self.entered = False


def files_in(directory: Path) -> Files:
    if not directory.is_dir():
        return {}
    return {
        path.name: path.read_bytes()
        for path in sorted(directory.iterdir())
        if path.suffix != ".lock"
    }


def put_files(directory: Path, files: Files) -> None:
    """Replace the content of a directory."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for name, content in files.items():
        (directory / name).write_bytes(content)


def after_power_failure(written: Files, durable: Files, rng: random.Random) -> Files:
    """What a disk may have of files after a power failure: everything, what had been written past
    the caches, or that and a part of what was appended to the write-ahead log since."""
    log, same = "autoscaler.sqlite-wal", "autoscaler.sqlite"
    match rng.choice(("all", "durable", "torn")):
        case "all":
            return written
        case "torn" if log in written and log in durable:
            before, after = durable[log], written[log]
            appended = written.get(same) == durable.get(same) and after.startswith(before)
            if appended:
                end = rng.randint(len(before), len(after))
                torn = after[:end] + rng.randbytes(rng.choice((0, 100)))
                return {**durable, log: torn}
    return durable
