"""Results of back-tests as tables in a document: `... -m benchmarks.frontier JSON... DOCUMENT`.

The first file of results says what policies do as they are shipped, with several seeds. The others
add settings. What stands in the document between the lines BEGIN and END is replaced.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from autoscaler.backtest.results import file as files
from autoscaler.errors import InputError, UserError
from benchmarks.tables import told

BEGIN, END = "<!-- frontier: begin -->", "<!-- frontier: end -->"


def inserted(document: str, text: str, path: Path) -> str:
    """The document at a path with this text between the markers, instead of what was there.

    Raises:
        ConfigurationMistake: the markers are not there, or there are several.
    """
    before, _, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end or document.count(BEGIN) + document.count(END) > 2:
        raise InputError(
            f"{path} must have the line {BEGIN} once and after it the line {END} once; put them "
            "where the tables are to go"
        )
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def update(results: Sequence[Path], document: Path) -> None:
    """Put what the results say into the document.

    Raises:
        UserError: the results cannot be read or do not go together, or the document has no place for
            them or cannot be written. It is left as it was.
    """
    try:
        before = document.read_bytes().decode()
    except OSError as refusal:
        why = (refusal.strerror or str(refusal)).lower()
        raise InputError(f"cannot read {document}: {why}; name a document") from refusal
    except UnicodeDecodeError as error:
        raise InputError(f"{document} is not UTF-8: {error}; convert it") from error
    text = told([files.read(path) for path in results])
    files.write(document, inserted(before, text, document))


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.frontier", description=__doc__)
    parser.add_argument("results", nargs="+", type=Path, help="what `backtest --json` wrote")
    parser.add_argument("document", type=Path, help="with the two lines in it")
    chosen = parser.parse_args(arguments)
    try:
        update(chosen.results, chosen.document)
    except UserError as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        sys.exit(mistake.exit_code)


if __name__ == "__main__":
    main(sys.argv[1:])
