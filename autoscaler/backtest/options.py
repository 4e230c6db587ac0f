"""The options of the command line, and what their texts name."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from msgspec import Struct

from autoscaler.backtest.configured_rule import ConfiguredRule, configured_rule
from autoscaler.backtest.policy_specs import names
from autoscaler.backtest.results.rows import FORMER_POLICY_NAMES
from autoscaler.backtest.world.days import Days
from autoscaler.backtest.world.scenario import BacktestScenario, find_scenario, standard
from autoscaler.backtest.world.traces import TraceSource
from autoscaler.config.loader import read
from autoscaler.errors import UsageError
from autoscaler.simulation.trace_files import Gaps

MAX_DIGITS = 9
"""Digits of a number of days. 9, which is more days than any trace has."""


class BacktestOptions(Struct, frozen=True, kw_only=True):
    """The options of the command line."""

    traces: tuple[str, ...]
    policies: tuple[str, ...]  # empty: the default ones, or only the rule
    scenarios: tuple[str, ...]  # files, or names of standard ones; empty: all of those
    rule: ConfiguredRule | None = None  # of the configuration
    seeds: int
    sweep: bool  # also all other settings
    json: Path | None
    report: Path | None
    markdown: Path | None = None  # for the comparison of settings
    workers: int | None  # None: one for each core
    executor: str = "local"  # or the address of a Dask scheduler
    resume: Path | None = None  # the file of finished runs
    gaps: Gaps = Gaps.ZERO  # what missing bins of a file mean
    days: Days = Days()  # of traces that are longer than a day


def outputs_of(options: BacktestOptions) -> dict[str, Path]:
    """The files to write, by the options that name them."""
    given = {
        "--json": options.json,
        "--report": options.report,
        "--markdown": options.markdown,
        "--resume": options.resume,
    }
    return {option: path for option, path in given.items() if path is not None}


def inputs_of(options: BacktestOptions, sources: Iterable[TraceSource]) -> Iterator[Path]:
    """The files that are read."""
    yield from (source.file for source in sources if source.file is not None)
    scenarios = map(Path, options.scenarios)
    yield from (path for path in scenarios if path.is_file())  # others are standard ones
    if options.rule is not None:
        yield Path(options.rule.written.file)


def chosen_scenarios(
    arguments: Iterable[str], warn: Callable[[str], None]
) -> tuple[BacktestScenario, ...]:
    """The scenarios of the arguments; without any, the standard ones.

    Raises:
        BacktestScenarioError: there is no such scenario, or it is invalid.
        UsageError: two of them have the same name, so their results would be confused.
    """
    found = [find_scenario(argument, warn) for argument in dict.fromkeys(arguments)]
    names = [scenario.name for scenario in found]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(
                f"--scenario: two scenarios have the name {name}, that of their files; rename one "
                "of the files"
            )
    return tuple(found) or standard()


def chosen_policies(
    texts: Iterable[str], warn: Callable[[str], None] = lambda _: None
) -> tuple[str, ...]:
    """The names in lists such as `hpa,kpa`. Former names are replaced, with a warning.

    Raises:
        UsageError: there is no policy of such a name.
    """
    chosen = []
    known = names()
    for name in [name.strip() for text in texts for name in text.split(",")]:
        current = name if name in known else FORMER_POLICY_NAMES.get(name, name)
        if current != name:
            warn(f"--policy: {name} is deprecated; use {current}")
        chosen.append(current)
        if current not in known:
            raise UsageError(
                f"--policy: there is no policy {name!r}; choose from {', '.join(known)}"
            )
    return tuple(dict.fromkeys(chosen))


def chosen_rule(
    config: Path | None,
    name: str | None,
    environ: Mapping[str, str],
    warn: Callable[[str], None] = lambda _: None,
) -> ConfiguredRule | None:
    """The rule to run; None without a configuration.

    Raises:
        ConfigError: the configuration cannot be read.
        RuleError: there is no such rule, or none was named and there are several.
        UsageError: a rule is named without a configuration.
    """
    if config is None:
        if name is not None:
            raise UsageError("--rule requires --config, the file that contains the rule")
        return None
    written = read(config, environ)
    for warning in written.warnings:
        warn(warning)
    return configured_rule(written, name)


def chosen_days(text: str) -> Days:
    """The days of traces that are longer than a day.

    >>> chosen_days("7")
    Days(whole=True, last=7)

    Raises:
        UsageError: it is neither a word nor a number of days.
    """
    if text == "hardest":
        return Days()
    if text == "all":
        return Days(whole=True)
    if text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS and int(text) > 0:
        return Days(whole=True, last=int(text))
    raise UsageError(
        f"--days must be hardest, all, or how many days at the end of each trace, not {text[:40]!r}"
    )
