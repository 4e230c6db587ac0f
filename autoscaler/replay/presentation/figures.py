"""Figures of a replay as text: values with their 95% intervals, and differences in words."""

from autoscaler.core.units import percent_text
from autoscaler.replay.results import Estimate

SIMILAR = 0.1
"""A relative difference in hours that is called none. An interval that contains 0 and larger ones
shows no equality, only that the record does not suffice for a difference."""


def hours_text(hours: float) -> str:
    """
    >>> hours_text(3.14159), hours_text(31.2), hours_text(1234.5)
    ('3.1', '31', '1,234')
    """
    return f"{hours:.1f}" if abs(hours) < 10.0 else f"{hours:,.0f}"


def hours_with_interval(hours: Estimate) -> str:
    """
    >>> hours_with_interval(Estimate(31.2, 29.9, 33.0)), hours_with_interval(Estimate(24, 24, 24))
    ('31 (30 to 33)', '24')
    """
    return _with_interval(*map(hours_text, (hours.value, hours.low, hours.high)))


def percent_with_interval(fraction: Estimate) -> str:
    """
    >>> percent_with_interval(Estimate(0.004, 0.003, 0.006))
    '0.4% (0.3% to 0.6%)'
    """
    return _with_interval(*map(fraction_text, (fraction.value, fraction.low, fraction.high)))


def attainment_with_interval(late: Estimate) -> str:
    """The fraction of the requests that met the SLO.

    >>> attainment_with_interval(Estimate(0.0042, 0.003, 0.0061))
    '99.58% (99.39% to 99.70%)'
    """
    return _with_interval(*map(attainment_text, (late.value, late.high, late.low)))


def attainment_text(late: float) -> str:
    """Rounded down: 100% means all requests.

    >>> attainment_text(0.00001), attainment_text(0.0), attainment_text(-0.001)
    ('99.99%', '100%', '100%')
    """
    if late <= 0.0:
        return "100%"
    return f"{int(1e4 * (1.0 - min(late, 1.0)) + 1e-6) / 100.0:.2f}%"


def fraction_text(fraction: float) -> str:
    """A fraction, of which a correction may have made less than 0 or more than 1.

    >>> fraction_text(-0.002), fraction_text(0.021)
    ('0%', '2.1%')
    """
    return percent_text(min(1.0, max(0.0, fraction)))


def change_text(change: Estimate) -> str:
    """A relative difference in hours, in words.

    >>> change_text(Estimate(-0.31, -0.34, -0.28)), change_text(Estimate(0.1, 0.08, 0.12))
    ('31% fewer allocation-hours (28% to 34%)', '10% more allocation-hours (8% to 12%)')
    >>> change_text(Estimate(-0.01, -0.03, 0.02))
    'about as many allocation-hours (3% fewer to 2% more)'
    >>> change_text(Estimate(-0.19, -0.47, 0.09))
    'perhaps 19% fewer allocation-hours (47% fewer to 9% more)'
    """
    if change.low <= 0.0 <= change.high:
        if change.low == change.high:
            return "as many allocation-hours"
        bounds = f"{_directed(change.low)} to {_directed(change.high)}"
        if max(-change.low, change.high) <= SIMILAR:
            return f"about as many allocation-hours ({bounds})"
        return f"perhaps {_directed(change.value)} allocation-hours ({bounds})"
    low, high = sorted((abs(change.low), abs(change.high)))
    word = "fewer" if change.value < 0.0 else "more"
    bounds = f"{_size(low)} to {_size(high)}"
    return f"{_size(change.value)} {word} allocation-hours ({bounds})"


def signed_hours(hours: Estimate) -> str:
    """A difference, with a sign.

    >>> signed_hours(Estimate(-12.3, -14.1, -10.0)), signed_hours(Estimate(0.0, -1.0, 1.0))
    ('−12 (−14 to −10)', '0.0 (−1.0 to +1.0)')
    """
    return _with_interval(*map(signed, (hours.value, hours.low, hours.high)))


def signed(hours: float) -> str:
    """
    >>> signed(-3.21), signed(17.0), signed(-0.0)
    ('−3.2', '+17', '0.0')
    """
    text = hours_text(abs(hours))
    if not any(digit in text for digit in "123456789"):
        return text
    return f"{'−' if hours < 0.0 else '+'}{text}"


def money_text(amount: Estimate, currency: str, *, signs: bool = False) -> str:
    """An amount in a unit of any name.

    >>> money_text(Estimate(1234.5, 1200.4, 1300.0), "EUR")
    '1,234 EUR (1,200 to 1,300)'
    >>> money_text(Estimate(-3.25, -4.0, -2.5), "", signs=True)
    '−3.25 (−4.00 to −2.50)'
    """
    values = (amount.value, amount.low, amount.high)
    value, low, high = (_amount(each, signs=signs) for each in values)
    unit = f" {currency}" if currency else ""
    return f"{value}{unit}" if low == high else f"{value}{unit} ({low} to {high})"


def _amount(amount: float, *, signs: bool) -> str:
    text = f"{abs(amount):,.2f}" if abs(amount) < 100.0 else f"{abs(amount):,.0f}"
    sign = "−" if amount < 0.0 else "+" if signs and amount > 0.0 else ""
    return f"{sign}{text}"


def _directed(change: float) -> str:
    return f"{_size(change)} {'fewer' if change < 0.0 else 'more'}"


def _size(change: float) -> str:
    """
    >>> _size(-0.3149), _size(0.0213)
    ('31%', '2.1%')
    """
    return f"{abs(change):.0%}" if abs(change) >= 0.1 else percent_text(abs(change))


def _with_interval(value: str, low: str, high: str) -> str:
    return value if low == value == high else f"{value} ({low} to {high})"
