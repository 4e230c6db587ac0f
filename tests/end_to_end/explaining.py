"""The entries of `/decisions` and the output of `explain`, from a running daemon."""

import io

from rich.console import Console

from autoscaler.explain import fetch, render


def url_of(setup):
    return f"http://127.0.0.1:{setup.daemon.server.port}"


async def entry_of(setup, deployment_id="e5"):
    response, _ = await fetch(url_of(setup), deployment_id)
    return response.deployment


async def explained(setup, deployment_id=None, *, width=80):
    """The lines of `explain` in a pipe."""
    response, _ = await fetch(url_of(setup), deployment_id)
    stream = io.StringIO()
    render(response, Console(file=stream, width=width, color_system=None))
    return stream.getvalue().splitlines()
