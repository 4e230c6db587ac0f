"""A choice as text, for the terminal, the page and result files: a table, and paragraphs."""

from collections.abc import Iterator

from autoscaler.backtest.results.cases import SettingCases
from autoscaler.backtest.results.choice import (
    DEFAULT_POLICY,
    Choice,
    LeftOut,
    days_to_exclude,
    miss_fraction_not_excluded,
    probability_of_no_miss,
)
from autoscaler.backtest.results.quantities import attainment
from autoscaler.core.values import Value

RARE_MISS = 0.1
"""The fraction of days with a missed SLO that the text uses as an example: one in ten."""

MAX_NAMED = 10
"""Cases that a sentence names. Of more, it says how many there are."""

WORST = "worst "
"""How the heading of the column begins that names the day or trace with most late requests."""

SLO_POLICIES = ("slo", "slo-bounds")
"""The policies whose setting is an SLO target."""

OTHER_POLICIES = ("utilisation", "adaptive-8.16", "adaptive-9")
"""The policies that do not know the SLO."""


class ChoiceLine(Value, frozen=True):
    """One setting in the table."""

    cells: tuple[str, ...]
    met: bool  # in every case
    cheapest: bool


class Paragraph(Value, frozen=True):
    """One or more sentences about a subject."""

    subject: str
    text: str  # continues after a colon


class ChoiceText(Value, frozen=True, kw_only=True):
    """A choice in words."""

    title: str  # names the scenario too
    headings: tuple[str, ...]  # the first column is text, the others are figures
    lines: tuple[ChoiceLine, ...]
    paragraphs: tuple[Paragraph, ...]
    configuration: str  # to be copied; empty: none


def choice_text(choice: Choice) -> ChoiceText:
    """The text of a choice."""
    load = "all traces together" if choice.load is None else choice.load
    several = choice.days > 1
    return ChoiceText(
        title=f"Which setting for {load} in {choice.scenario}? {_cases(choice)}",
        headings=(
            "policy, setting",
            "SLO met",
            *([f"{WORST}{_day(choice)}"] if several else []),
            "attainment, %",
            "alloc. hours",
            *([f"× {DEFAULT_POLICY}"] if choice.default is not None else []),
        ),
        lines=tuple(
            ChoiceLine(tuple(_cells(choice, each)), each.always, each == choice.cheapest)
            for each in choice.settings
        ),
        paragraphs=tuple(_paragraphs(choice)),
        configuration=choice.configuration,
    )


def _cells(choice: Choice, setting: SettingCases) -> Iterator[str]:
    yield name_of(setting)
    yield f"{setting.met} of {setting.cases}"
    if choice.days > 1:
        yield setting.worst_day.removeprefix(f"{choice.load}, ")
    yield attainment(setting.worst_violation_fraction)
    yield f"{setting.allocation_hours:,.1f}"
    if choice.default is not None:
        yield f"{setting.allocation_hours / choice.default.allocation_hours:.2f}"


def name_of(setting: SettingCases) -> str:
    """A policy with its setting, and whether this is the default one."""
    default = " (default)" if setting.default and setting.setting else ""
    return f"{setting.policy} {setting.setting}".rstrip() + default


def _day(choice: Choice) -> str:
    """The noun for what cases differ in, besides seeds: days of divided traces, or whole traces,
    which may have any length."""
    return "day" if choice.divided else "trace"


def _these(choice: Choice) -> str:
    return f"this {_day(choice)}" if choice.days == 1 else f"these {_day(choice)}s"


def _cases(choice: Choice) -> str:
    cases = choice.settings[0].cases
    parts = f"{_count(choice.days, _day(choice))}, {_count(choice.seeds, 'seed')}"
    return f"{_count(cases, 'case')} ({parts})"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _paragraphs(choice: Choice) -> Iterator[Paragraph]:
    yield Paragraph("Cheapest", " ".join(_cheapest(choice)))
    if choice.left_out is not None:
        part = "seed" if choice.left_out.seeds else _day(choice)
        yield Paragraph(f"Other {part}s", " ".join(_others(choice, choice.left_out)))
    yield Paragraph("Certainty", " ".join(_certainty(choice)))
    if choice.infeasible:
        first, others = choice.infeasible[:MAX_NAMED], choice.infeasible[MAX_NAMED:]
        names = ", ".join(f"{day} (seed {seed})" for day, seed in first)
        more = f", and in {_count(len(others), 'more case')}" if others else ""
        yield Paragraph("Not counted", f"not even the oracle met the SLO on {names}{more}.")


def _cheapest(choice: Choice) -> Iterator[str]:
    cheapest, default = choice.cheapest, choice.default
    if cheapest is None:
        best = max(choice.settings, key=lambda each: (each.met, -each.worst_violation_fraction))
        yield (
            f"no policy and setting in the table met the SLO in {_every(best.cases)}. "
            f"{name_of(best)} met it in {best.met} of {best.cases}; its worst {_day(choice)} was "
            f"{best.worst_day}, with an attainment of "
            f"{attainment(best.worst_violation_fraction)}%."
        )
        return
    hours = f"{cheapest.allocation_hours:,.1f} allocation-hours"
    yield (
        f"{name_of(cheapest)} met the SLO in {_every(cheapest.cases)}, with {hours}"
        + (f" for the {_count(choice.days, _day(choice))}." if choice.days > 1 else ".")
    )
    if cheapest == default:
        yield from _next_policy(choice, cheapest)
    elif default is not None:
        more = default.allocation_hours / cheapest.allocation_hours - 1.0
        yield (
            f"{name_of(default)} met it in {default.met} of {default.cases}, with "
            f"{default.allocation_hours:,.1f} ({abs(more):.0%} {'more' if more >= 0 else 'fewer'})."
        )


def _next_policy(choice: Choice, cheapest: SettingCases) -> Iterator[str]:
    """The cheapest setting of any other policy, where the default is the cheapest."""
    others = [each for each in choice.settings if each.policy != cheapest.policy]
    always = [each for each in others if each.always]  # by rising cost
    if always:
        more = always[0].allocation_hours / cheapest.allocation_hours - 1.0
        yield (
            f"The cheapest setting of another policy that did is {name_of(always[0])}, with "
            f"{always[0].allocation_hours:,.1f} ({more:.0%} more)."
        )
    elif others:
        yield "No setting of another policy did."


def _every(cases: int) -> str:
    return "the only case" if cases == 1 else f"all {cases} cases"


def _others(choice: Choice, left_out: LeftOut) -> Iterator[str]:
    part = "seed" if left_out.seeds else _day(choice)
    preposition = "with" if left_out.seeds else "on"
    met = f"in {left_out.met} of {left_out.repetitions} repetitions"
    yield (
        f"each {part} was left out once, and the setting chosen by the others. The setting chosen "
        f"met the SLO {preposition} the {part} left out {met}"
        + (
            "."
            if left_out.met_by_default is None
            else f"; {DEFAULT_POLICY} at its default, in {left_out.met_by_default}."
        )
    )
    cheapest, default = choice.cheapest, choice.default
    if cheapest is None or default is None or cheapest == default:
        return
    if cheapest.policy in SLO_POLICIES:
        target, slo_target = _target(cheapest), _target(default)
        if target < slo_target:
            yield (
                "A target below that of the SLO suffices while the load leaves the same reserve as "
                f"on {_these(choice)}; {DEFAULT_POLICY} at its default corrects itself towards the "
                "SLO."
            )
        elif target > slo_target:
            yield (
                "A target above that of the SLO allows for late requests that polls do not show: "
                f"on {_these(choice)}, more than the default expects."
            )
    elif cheapest.policy in OTHER_POLICIES:
        yield (
            f"{cheapest.policy} does not know the SLO: whether requests are late on other days "
            f"depends on their load. {DEFAULT_POLICY} estimates the late requests, and adds "
            "allocations until they are within the error budget."
        )


def _target(setting: SettingCases) -> float:
    """The SLO target of a setting of `SLO_POLICIES`."""
    return float(setting.setting.partition("=")[2])


def _certainty(choice: Choice) -> Iterator[str]:
    days, day, compared = choice.days, _day(choice), len(choice.settings)
    if days == 1:
        yield (
            f"one {day} shows nothing about other {day}s. A setting that misses the SLO on every "
            f"second {day} meets it on one with a probability of 50%."
        )
    else:
        excluded = miss_fraction_not_excluded(days)
        yield (
            f"a setting that misses the SLO on one {day} in ten meets it on {days} of {days} "
            f"{day}s with a probability of "
            f"{_percent(probability_of_no_miss(RARE_MISS, days))}. With 95% confidence, {days} "
            f"{day}s without a miss exclude only settings that miss it on more "
            f"than {_percent(excluded)} of such {day}s"
            + (
                "."
                if excluded <= RARE_MISS
                else f"; to exclude one {day} in ten takes {days_to_exclude(RARE_MISS)} {day}s."
            )
        )
    if compared > 1 and choice.cheapest is not None:
        yield (
            f"The cheapest of {compared} settings was chosen with {_these(choice)} known, so it "
            "looks better than it is."
        )
    yield (
        "With one seed, chance may decide; --seeds 5 draws the requests five times."
        if choice.seeds == 1
        else "Seeds draw the requests again at the same rates; they are no other days."
    )
    yield f"Load unlike {_these(choice)}, such as growth or new callers, is not tried."


def _percent(fraction: float) -> str:
    return f"{100.0 * fraction:.2g}%" if fraction < 0.1 else f"{fraction:.0%}"
