"""Results of back-tests as tables in a document.

`python -m benchmarks.frontier TABLES SECTION JSON... DOCUMENT`: TABLES is `default` for policies
with default settings, `sweep` for policies at several settings, or `goals` for those of `slo`. The
text of the document between `<!-- SECTION: begin -->` and `<!-- SECTION: end -->` is replaced.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from autoscaler.backtest.results import file as files
from autoscaler.errors import InputError, UserError
from benchmarks.goals import goals_section
from benchmarks.tables import default_section, sweep_section

TABLES: Mapping[str, Callable[[Sequence[files.Results]], str]] = {
    "default": default_section,
    "sweep": sweep_section,
    "goals": goals_section,
}


def markers(section: str) -> tuple[str, str]:
    """The lines before and after a section."""
    return f"<!-- {section}: begin -->", f"<!-- {section}: end -->"


def inserted(document: str, text: str, section: str, path: Path) -> str:
    """The document with this text between the markers of the section.

    Raises:
        InputError: the markers are absent or repeated.
    """
    begin, end = markers(section)
    before, _, rest = document.partition(begin)
    _, found, after = rest.partition(end)
    if not found or document.count(begin) + document.count(end) > 2:
        raise InputError(
            f"{path} must have the line {begin} once and after it the line {end} once; add them "
            "where the tables belong"
        )
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"


def update(tables: str, section: str, results: Sequence[Path], document: Path) -> None:
    """Replace the tables of a section of the document.

    Args:
        tables: a key of `TABLES`.

    Raises:
        UserError: the results cannot be read or are inconsistent, or the document has no markers or
            cannot be written. It stays unchanged.
    """
    text = TABLES[tables]([files.read(path) for path in results])
    replace_section(document, section, text)


def publish(text: Callable[[], str], section: str, document: Path | None) -> None:
    """Print the text of a section, and replace it in the document, if there is one.

    Args:
        text: computes it, for up to an hour; called when the document is known to have the section.

    Raises:
        UserError: see `replace_section`.
    """
    if document is not None:
        inserted(_read(document), "", section, document)
    computed = text()
    print(computed)
    if document is not None:
        replace_section(document, section, computed)


def replace_section(document: Path, section: str, text: str) -> None:
    """Replace the text of a section of the document.

    Raises:
        UserError: the document cannot be read, has no markers or cannot be written. It stays
            unchanged.
    """
    files.write(document, inserted(_read(document), text, section, document))


def _read(document: Path) -> str:
    try:
        return document.read_bytes().decode()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"cannot read {document}: {reason}; name a document") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{document} is not UTF-8: {error}; convert it") from error


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.frontier", description=__doc__)
    parser.add_argument("tables", choices=sorted(TABLES), help="which tables")
    parser.add_argument("section", help="the name in the marker lines")
    parser.add_argument("results", nargs="+", type=Path, help="files written by `backtest --json`")
    parser.add_argument("document", type=Path, help="a file with the two marker lines")
    chosen = parser.parse_args(arguments)
    try:
        update(chosen.tables, chosen.section, chosen.results, chosen.document)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main(sys.argv[1:])
