"""Rules for the whole program and the repository."""

import re
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
MAX_LINES = 400
SOURCES = sorted((ROOT / "autoscaler").rglob("*.py"))
FOLDERS = ("autoscaler", "benchmarks", "deploy", "docs", "tests")
BINARIES = {".gz", ".png", ".pem"}


def kept_files():
    """Every text file of the repository."""
    inside = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))
    paths = [path for path in (*ROOT.glob("[!.]*"), *inside) if path.is_file()]
    generated = {"__pycache__", "node_modules"}
    return [
        path for path in paths if path.suffix not in BINARIES and generated.isdisjoint(path.parts)
    ]


def lines_with(pattern, paths):
    """`file:line: text` for every line in which the pattern is found."""
    return [
        f"{path.relative_to(ROOT)}:{line_number}: {line.strip()}"
        for path in paths
        for line_number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(pattern, line)
    ]


def test_all_that_a_decoder_raises_is_handled():
    """For bytes that are no text, and for deep nesting, it raises errors that are not its own."""
    assert [
        line
        for line in lines_with(r"except .*msgspec\.DecodeError", SOURCES)
        if not {"UnicodeDecodeError", "RecursionError"} <= set(re.findall(r"\w+", line))
        and "ValueError" not in line
    ] == []


def test_nothing_that_runs_against_a_cluster_imports_numpy():
    """It is a dependency for the simulation only."""
    script = (
        "import sys\n"
        "import autoscaler.daemon, autoscaler.check, autoscaler.cli, autoscaler.config\n"
        "import autoscaler.explain.client, autoscaler.explain.render\n"
        "import autoscaler.operate.release, autoscaler.operate.resume\n"
        "import autoscaler.operate.start, autoscaler.operate.stop\n"
        "raise SystemExit('numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == 0


def test_the_template_engine_is_not_imported_before_a_page_is_requested():
    """It takes memory and time that a daemon without an open page does not need."""
    script = "import sys, autoscaler.daemon; raise SystemExit('jinja2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == 0


def test_the_types_of_otlp_are_not_imported_without_an_endpoint():
    """They are an extra."""
    script = (
        "import sys\n"
        "import autoscaler.daemon, autoscaler.check, autoscaler.cli, autoscaler.config\n"
        "raise SystemExit('google.protobuf' in sys.modules or 'opentelemetry' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == 0


def test_imports_follow_the_rings():
    """docs/architecture.md; run `lint-imports` for the offending lines."""
    # In a separate process, because it disables all loggers.
    lint = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"
    ran = subprocess.run(
        [sys.executable, "-c", lint], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_layers_contract_is_exhaustive():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = [each for each in contracts["contracts"] if each["type"] == "layers"]
    assert [each["name"] for each in layers if not each.get("exhaustive")] == []


def test_every_package_has_a_layers_contract():
    """Adapters are in the contract of independent modules instead."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    covered = {name for each in contracts["contracts"] for name in each.get("containers", [])}
    packages = {".".join(path.parent.relative_to(ROOT).parts) for path in SOURCES}
    assert packages - covered - {"autoscaler.adapters"} == set()


def test_no_module_is_too_long():
    lengths = {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in SOURCES}
    assert {path: length for path, length in lengths.items() if length > MAX_LINES} == {}


def test_every_class_name_is_defined_once():
    names = [
        name
        for path in SOURCES
        for name in re.findall(r"^ *class (\w+)", path.read_text(), re.MULTILINE)
    ]
    assert [name for name, count in Counter(names).items() if count > 1] == []


def test_text_reaches_a_terminal_through_one_module():
    """Which escapes it. The demo draws its own bars, and its cluster is its own."""
    makers = r"\bText\(|\bText\.assemble\(|click\.echo\(|(?<![\w.])print\("
    allowed = {"terminal.py": "Text", "shared.py": "click.echo", "view.py": "Text"}
    found = [
        line
        for line in lines_with(makers, SOURCES)
        if ">>>" not in line and allowed.get(Path(line.split(":")[0]).name, "-") not in line
    ]
    assert [line for line in found if "printable_json(" not in line] == []


def test_no_leftovers():
    # Written so that this line does not match.
    leftovers = r"\b(TO[D]O|FIX[M]E|XX[X]|HAC[K])\b"
    assert lines_with(leftovers, [*SOURCES, *sorted((ROOT / "docs").rglob("*.md"))]) == []


def test_no_file_names_a_path_of_one_machine():
    # Paths such as /tmp or /home/user are allowed.
    places = r"(?<![\w.])(/[w]ork/|/[r]oot/|/[U]sers/\w|/[h]ome/(?!user\b)\w)"
    assert lines_with(places, kept_files()) == []


def test_the_package_can_be_run_as_a_module():
    ran = subprocess.run(
        [sys.executable, "-m", "autoscaler", "--version"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "autoscaler" in ran.stdout
