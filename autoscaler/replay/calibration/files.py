"""A calibration as files of the back-test: a scenario, and the counts of requests as a trace.

`autoscaler backtest DEPLOYMENT.csv --scenario DEPLOYMENT.toml` runs them.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from autoscaler.backtest.results.file import write
from autoscaler.core.units import duration_text
from autoscaler.errors import UserError
from autoscaler.files import open_regular
from autoscaler.replay.calibration.fits import DeploymentFit
from autoscaler.replay.engine import MINUTE_S
from autoscaler.text import printable

MARK = "# Fitted by `autoscaler calibrate`"
"""The beginning of each file, by which a later calibration knows that it may be replaced."""

MAX_NAME_CHARACTERS = 100

_HASH_DIGITS = 32
"""Hexadecimal digits of a digest. 32: two ids with the same one cannot be found."""

_HASHED = re.compile(rf"-[0-9a-f]{{{_HASH_DIGITS}}}$")
_HAS_CAPITAL = re.compile(r"[A-Z]")

LIMITS = {"service_time": (0.001, 3600.0), "load": (0.0, 3600.0), "timeout": (0.001, 3600.0)}
"""The ranges of durations of a scenario, in seconds."""

MAX_CV = 10.0


def ensure_replaceable(deployments: Iterable[str], directory: Path) -> None:
    """Check that no file is replaced but those of former calibrations: a deployment may have the
    name of a configuration or of the file of counts that it was imported from.

    Raises:
        UserError: there is such a file.
    """
    for deployment in deployments:
        for path in _paths(deployment, directory):
            if not _is_replaceable(path):
                raise UserError(
                    f"{path} exists, and `autoscaler calibrate` did not write it; name another "
                    "directory with --to-dir"
                )


def _is_replaceable(path: Path) -> bool:
    try:
        with open_regular(path) as file:
            return file.read(len(MARK)) == MARK.encode()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False


def _paths(deployment: str, directory: Path) -> tuple[Path, Path]:
    """Of the scenario, and of the trace."""
    name = file_name(deployment)
    return directory / f"{name}.toml", directory / f"{name}.csv"


def write_files(
    calibrations: Iterable[DeploymentFit], directory: Path
) -> Iterator[tuple[DeploymentFit, Path, Path]]:
    """Write a scenario and a trace for each deployment.

    Raises:
        UserError: one of them cannot be written.
    """
    for each in calibrations:
        scenario, trace = _paths(each.deployment, directory)
        write(scenario, scenario_text(each))
        write(trace, trace_text(each))
        yield each, scenario, trace


def file_name(deployment: str) -> str:
    """A name that is safe in any directory, and different for different deployments, also where
    capital letters make no difference.

    >>> file_name("elser-search"), file_name("../x")
    ('elser-search', 'x-d6b96a97d147daaae49eb87a5ca7bfbc')
    """
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", deployment).strip("-.")[:MAX_NAME_CHARACTERS]
    # An id that ends like a digest gets one too, so that it cannot be the name of another id.
    if safe and safe == deployment and not _HAS_CAPITAL.search(safe) and not _HASHED.search(safe):
        return safe
    digest = hashlib.sha256(deployment.encode(errors="surrogatepass")).hexdigest()[:_HASH_DIGITS]
    return f"{safe or 'deployment'}-{digest}"


def scenario_text(fit: DeploymentFit) -> str:
    """The scenario in TOML. Comments say where each figure is from, and what is not known."""
    scenario = fit.scenario
    begin, end = (datetime.fromtimestamp(at, UTC) for at in (fit.since, fit.until))
    lines = [
        f"{MARK} to the record of {printable(fit.deployment)}",
        f"# from {begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC.",
        *(f"# CONTRADICTED by the record: {printable(each)}." for each in fit.failures),
        *(f"# Not known: {printable(each)}." for each in fit.assumptions),
        "",
        f'version = "{scenario.version}"',
        f"poll_interval = {_duration(_poll_interval_s(scenario.poll_interval_s))}",
        "",
        "[model]",
        f"# The mean of {fit.timed:,} timed requests.",
        f"service_time = {_limited('service_time', scenario.service_time_s)}",
        *(f"# {text}" for text in band_texts(fit)),
        f"service_cv = {min(scenario.service_cv, MAX_CV):.3g}"
        + ("  # as the means of intervals vary" if fit.scv_measured else "  # assumed"),
        f"load = {_limited('load', scenario.load_s)}  # {loading_text(fit)}",
        f"control = {_duration(scenario.control_s)}  # assumed: it is too short to be measured",
        "# warm_up and warm_up_factor are not fitted: young processes are left out.",
        "",
        "[deployment]",
        f"min_allocations = {scenario.min_allocations}  # of the rule {printable(fit.rule)}",
        f"max_allocations = {_max_allocations(fit)}",
        f"queue_capacity = {min(max(scenario.queue_capacity, 1), 1_000_000)}"
        + ("" if fit.queue_capacity is not None else "  # assumed"),
        "",
        "[nodes]",
        f"count = {min(scenario.nodes, 100)}",
        f"processors = {min(scenario.processors, 1024)}",
        *(f"# {text}" for text in node_texts(fit)),
        "",
        "[callers]",
        f"# {timeout_text(fit)}",
        f"timeout = {_limited('timeout', scenario.timeout_s)}",
        "retry_share = 0.0  # not known: repeated requests are in the counts already",
        "",
        "[slo]",
        f"wait = {_duration(scenario.slo_wait_s)}",
        f"target = {scenario.slo_target:g}",
        "",
        "[trace]",
        "factor = 1.0  # the load as it was recorded",
        'window = "all"',
        f"begins_at = {begin.replace(microsecond=0).isoformat()}",
    ]
    return "\n".join(lines) + "\n"


def band_texts(fit: DeploymentFit) -> list[str]:
    """The service time by load."""
    return [
        f"{duration_text(band.mean_s)} at {band.low:.2g} to {band.high:.2g} erlangs"
        for band in fit.bands
    ]


def node_texts(fit: DeploymentFit) -> list[str]:
    """The service time by node; the simulation has the same nodes all."""
    if len(fit.nodes) < 2:
        return []
    return [
        f"{printable(node.node)}: {node.ratio:.2f} times the mean service time"
        for node in fit.nodes[:100]
    ]


def loading_text(fit: DeploymentFit) -> str:
    if fit.loading_s is None:
        return "assumed: no process began on another node in the record"
    return "one start" if fit.starts == 1 else f"median of {fit.starts} starts"


def timeout_text(fit: DeploymentFit) -> str:
    if fit.timeout_s is not None:
        return "About: the queue wait at which requests failed."
    return "Of the rule, or assumed: no time-out is visible in the record."


def trace_text(fit: DeploymentFit) -> str:
    """The arrivals of each minute."""
    lines = [MARK, f"# name: {printable(fit.deployment)}", "t_seconds,requests"]
    lines += [f"{index * MINUTE_S:g},{each}" for index, each in enumerate(fit.arrivals.tolist())]
    return "\n".join(lines) + "\n"


def _max_allocations(fit: DeploymentFit) -> int:
    """At most the processors of all nodes, beyond which a scenario has none."""
    scenario = fit.scenario
    most = min(scenario.nodes, 100) * min(scenario.processors, 1024)
    return max(scenario.min_allocations, min(scenario.max_allocations, most))


def _poll_interval_s(seconds: float) -> float:
    return float(min(600.0, max(1.0, round(seconds))))


def _limited(name: str, seconds: float) -> str:
    least, most = LIMITS[name]
    return _duration(min(most, max(least, seconds)))


def _duration(seconds: float) -> str:
    """In milliseconds with three decimals, or in seconds: nothing that was fitted is rounded off.

    >>> _duration(0.0832156), _duration(60.0), _duration(0.0)
    ('"83.216ms"', '"60s"', '"0s"')
    """
    if seconds == round(seconds):
        return f'"{seconds:.0f}s"'
    milliseconds = f"{1000.0 * seconds:.3f}".rstrip("0").rstrip(".")
    return f'"{milliseconds}ms"'
