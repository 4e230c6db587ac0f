"""What holds for the program as a whole, and for the repository it lives in."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
MOST_LINES = 500
SOURCES = sorted((ROOT / "autoscaler").rglob("*.py"))
FOLDERS = ("autoscaler", "benchmarks", "deploy", "docs", "tests")
BINARIES = {".gz", ".png", ".pem"}


def kept_files():
    """Every text file of the repository."""
    inside = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))
    paths = [path for path in (*ROOT.glob("[!.]*"), *inside) if path.is_file()]
    made = "__pycache__"
    return [path for path in paths if path.suffix not in BINARIES and made not in path.parts]


def lines_with(pattern, paths):
    """`file:line: text` for every line in which the pattern is found."""
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in paths
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(pattern, line)
    ]


def test_imports_follow_the_rings():
    """docs/architecture.md; run `lint-imports` for the offending lines."""
    # In a process of its own, because it silences every logger that there is.
    lint = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"
    ran = subprocess.run(
        [sys.executable, "-c", lint], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_no_module_is_longer_than_one_can_read_at_once():
    lengths = {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in SOURCES}
    assert {path: length for path, length in lengths.items() if length > MOST_LINES} == {}


def test_nothing_is_left_undone():
    # Spelt so that this line is not one of them.
    leftovers = r"\b(TO[D]O|FIX[M]E|XX[X]|HAC[K])\b"
    assert lines_with(leftovers, [*SOURCES, *sorted((ROOT / "docs").rglob("*.md"))]) == []


def test_nothing_names_a_place_on_somebodys_machine():
    # Not what a container or a manual may well name, such as /tmp or /home/user.
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


class TestReadme:
    TEXT = (ROOT / "README.md").read_text()

    def test_what_it_tells_to_make_can_be_made(self):
        targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
        named = set(re.findall(r"^make ([\w-]+)|`make ([\w-]+)", self.TEXT, re.MULTILINE))
        wanted = {first or second for first, second in named}
        assert wanted
        assert wanted <= targets

    def test_its_commands_and_options_exist(self):
        from autoscaler.cli import main

        used = re.findall(rf"autoscaler ({'|'.join(main.commands)})\b([^\n`|]*)", self.TEXT)
        assert used
        for name, rest in used:
            options = {option for each in main.commands[name].params for option in each.opts}
            given = set(re.findall(r"--[\w-]+", rest)) - {"--help"}
            assert given <= options, f"autoscaler {name} {rest}"

    def test_its_links_lead_somewhere(self):
        links = re.findall(r"\]\(([^)#:]+)\)", self.TEXT)
        assert [link for link in links if not (ROOT / link).exists()] == []
