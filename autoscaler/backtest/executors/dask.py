"""Tasks on the workers of a Dask scheduler."""

import logging
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

from distributed import Client
from distributed.scheduler import KilledWorker

from autoscaler.backtest.executors.comparison import (
    difference_of_packages,
    difference_of_programs,
    unusable_text,
)
from autoscaler.backtest.program import Program, this_program
from autoscaler.errors import UserError

CONNECT_S = 10.0
"""Seconds until a scheduler that does not respond counts as unreachable."""

NO_WORKERS_S = 60.0
"""Seconds without any worker after which the batch ends: a machine may be restarting."""

THREADS_KNOWN_S = 5.0
"""Seconds between two requests for the number of threads."""

SUBMITTED_PER_THREAD = 2
"""Tasks per thread of the workers. 2, so that a worker has the next task when it finishes one."""


class DaskError(UserError):
    """The scheduler or its workers cannot be used."""


class DaskWorkers:
    """Executors of a connected scheduler.

    If a worker dies, the scheduler runs its tasks elsewhere. A task on which several workers died
    has the error `KilledWorker`; so may one that had only been assigned to them.
    """

    def __init__(self, client: Client, address: str) -> None:
        self._client = client
        self._address = address
        self._threads = 1
        self._known_at = -THREADS_KNOWN_S

    def at_once(self) -> int:
        now = time.monotonic()
        if now - self._known_at >= THREADS_KNOWN_S:
            self._ensure_connected()
            workers = _workers_of(self._client).values()
            self._threads = max(1, sum(worker["nthreads"] for worker in workers))
            self._known_at = now
        return SUBMITTED_PER_THREAD * self._threads

    @contextmanager
    def opened(self, tasks: int, *, suspect: bool = False) -> Iterator[Executor]:
        """An executor of the scheduler. When it closes, unfinished tasks are cancelled."""
        executor = _CheckedExecutor(self._client.get_executor(pure=False))
        try:
            yield executor
        finally:
            # A scheduler that is gone has forgotten them.
            with suppress(Exception):
                executor.shutdown(wait=False)

    def is_death(self, error: BaseException) -> bool:
        return isinstance(error, KilledWorker)

    def ensure_alive(self) -> None:
        """
        Raises:
            DaskError: the connection is lost, or there has been no worker for a minute.
        """
        self._ensure_connected()
        self.wait_for_workers(NO_WORKERS_S)

    def _ensure_connected(self) -> None:
        if self._client.status != "running":
            raise DaskError(
                f"the connection to the Dask scheduler at {self._address} was lost; restart it and "
                "its workers, and run the command again"
            )

    def wait_for_workers(self, timeout_s: float) -> None:
        """
        Raises:
            DaskError: there is no worker for so many seconds.
        """
        try:
            self._client.wait_for_workers(1, timeout=timeout_s)
        except Exception as error:
            raise DaskError(
                f"the Dask scheduler at {self._address} has no workers; start some with "
                f"`dask worker {self._address} --nworkers auto --nthreads 1`"
            ) from error


class _CheckedExecutor(Executor):
    """Runs each task only on a worker with this program. Workers may join at any time."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return self._executor.submit(_checked, this_program(), fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._executor.shutdown(wait=wait)


def _checked(program: Program, fn: Callable[..., Any], *args: Any) -> Any:
    """On a worker: call the function.

    Raises:
        DaskError: the worker has another program.
    """
    reason = _difference_here(program)
    if reason is not None:
        raise DaskError(f"a worker that joined cannot be used: {reason}; stop it")
    return fn(*args)


def _difference_here(program: Program) -> str | None:
    return difference_of_programs(this_program(), program)


@contextmanager
def connected(address: str, warm_up: Callable[[], None]) -> Iterator[DaskWorkers]:
    """The workers of a scheduler, all with this program, and warmed up.

    Args:
        warm_up: compiles what the tasks use; a function of a module, because the workers import it.

    Raises:
        DaskError: it cannot be reached, has no workers, or one of them cannot be used.
    """
    _silence()
    client = _client_of(address)
    try:
        workers = DaskWorkers(client, address)
        workers.wait_for_workers(CONNECT_S)
        _ensure_usable(client)
        _warm_up(client, warm_up)
        yield workers
    finally:
        with suppress(Exception):
            client.close(timeout=CONNECT_S)


@cache
def _silence() -> None:
    """Leave messages to this program; Dask logs tracebacks of lost connections to stderr."""
    for name in ("distributed", "tornado.application"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.addHandler(logging.NullHandler())
        logger.propagate = False
    warnings.filterwarnings("ignore", module=r"distributed(\.|$)")


def _client_of(address: str) -> Client:
    try:
        return Client(address, timeout=CONNECT_S, set_as_default=False, name="autoscaler")
    except (TypeError, ValueError) as error:  # the address, or no certificates for tls://
        raise DaskError(
            f"--executor: {address} cannot be used: {error}; for tls://, Dask reads the files from "
            "its own configuration, such as DASK_DISTRIBUTED__COMM__TLS__CA_FILE"
        ) from error
    except Exception as error:
        reason = str(error.__cause__ or error).strip() or type(error).__name__
        raise DaskError(
            f"the Dask scheduler at {address} cannot be reached: {reason}; start it with `dask "
            "scheduler`, or correct the address"
        ) from error


def _ensure_usable(client: Client) -> None:
    """
    Raises:
        DaskError: a worker would compute other results, or none.
    """
    found = client.get_versions(packages=["autoscaler", "numba"])
    here = found["client"]["packages"]
    reasons = {
        address: reason
        for address, worker in found["workers"].items()
        if (reason := difference_of_packages(worker["packages"], here)) is not None
    }
    if not reasons:
        programs = client.run(this_program, on_error="return")
        reasons = {
            address: reason
            for address, program in programs.items()
            if (reason := _difference(program)) is not None
        }
    if reasons:
        raise DaskError(unusable_text(reasons, list(found["workers"])))


def _difference(answer: Program | Exception) -> str | None:
    """Why a worker cannot be used, by its program or by the error of the question."""
    if isinstance(answer, Program):
        return difference_of_programs(answer, this_program())
    return f"autoscaler cannot be imported there: {answer}"


def _warm_up(client: Client, warm_up: Callable[[], None]) -> None:
    """Compile once on each machine; its other workers then load what was compiled."""
    workers = _workers_of(client)
    first = {worker["host"]: address for address, worker in workers.items()}
    others = [each for each in workers if each not in first.values()]
    for addresses in (list(first.values()), others):
        answers = client.run(warm_up, workers=addresses, on_error="return")
        failed = {
            address: f"a first run failed there: {answer}"
            for address, answer in answers.items()
            if isinstance(answer, Exception)
        }
        if failed:
            raise DaskError(unusable_text(failed, list(workers)))


def _workers_of(client: Client) -> dict[str, dict[str, Any]]:
    """The workers by address, with `host` and `nthreads`."""
    found: dict[str, dict[str, Any]] = client.scheduler_info(n_workers=-1)["workers"]
    return found
