"""The files that a replay writes."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from msgspec import Struct

from autoscaler.backtest.results.file import ensure_writable, write
from autoscaler.config.values import ReportSettings
from autoscaler.errors import UserError
from autoscaler.replay.presentation import html, markdown
from autoscaler.replay.results import ReplayResults
from autoscaler.replay.results_file import to_json


class Outputs(Struct, frozen=True, kw_only=True):
    """The files to write; None: not."""

    json: Path | None = None
    report: Path | None = None
    markdown: Path | None = None

    def ensure_writable(self) -> None:
        """
        Raises:
            UserError: one of them cannot be written.
        """
        for path in (self.json, self.report, self.markdown):
            if path is not None:
                ensure_writable(path)

    def write(self, results: ReplayResults, settings: ReportSettings, made_at: datetime) -> None:
        """
        Raises:
            UserError: a file cannot be written; the others have been.
        """
        shown = f"{made_at:%Y-%m-%d %H:%M} UTC"
        texts: tuple[tuple[Path | None, Callable[[], str]], ...] = (
            (self.json, lambda: to_json(results, made_at.isoformat(timespec="seconds"))),
            (self.markdown, lambda: markdown.render(results, settings, made_at=shown)),
            (self.report, lambda: html.render(results, settings, made_at=shown)),
        )
        errors = []
        for path, text in texts:
            try:
                if path is not None:
                    write(path, text())
            except UserError as error:
                errors.append(str(error))
        if errors:
            raise UserError("; ".join(errors))
