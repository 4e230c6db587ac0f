"""docs/licences.md lists every distribution that an installation contains, with its licence.

`WRITE_EXPECTED=1 pytest tests/test_licences.py` writes the table. A licence is read from the
metadata of the installed distribution; a line for other interpreters only is not installed here.
"""

import os
import re
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/licences.md"
HEADING = "| package | licence | needed by |\n| --- | --- | --- |\n"
PERMISSIVE = {
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "LLVM-exception",
    "MIT",
    "PSF-2.0",
    "Zlib",
}
"""Licences, by their SPDX identifiers, that permit use and distribution in any product."""
SPDX = {
    "Apache 2.0": "Apache-2.0",
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "License :: OSI Approved :: BSD License": "BSD-3-Clause",
    "License :: OSI Approved :: MIT License": "MIT",
    "BSD": "BSD-2-Clause",
}
"""What metadata without an SPDX expression says, where the text of the licence has been read."""


def locked(lock):
    text = (ROOT / lock).read_text()
    return {Requirement(line).name for line in re.findall(r"^(\w.*?) *\\?$", text, re.MULTILINE)}


def licence_of(name):
    found = metadata.metadata(name)
    stated = found.get("License-Expression") or found.get("License") or ""
    if not stated or "\n" in stated:
        classifiers = found.get_all("Classifier") or []
        (stated,) = {each for each in classifiers if each.startswith("License :: OSI")}
    return SPDX.get(stated, stated)


def table():
    daemon, backtests = locked("requirements.lock"), locked("requirements-backtest.lock")
    rows = (
        f"| {name} | {licence_of(name)} | {'the daemon' if name in daemon else 'back-tests'} |\n"
        for name in sorted(daemon | backtests)
    )
    return HEADING + "".join(rows)


def test_the_page_is_current():
    text = PAGE.read_text()
    head, _, after = text.partition(HEADING)
    rest = re.sub(r"\A(\|.*\n)*", "", after)
    if os.environ.get("WRITE_EXPECTED"):
        PAGE.write_text(head + table() + rest)
    assert PAGE.read_text() == head + table() + rest


def test_every_licence_is_permissive():
    row = r"^\| ([a-z0-9-]+) \| (.+) \| (?:the daemon|back-tests) \|$"
    listed = re.findall(row, PAGE.read_text(), re.MULTILINE)
    assert {name for name, _ in listed} == locked("requirements-backtest.lock")
    for name, licence in listed:
        assert set(re.split(r" (?:AND|OR|WITH) ", licence)) <= PERMISSIVE, name
