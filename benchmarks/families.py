"""Families of traces of the same kind: one is left out when a constant is chosen on the others."""

import re

SHAPES = {
    "daily cycle": ("diurnal", "jul95", "taxi"),
    "flash crowd": ("flash", "plateau", "launch", "aapl"),
    "spikes and noise": ("minute_spikes", "conv", "elb"),
    "idle gaps": ("idle", "fleet"),
    "on and off": ("square", "regime"),
    "levels and growth": ("levels", "growth"),
    "mixed": ("servegen",),
}
"""Families of chosen shapes by parts of the names of their traces; the first match counts."""

POPULATIONS = {"fn": ("functions", 10), "client": ("clients", 5)}
"""Kinds of the cross-section, whose numbers rise with burstiness, and the traces of a family."""

CROSS_SECTION, CHOSEN_SHAPES = "cross-section", "shapes"
"""The two sets of traces."""

_NUMBERED = re.compile(r"wide_(fn|client)_(\d+)$")


def family_of(trace: str) -> str:
    """The family of a trace.

    >>> family_of("azure_fn_square_wave"), family_of("wide_fn_07"), family_of("wide_client_13")
    ('on and off', 'functions 0 to 9', 'clients 10 to 14')
    """
    if numbered := _NUMBERED.search(trace):
        kind, size = POPULATIONS[numbered[1]]
        first = int(numbered[2]) // size * size
        return f"{kind} {first} to {first + size - 1}"
    return next(
        (name for name, parts in SHAPES.items() if any(part in trace for part in parts)), "other"
    )


def population_of(trace: str) -> str:
    """The set that a trace is part of.

    >>> population_of("wide_fn_07"), population_of("azure_fn_levels")
    ('cross-section', 'shapes')
    """
    return CROSS_SECTION if _NUMBERED.search(trace) else CHOSEN_SHAPES


def rank_of(family: str) -> tuple[str, int]:
    """Sorts families by kind, then by number.

    >>> sorted(["functions 20 to 29", "functions 0 to 9", "clients 5 to 9"], key=rank_of)
    ['clients 5 to 9', 'functions 0 to 9', 'functions 20 to 29']
    """
    kind, _, number = family.partition(" ")
    first = number.partition(" ")[0]
    return (kind, int(first)) if first.isdigit() else (family, 0)
