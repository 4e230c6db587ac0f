"""The executors that the option --executor names."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from autoscaler.backtest.batch import Executors
from autoscaler.backtest.executors.local import LocalProcesses
from autoscaler.errors import UserError

LOCAL = "local"

SCHEMES = {"dask://": "tcp://", "tls://": "tls://"}
"""What the option begins with for a Dask scheduler, and the scheme that Dask calls it."""


class ExecutorError(UserError):
    """The option names no executor."""

    exit_code = 2


@contextmanager
def chosen_executors(
    text: str, workers: int | None, warm_up: Callable[[], None]
) -> Iterator[Executors]:
    """The executors of the options.

    Args:
        text: `local`, or the address of a Dask scheduler.
        workers: processes of this machine; None: one for each core.
        warm_up: compiles what the tasks use, on each worker of Dask.

    Raises:
        ExecutorError: the options are invalid.
        UserError: the scheduler cannot be reached, or its workers cannot be used.
    """
    if text == LOCAL:
        yield LocalProcesses(workers or os.cpu_count() or 1)
        return
    scheme = next((each for each in SCHEMES if text.startswith(each)), None)
    if scheme is None or not text.removeprefix(scheme).strip("/"):
        raise ExecutorError(
            f"--executor: {text!r} is neither local nor the address of a Dask scheduler, such as "
            "dask://host:8786, or tls://host:8786 for an encrypted connection"
        )
    if workers is not None:
        raise ExecutorError(
            "--workers is for --executor local; a Dask cluster has the workers that were started"
        )
    try:
        from autoscaler.backtest.executors.dask import connected  # noqa: PLC0415
    except ImportError as absent:
        raise UserError(
            f"--executor {text} needs {absent.name}, which is not installed; install it here and "
            "on the workers with `pip install 'autoscaler[backtest,dask]'`"
        ) from absent
    with connected(SCHEMES[scheme] + text.removeprefix(scheme).rstrip("/"), warm_up) as executors:
        yield executors
