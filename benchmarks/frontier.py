"""Results of back-tests as tables in a document: `... -m benchmarks.frontier JSON... DOCUMENT`.

The first result file has all policies with default settings and several seeds. The others add
settings. The text of the document between the lines BEGIN and END is replaced.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from autoscaler.backtest.results import file as files
from autoscaler.errors import InputError, UserError
from benchmarks.tables import section

BEGIN, END = "<!-- frontier: begin -->", "<!-- frontier: end -->"


def inserted(document: str, text: str, path: Path) -> str:
    """The document with this text between the markers.

    Raises:
        InputError: the markers are absent or repeated.
    """
    before, _, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end or document.count(BEGIN) + document.count(END) > 2:
        raise InputError(
            f"{path} must have the line {BEGIN} once and after it the line {END} once; add them "
            "where the tables belong"
        )
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def update(results: Sequence[Path], document: Path) -> None:
    """Replace the tables of the document.

    Raises:
        UserError: the results cannot be read or are inconsistent, or the document has no markers or
            cannot be written. It stays unchanged.
    """
    try:
        before = document.read_bytes().decode()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"cannot read {document}: {reason}; name a document") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{document} is not UTF-8: {error}; convert it") from error
    text = section([files.read(path) for path in results])
    files.write(document, inserted(before, text, document))


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.frontier", description=__doc__)
    parser.add_argument("results", nargs="+", type=Path, help="files written by `backtest --json`")
    parser.add_argument("document", type=Path, help="a file with the two marker lines")
    chosen = parser.parse_args(arguments)
    try:
        update(chosen.results, chosen.document)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main(sys.argv[1:])
