"""Several simulated processes on one event loop.

Each callback belongs to the process in whose context it was registered. While a process is
suspended, its callbacks wait, as after SIGSTOP; those of a killed one never run, not even the
blocks that clean up, as after kill -9. What has no process, such as the network and the cluster,
goes on.
"""

import asyncio
import heapq
from asyncio import Handle, Task, TimerHandle
from collections.abc import Coroutine
from contextvars import Context, ContextVar
from functools import partial
from typing import Any, TypeVar

from tests.virtual_loop import START, VirtualLoop

Result = TypeVar("Result")

PROCESS: ContextVar["Process | None"] = ContextVar("process", default=None)


class Host:
    """A host, whose wall clock may be set. Processes read it when they start."""

    def __init__(self) -> None:
        self.offset_s = 0.0  # by which its clock is ahead


class Process:
    """One process, which has not begun to run yet.

    Args:
        speed: of its clock; 1 is exact.
    """

    def __init__(self, name: str, host: Host, speed: float) -> None:
        self.name = name
        self.clock = ProcessClock(host.offset_s, speed)
        self.suspended = self.killed = False
        self._waiting: list[Handle] = []
        self._tasks: set[Task[Any]] = set()  # all, so that none is collected before its end

    @property
    def stands_still(self) -> bool:
        return self.suspended or self.killed

    def spawn(self, main: Coroutine[Any, Any, Result]) -> Task[Result]:
        """Run a coroutine in this process."""
        context = Context()
        context.run(PROCESS.set, self)
        return asyncio.get_running_loop().create_task(main, context=context)

    def hold(self, handle: Handle) -> None:
        self._waiting.append(handle)

    def own(self, task: Task[Any]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard, context=Context())

    def suspend(self) -> None:
        self.suspended = True

    def wake(self) -> None:
        self.suspended = False
        if not self.killed:
            self._continue()

    def kill(self) -> None:
        self.killed = True

    async def bury(self) -> None:
        """End all tasks of a process, when what they do does not matter any more."""
        self.suspended = self.killed = False
        self._continue()
        while self._tasks:
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.sleep(0)  # until they are discarded

    def _continue(self) -> None:
        waiting, self._waiting = self._waiting, []
        loop = asyncio.get_running_loop()
        assert isinstance(loop, ProcessLoop)
        loop.add(waiting)


class ProcessClock:
    """The clock of one process, as `HostClock`: the wall clock at its start, and what has passed.

    Args:
        offset_s: by which the wall clock is ahead when the process starts.
    """

    def __init__(self, offset_s: float, speed: float) -> None:
        self._offset_s, self._speed = offset_s, speed
        self._started_at = asyncio.get_running_loop().time()

    def now(self) -> float:
        elapsed_s = asyncio.get_running_loop().time() - self._started_at
        return START + self._offset_s + self._started_at + self._speed * elapsed_s

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds) / self._speed)


class ProcessLoop(VirtualLoop):
    """A virtual loop without sockets, on which processes can be suspended and killed."""

    _ready: Any  # of asyncio.BaseEventLoop
    _scheduled: Any

    def __init__(self) -> None:
        super().__init__(sockets=False)

    def add(self, handles: list[Handle]) -> None:
        self._ready.extend(handles)

    def _call_soon(self, callback: Any, args: Any, context: Context | None) -> Handle:
        handle = _Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> Handle:
        return self._call_soon(callback, args, context)

    def call_at(
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> TimerHandle:
        timer = _Timer(when, callback, args, self, context)
        heapq.heappush(self._scheduled, timer)
        timer._scheduled = True
        return timer

    def create_task(self, coro: Any, **options: Any) -> Task[Any]:
        task = super().create_task(coro, **options)
        context: Context | None = options.get("context")
        process = PROCESS.get() if context is None else context.get(PROCESS)
        if process is not None:
            process.own(task)
        return task


class _Handle(Handle):
    """A callback that waits while its process stands still."""

    __slots__ = ()
    _context: Context

    def _run(self) -> None:
        process = self._context.get(PROCESS)
        if process is not None and process.stands_still:
            process.hold(self)
        else:
            super()._run()  # type: ignore[misc]


class _Timer(TimerHandle):
    __slots__ = ()
    _context: Context
    _scheduled: bool

    def _run(self) -> None:
        process = self._context.get(PROCESS)
        if process is not None and process.stands_still:
            process.hold(self)
        else:
            super()._run()  # type: ignore[misc]


def run_processes(main: Coroutine[Any, Any, Result]) -> Result:
    """Run `main`, which belongs to no process, on a separate loop, which begins at 0 s."""
    with asyncio.Runner(loop_factory=partial(ProcessLoop)) as runner:
        return runner.run(main)
