"""The entries of `/decisions` and the output of `explain`, from a running daemon."""

import io

from rich.console import Console

from autoscaler.explain import DaemonAddress, fetch, render


def daemon_of(setup):
    return DaemonAddress(f"http://127.0.0.1:{setup.daemon.server.port}")


async def entry_of(setup, deployment_id="e5"):
    response, _ = await fetch(daemon_of(setup), deployment_id)
    return response.deployment


async def explained(setup, deployment_id=None, *, width=80):
    """The lines of `explain` in a pipe."""
    response, _ = await fetch(daemon_of(setup), deployment_id)
    stream = io.StringIO()
    render(response, Console(file=stream, width=width, color_system=None))
    return stream.getvalue().splitlines()
