"""The history as lines, oldest first, so that the latest is next to the prompt."""

from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from autoscaler.terminal import plain, print_line
from autoscaler.wire.history_views import HistoryEntryView, HistoryResponse

_BAD = frozenset({"no_effect", "allocations_missing", "observation_failed", "config_refused"})
"""Kinds that need attention."""

_GOOD_OUTCOMES = frozenset({"", "accepted", "unchanged", "dry_run"})


def render_history(response: HistoryResponse, since: float, console: Console) -> None:
    """Print the entries, and where they are kept."""
    if response.next:
        limit = f"The latest {len(response.entries)}; --limit shows more."
        print_line(console, limit, "dim")
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for entry in reversed(response.entries):
        attention = entry.kind in _BAD or entry.outcome not in _GOOD_OUTCOMES
        table.add_row(
            plain(time_text(entry.at), "dim"),
            plain(_kind(entry), "bold yellow" if attention else ""),
            plain(_sentence(entry)),
        )
    if response.entries:
        console.print(table)
    else:
        print_line(console, f"Nothing is recorded since {time_text(since)}.", "bold")
    kept_in = response.kept_in or "the memory of the daemon, until it ends"
    print_line(console, f"From {kept_in}.", "dim")


def time_text(at: float) -> str:
    """Date and time of day, to the second.

    >>> time_text(1_760_000_000.0)
    '2025-10-09 08:53:20 UTC'
    """
    try:
        return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return f"{at:g} s"  # no instant of the calendar


def _kind(entry: HistoryEntryView) -> str:
    outcome = "" if entry.outcome in {"", "unchanged"} else f": {entry.outcome}"
    return f"{entry.kind}{outcome}".replace("_", " ")


def _sentence(entry: HistoryEntryView) -> str:
    by = f", by {entry.by}" if entry.by else ""
    reason = f": {entry.stated_reason}" if entry.stated_reason else ""
    return f"{entry.message}{by}{reason}"
