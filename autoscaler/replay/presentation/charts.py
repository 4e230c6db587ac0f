"""Charts as SVG, made here: they need neither scripts nor a network, and print as they are shown.

Colours and the size of text come from the style sheet of the page. All text is escaped.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise

from markupsafe import Markup, escape
from msgspec.structs import replace

from autoscaler.replay.presentation.figures import hours_text
from autoscaler.replay.results import Estimate, HourResult

HOUR_S = 3600.0
WIDTH, LEFT, RIGHT = 480.0, 46.0, 8.0
TOP, ALLOCATIONS_HEIGHT, GAP, LATE_HEIGHT, BOTTOM = 10.0, 120.0, 14.0, 44.0, 24.0
HEIGHT = TOP + ALLOCATIONS_HEIGHT + GAP + LATE_HEIGHT + BOTTOM

MAX_TICKS = 6
"""Labels of the time axis. Six of the largest text fit on a phone."""

MAX_TOOLTIPS = 336
"""Hours up to which each has a tooltip: two weeks. Beyond, an hour is narrower than a pointer."""

BAR_WIDTH, BAR_HEIGHT = 150.0, 16.0


def hours_chart(
    hours: Sequence[HourResult], label: str, *, marked: float | None = None, rule: bool = True
) -> Markup:
    """Load and allocations above, and late requests below, hour by hour.

    Args:
        label: the chart in words, for those who do not see it.
        marked: the beginning of an hour to mark.
        rule: whether what the rule would have done is shown, beside what really ran.
    """
    if not rule:
        hours = [replace(each, replayed_hours=0.0, replayed_late=0.0) for each in hours]
    first, end = hours[0].at, hours[-1].at + HOUR_S
    width = WIDTH - LEFT - RIGHT

    def x(at: float) -> float:
        return LEFT + width * (at - first) / (end - first)

    highest = max(
        max(each.recorded_hours, each.replayed_hours, each.peak_load or 0.0) for each in hours
    )
    top, step = _scale(highest)
    base = TOP + ALLOCATIONS_HEIGHT

    def y(value: float) -> float:
        return base - ALLOCATIONS_HEIGHT * value / top

    box = f"0 0 {WIDTH:g} {HEIGHT:g}"
    parts = [f'<svg class="chart" viewBox="{box}" role="img" aria-label="{escape(label)}">']
    if marked is not None:
        parts.append(
            f'<rect class="marked" x="{x(marked):.1f}" y="{TOP:g}" '
            f'width="{x(marked + HOUR_S) - x(marked):.1f}" height="{HEIGHT - TOP - BOTTOM:g}"/>'
        )
    parts += _value_axis(top, step, y)
    parts += _time_axis(first, end, x)
    parts.append(_load_area(hours, x, y))
    starts = [each.at for each in hours]
    points = _steps(starts, [each.recorded_hours for each in hours], x, y)
    parts.append(f'<path class="line recorded" d="{points}"/>')
    if rule:
        points = _steps(starts, [each.replayed_hours for each in hours], x, y)
        parts.append(f'<path class="line rule" d="{points}"/>')
    parts += _late_bars(hours, x)
    if len(hours) <= MAX_TOOLTIPS:
        parts += (_tooltip(each, x, rule=rule) for each in hours)
    return Markup("".join([*parts, "</svg>"]))  # noqa: S704 - made of numbers and escaped texts


def interval_bar(hours: Estimate, recorded: float, most: float, kind: str) -> Markup:
    """A bar with its interval, and a line at what really ran.

    Args:
        most: the value at the right end.
        kind: recorded, rule or other.
    """

    def x(value: float) -> float:
        return BAR_WIDTH * min(1.0, max(0.0, value) / most) if most > 0.0 else 0.0

    middle = BAR_HEIGHT / 2
    low, high = x(hours.low), x(hours.high)
    return Markup(  # noqa: S704 - made of numbers
        f'<svg class="bar" viewBox="-1 0 {BAR_WIDTH + 2:g} {BAR_HEIGHT:g}" aria-hidden="true">'
        f'<rect class="{kind}" y="3" width="{x(hours.value):.1f}" height="{BAR_HEIGHT - 6:g}"/>'
        f'<path class="whisker" d="M{low:.1f} {middle:g}H{high:.1f}'
        f'M{low:.1f} {middle - 3:g}v6M{high:.1f} {middle - 3:g}v6"/>'
        f'<path class="reference" d="M{x(recorded):.1f} 0v{BAR_HEIGHT:g}"/></svg>'
    )


def _scale(highest: float) -> tuple[float, float]:
    """The end of an axis and the distance of its lines, of which there are at most five.

    >>> _scale(7.2), _scale(0.0), _scale(340.0)
    ((8.0, 2.0), (1.0, 1.0), (400.0, 100.0))
    """
    highest = max(highest, 1.0)
    size = 10.0 ** math.floor(math.log10(highest))
    for step in (0.2 * size, 0.5 * size, size, 2.0 * size):
        if step >= 1.0 and highest <= 5.0 * step:
            break
    else:
        step = 1.0
    return step * math.ceil(highest / step), step


def _value_axis(top: float, step: float, y: Callable[[float], float]) -> Iterator[str]:
    for index in range(round(top / step) + 1):
        at = y(index * step)
        yield f'<path class="grid" d="M{LEFT:g} {at:.1f}H{WIDTH - RIGHT:g}"/>'
        yield (f'<text class="value" x="{LEFT - 6:g}" y="{at + 4:.1f}">{index * step:,.0f}</text>')


def _time_axis(first: float, end: float, x: Callable[[float], float]) -> Iterator[str]:
    bottom = HEIGHT - BOTTOM
    for at, text in _ticks(first, end):
        yield f'<path class="grid" d="M{x(at):.1f} {TOP:g}V{bottom + 4:g}"/>'
        yield f'<text class="time" x="{x(at):.1f}" y="{HEIGHT - 6:g}">{text}</text>'


def _ticks(first: float, end: float) -> list[tuple[float, str]]:
    """Instants of the time axis, in UTC, at most `MAX_TICKS`.

    >>> _ticks(1_762_128_000.0, 1_762_214_400.0)[1:3]
    [(1762149600.0, '06:00'), (1762171200.0, '12:00')]
    """
    hours = (end - first) / HOUR_S
    step = next(
        (each for each in (1, 3, 6, 12, 24) if hours / each <= MAX_TICKS),
        24 * math.ceil(hours / 24 / MAX_TICKS),
    )
    begin = math.ceil(first / (step * HOUR_S)) * step * HOUR_S
    count = int((end - begin) // (step * HOUR_S)) + 1
    instants = (begin + index * step * HOUR_S for index in range(count))
    return [(at, _tick_text(at)) for at in instants if at < end - 0.05 * (end - first)]


def _tick_text(at: float) -> str:
    instant = datetime.fromtimestamp(at, UTC)
    return f"{instant:%m-%d}" if not instant.hour else f"{instant:%H:%M}"


def _load_area(
    hours: Sequence[HourResult], x: Callable[[float], float], y: Callable[[float], float]
) -> str:
    loads = [each.peak_load or 0.0 for each in hours]
    points = _steps([each.at for each in hours], loads, x, y)
    return (
        f'<path class="load" d="{points}V{y(0.0):.1f}H{x(hours[0].at):.1f}Z"/>'
        if any(loads)
        else ""
    )


def _steps(
    starts: Sequence[float],
    values: Iterable[float],
    x: Callable[[float], float],
    y: Callable[[float], float],
) -> str:
    """A line that is level during each hour."""
    ends = [later for _, later in pairwise(starts)] + [starts[-1] + HOUR_S]
    parts = [f"V{y(value):.1f}H{x(end):.1f}" for value, end in zip(values, ends, strict=True)]
    return f"M{x(starts[0]):.1f} {parts[0][1:].split('H')[0]}{''.join(parts)}"


def _late_bars(hours: Sequence[HourResult], x: Callable[[float], float]) -> Iterator[str]:
    bottom = HEIGHT - BOTTOM
    most = max(max(each.recorded_late, each.replayed_late) for each in hours)
    yield f'<path class="axis" d="M{LEFT:g} {bottom:g}H{WIDTH - RIGHT:g}"/>'
    text = f"{most:,.0f}" if most >= 0.5 else "0"
    at = bottom - LATE_HEIGHT + 10.0
    yield f'<text class="value" x="{LEFT - 6:g}" y="{at:g}">{text}</text>'
    yield f'<text class="value" x="{LEFT - 6:g}" y="{bottom:g}">late</text>'
    if most < 0.5:
        return
    for each in hours:
        width = (x(each.at + HOUR_S) - x(each.at)) / 2.0
        for index, (name, late) in enumerate(
            (("recorded", each.recorded_late), ("rule", each.replayed_late))
        ):
            height = LATE_HEIGHT * max(0.0, late) / most
            if height >= 0.1:
                yield (
                    f'<rect class="late {name}" x="{x(each.at) + index * width:.1f}" '
                    f'y="{bottom - height:.1f}" width="{width:.1f}" height="{height:.1f}"/>'
                )


def _tooltip(hour: HourResult, x: Callable[[float], float], *, rule: bool) -> str:
    text = (
        f"{datetime.fromtimestamp(hour.at, UTC):%Y-%m-%d %H:%M} UTC\n"
        f"{hour.requests:,} requests"
        + ("" if hour.peak_load is None else f", load up to {hour.peak_load:.2g}")
        + f"\nrecorded: {hours_text(hour.recorded_hours)} allocation-hours, "
        f"{hour.recorded_late:,.0f} late"
    )
    if rule:
        used = hours_text(hour.replayed_hours)
        text += f"\nrule: {used} allocation-hours, {hour.replayed_late:,.0f} late"
    return (
        f'<rect class="tip" x="{x(hour.at):.1f}" y="{TOP:g}" '
        f'width="{x(hour.at + HOUR_S) - x(hour.at):.1f}" height="{HEIGHT - TOP - BOTTOM:g}">'
        f"<title>{escape(text)}</title></rect>"
    )
