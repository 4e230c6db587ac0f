"""The fenced blocks, commands and links of the documents."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")],
)
PRESENT = [
    path
    for path in DOCUMENTS
    if path.name != "CHANGELOG.md" and path.parent != ROOT / "docs/decisions"
]
"""What is said of the program as it is; a change or a decision may name what was before."""
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Block:
    """One fenced block: `document` from the root of the repository, `line` of its opening fence."""

    document: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"

    def commands(self) -> list[list[str]]:
        """The words of each simple command of a shell block."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [command for line in lines for command in simple_commands(line)]


def simple_commands(line: str) -> list[list[str]]:
    """The commands of a line without variables, redirections and operators.

    >>> simple_commands('HOST=a (umask 077; openssl rand "$N" > file) # in a file')
    [['umask', '077'], ['openssl', 'rand', '$N']]
    """
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    commands: list[list[str]] = [[]]
    redirected = False
    for word in lexer:
        if re.fullmatch(r"[();|&]+", word):
            commands.append([])
        elif re.fullmatch(r"[<>]+", word):
            redirected = True
        elif redirected or (not commands[-1] and re.match(r"[A-Z_]+=", word)):
            redirected = False
        else:
            commands[-1].append(word)
    return [command for command in commands if command]


def _blocks_of(path: Path) -> list[Block]:
    text = path.read_text()
    return [
        Block(
            str(path.relative_to(ROOT)),
            text.count("\n", 0, found.start()) + 1,
            found[1],
            found[2],
        )
        for found in _FENCE.finditer(text)
    ]


BLOCKS = [block for path in DOCUMENTS for block in _blocks_of(path)]


def in_language(*languages: str) -> list[Block]:
    return [block for block in BLOCKS if block.language in languages]


def the_block(document: str, containing: str) -> Block:
    """The only block of a document with this text."""
    (found,) = [b for b in BLOCKS if b.document == document and containing in b.text]
    return found


def prose(path: Path) -> str:
    """A document without its blocks."""
    return _FENCE.sub("", path.read_text())


def spans(path: Path) -> list[str]:
    """The code in the sentences of a document, each on one line."""
    return [" ".join(span.split()) for span in _SPAN.findall(prose(path))]
