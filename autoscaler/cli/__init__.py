"""Arguments in, exit code out. Each command imports what it needs when it runs.

Exit codes: 0 success; 1 failure; 2 wrong usage; 70 an error in the program; 78 an error in the
configuration, a scenario or a trace (the last two as in sysexits.h); 130 interrupted.

streams      standard input and output, whatever they are
shared       options, the configuration, errors in one sentence each
daemon       run, check, explain
history      history
importing    import; its options: import_options
recording    record, export
deployments  start, stop, resume, release
instructions pause, unpause, override, end-override, instructions, reload, status
replaying    replay, report, calibrate
rollout      rollout resume
sandbox      emulate, demo, backtest
completion   completion
"""

from typing import Any

import click

from autoscaler import __version__
from autoscaler.cli.completion import completion
from autoscaler.cli.daemon import check, explain, run
from autoscaler.cli.deployments import release, resume, start, stop, wake
from autoscaler.cli.history import history
from autoscaler.cli.importing import import_load
from autoscaler.cli.instructions import (
    end_override,
    instructions,
    override,
    pause,
    reload,
    status,
    unpause,
)
from autoscaler.cli.recording import export, record
from autoscaler.cli.replaying import calibrate, replay, report
from autoscaler.cli.rollout import rollout
from autoscaler.cli.sandbox import backtest, demo, emulate
from autoscaler.cli.streams import output_errors_reported, prepare_streams


class _Program(click.Group):
    def main(self, *args: Any, **options: Any) -> Any:
        prepare_streams()
        with output_errors_reported():
            return super().main(*args, **options)


@click.group(
    cls=_Program,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="autoscaler")
def main() -> None:
    """Scales Elasticsearch trained-model deployments, and explains each decision."""


for command in (
    run,
    record,
    check,
    explain,
    history,
    export,
    import_load,
    status,
    pause,
    unpause,
    override,
    end_override,
    instructions,
    rollout,
    reload,
    start,
    stop,
    resume,
    wake,
    release,
    emulate,
    demo,
    backtest,
    replay,
    report,
    calibrate,
    completion,
):
    main.add_command(command)
