"""The files that a replay writes."""

from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path

from msgspec import Struct

from autoscaler.backtest.results.file import ensure_apart, ensure_writable, write
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
    report_option: str = "--report"  # that names the page

    def ensure_writable(self, inputs: Iterable[Path | None], resume: Path | None = None) -> None:
        """
        Args:
            inputs: the files that are read; None: not given.
            resume: the file of finished deployments, which is written too.

        Raises:
            UsageError: one of them is also another one, or an input.
            UserError: one of them cannot be written.
        """
        given = {
            "--json": self.json,
            self.report_option: self.report,
            "--markdown": self.markdown,
        }
        outputs = {option: path for option, path in given.items() if path is not None}
        resumed = {} if resume is None else {"--resume": resume}
        ensure_apart(outputs | resumed, (path for path in inputs if path is not None))
        for path in outputs.values():
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
