"""The daemon, and questions about it."""

import asyncio
import os
from functools import partial
from pathlib import Path

import click

from autoscaler import __version__
from autoscaler.cli.shared import (
    address,
    config_option,
    load_config,
    report_errors,
    run_async,
    url_option,
)
from autoscaler.errors import UserError


@click.command()
@config_option
@report_errors()
def run(path: Path | None) -> None:
    """Run the daemon until SIGTERM or Ctrl-C.

    It reads the configuration again when the file changes, and on SIGHUP.
    """
    from autoscaler.adapters.logs import configure
    from autoscaler.daemon import Daemon

    async def live() -> None:
        await Daemon(load).run()

    load = partial(load_config, path)
    wanted = load().logging
    configure(wanted.style, wanted.level, version=__version__, environ=os.environ)
    asyncio.run(live())


@click.command()
@config_option
@report_errors()
def check(path: Path | None) -> None:
    """Show what would be managed, and what is wrong.

    Connects, names every problem with its remedy, and lists the deployments. Changes nothing.
    """
    from rich.console import Console

    from autoscaler.check import check as look
    from autoscaler.check import report

    findings = run_async(look(load_config(path)))
    report(findings, Console())
    if findings.fatal:
        raise UserError("\n".join(findings.fatal))


@click.command()
@click.argument("deployment", required=False)
@url_option
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print the daemon's answer as it is.")
@report_errors()
def explain(deployment: str | None, url: str | None, path: Path | None, *, as_json: bool) -> None:
    """Ask the running daemon why it wants that number.

    Of one DEPLOYMENT, every step from what was measured to what was done; without a name, a table
    of all.
    """
    from autoscaler.explain import fetch, pretty, render

    reply = run_async(fetch(address(url, path), deployment))
    if as_json:
        click.echo(pretty(reply))
        return
    from rich.console import Console

    render(reply.response, Console())
