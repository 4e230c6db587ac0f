"""The daemon, and what it would do and has done."""

import os
from functools import partial
from pathlib import Path

import click

from autoscaler import __version__
from autoscaler.cli.shared import (
    ID,
    ask_daemon,
    config_option,
    load_config,
    output,
    read_config,
    report_errors,
    run_async,
    url_option,
    warn_all,
)
from autoscaler.errors import UserError
from autoscaler.text import printable_json


@click.command()
@config_option
@report_errors()
def run(path: Path | None) -> None:
    """Run the daemon until SIGTERM or Ctrl-C.

    It reads the configuration again when the file changes, and on SIGHUP.
    """
    from autoscaler.adapters.logs import QueuedStream, configure
    from autoscaler.adapters.systemd import ServiceManager
    from autoscaler.config import ConfigError
    from autoscaler.daemon import Daemon
    from autoscaler.heap import keep_what_is_loaded, share_one_arena
    from autoscaler.threads import run as run_loop

    share_one_arena()
    load = partial(read_config, path)
    try:
        logging = load().logging
    except ConfigError as error:  # the log is not configured; otherwise it has the warnings
        warn_all(error.warnings)
        raise
    with QueuedStream.of_standard_error() as stream, stream.as_standard_error():
        rates = configure(
            logging.style, logging.level, version=__version__, environ=os.environ, stream=stream
        )

        async def serve() -> None:
            service = ServiceManager(os.environ)
            daemon = Daemon(load, log_lines_dropped=dropped, service=service)
            keep_what_is_loaded()
            await daemon.run()

        def dropped() -> dict[str, int]:
            return {"rate": rates.suppressed, "queue": stream.dropped}

        run_loop(serve())


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the same as JSON.")
@config_option
@report_errors()
def check(path: Path | None, *, as_json: bool) -> None:
    """Show what would be managed, and which problems there are.

    Connects, reports every problem with its remedy, and lists the deployments. Changes nothing.
    """
    import msgspec

    from autoscaler.check import check as run_check
    from autoscaler.check import report, view_of

    config = load_config(path)
    found = run_async(run_check(config))
    if as_json:
        text = msgspec.json.format(msgspec.json.encode(view_of(found)), indent=2).decode()
        click.echo(printable_json(text))
    else:
        report(found, output())
    if found.fatal:
        raise UserError(*found.fatal)


@click.command()
@click.argument("deployment", type=ID, required=False)
@url_option
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print the daemon's response as JSON.")
@report_errors()
def explain(deployment: str | None, url: str | None, path: Path | None, *, as_json: bool) -> None:
    """Show the decisions of the running daemon.

    For one DEPLOYMENT, every step from the measurements to the update; without an id, a table of
    all deployments.
    """
    from autoscaler.explain import fetch, pretty, render

    reply = ask_daemon(url, path, partial(fetch, deployment_id=deployment))
    if as_json:
        click.echo(printable_json(pretty(reply)))
        return
    render(reply.response, output())
