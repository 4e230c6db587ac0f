"""The template engine, with filters that write quantities as all other texts do."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from autoscaler.core.units import duration_text, percent_text, quantile_text
from autoscaler.text import printable, printable_lines

SHORT = 240
"""Characters of a sentence in the table of all deployments. The page of the deployment has all."""

UNKNOWN = "unknown"


def _clock(at: float) -> str:
    """
    >>> _clock(86_399.9)
    '23:59:59'
    """
    return f"{datetime.fromtimestamp(at, UTC):%H:%M:%S}"


def _moment(at: float) -> str:
    """
    >>> _moment(86_399.9)
    '01-01 23:59:59'
    """
    return f"{datetime.fromtimestamp(at, UTC):%m-%d %H:%M:%S}"


def _date(at: float) -> str:
    """
    >>> _date(86_399.9)
    '1970-01-01'
    """
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}"


def _ago(seconds: float) -> str:
    return f"{duration_text(float(round(seconds)))} ago"


def _known(value: float | None) -> str:
    return UNKNOWN if value is None else str(value)


def _decimals(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.2f}"


def _significant(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.4g}"


def _percent(fraction: float | None) -> str:
    return UNKNOWN if fraction is None else percent_text(fraction)


def _budget(left: float | None) -> str:
    """
    >>> _budget(0.41), _budget(-17.4), _budget(None)
    ('41% of the error budget left', '18 times the error budget used', 'error budget unknown')
    """
    if left is None:
        return "error budget unknown"
    if left < 0.0:
        return f"{1.0 - left:.2g} times the error budget used"
    return f"{percent_text(left)} of the error budget left"


def _wait(seconds: float | None) -> str:
    """A queue wait; None: the queue grows without a bound."""
    return "∞" if seconds is None else duration_text(seconds)


def _cost(cost: float | None) -> str:
    return "∞" if cost is None else f"{cost:.2f}"


def _short(text: str) -> str:
    return text if len(text) <= SHORT else f"{text[: SHORT - 1]}…"


def _lines(text: str) -> Markup:
    """A text of several lines, which stay separate."""
    return escape(printable_lines(text))


def _printable(value: Any) -> Any:
    """Any text that a template shows, and that has not been escaped yet."""
    return printable(value) if type(value) is str else value


_FILTERS = {
    "ago": _ago,
    "arrows": lambda text: text.replace("->", "→"),
    "budget": _budget,
    "clock": _clock,
    "cost": _cost,
    "date": _date,
    "decimals": _decimals,
    "duration": duration_text,
    "known": _known,
    "lines": _lines,
    "moment": _moment,
    "percent": _percent,
    "quantile": quantile_text,
    "short": _short,
    "significant": _significant,
    "wait": _wait,
    "words": lambda name: name.replace("_", " "),
}


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("autoscaler.adapters.admin_http.page"),
        autoescape=True,
        finalize=_printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(_FILTERS)
    environment.globals["static"] = _static_path
    return environment


def render(template: str, context: Mapping[str, Any]) -> str:
    """The template with its values, all of which are escaped."""
    text: str = _environment().get_template(f"{template}.html").render(context)
    return text


@cache
def static_file(name: str) -> bytes:
    """A file beside the templates."""
    return (files("autoscaler.adapters.admin_http.page") / "static" / name).read_bytes()


@cache
def _static_path(name: str) -> str:
    """The path of a file, which changes with it, so that browsers may keep it."""
    return f"/static/{hashlib.sha256(static_file(name)).hexdigest()[:12]}/{name}"
