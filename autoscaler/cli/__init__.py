"""Arguments in, exit code out. What a command needs is imported when it runs.

Exit codes: 0 done; 1 it did not work; 2 wrong usage; 70 an error of the program; 78 a wrong
configuration, scenario or trace (the last two as in sysexits.h); 130 interrupted.

shared       options, the configuration, errors in one sentence
daemon       run, check, explain
deployments  start, stop, wake, release
trials       emulate, demo, backtest
"""

import click

from autoscaler import __version__
from autoscaler.cli.daemon import check, explain, run
from autoscaler.cli.deployments import release, resume, start, stop
from autoscaler.cli.sandbox import backtest, demo, emulate


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="autoscaler")
def main() -> None:
    """Scales Elasticsearch trained-model deployments with their load, and says why."""


for command in (run, check, explain, start, stop, resume, release, emulate, demo, backtest):
    main.add_command(command)
