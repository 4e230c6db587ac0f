"""What was fitted, on a terminal."""

from collections.abc import Sequence

from rich.console import Console

from autoscaler.backtest.results.terminal import plain_table
from autoscaler.core.units import duration_text
from autoscaler.replay.calibration.fits import DeploymentFit
from autoscaler.terminal import plain, print_line

HEADINGS = (
    "deployment",
    "service time",
    "by load",
    "CV",
    "slowest node",
    "load",
    "queue",
    "time-out",
)

UNKNOWN = "unknown"


def show(console: Console, calibrations: Sequence[DeploymentFit], left_out: Sequence[str]) -> None:
    """Print a line for each deployment, and then what fails and what is not known."""
    table = plain_table("Calibration")
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading == HEADINGS[0] else "right")
    for each in calibrations:
        table.add_row(*(plain(cell) for cell in _cells(each)))
    console.print(table)
    shared = _shared(calibrations)
    for each in calibrations:
        label = plain(f"{each.deployment}: ", "bold")
        for sentence in each.failures:
            print_line(console, f"CONTRADICTED: {sentence}", "red", label=label)
        for sentence in each.assumptions:
            if sentence not in shared:
                print_line(console, f"not known: {sentence}", "dim", label=label)
    for sentence in shared:
        print_line(console, f"not known of all deployments: {sentence}", "dim")
    for sentence in left_out:
        print_line(console, f"Left out: {sentence}")


def _shared(calibrations: Sequence[DeploymentFit]) -> list[str]:
    """What is not known of all of several deployments, which is shown once."""
    first, *others = calibrations
    return [
        each
        for each in first.assumptions
        if others and all(each in other.assumptions for other in others)
    ]


def _cells(fit: DeploymentFit) -> tuple[str, ...]:
    slowest = max(fit.nodes, key=lambda node: node.ratio, default=None)
    return (
        fit.deployment,
        duration_text(fit.service_time_s),
        " / ".join(duration_text(band.mean_s) for band in fit.bands) or UNKNOWN,
        f"{fit.scv**0.5:.2f}" if fit.scv_measured else UNKNOWN,
        UNKNOWN if slowest is None else f"{slowest.ratio:.2f} ×",
        UNKNOWN if fit.loading_s is None else f"{duration_text(fit.loading_s)} ({fit.starts})",
        UNKNOWN if fit.queue_capacity is None else f"{fit.queue_capacity:,}",
        UNKNOWN if fit.timeout_s is None else f"about {duration_text(fit.timeout_s)}",
    )
