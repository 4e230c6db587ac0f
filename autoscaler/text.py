"""Text from outside, without the characters that act where it is shown.

An id, a node's name or the reason of an error may contain escape sequences of terminals, line ends
that begin a forged line, and marks that reverse the direction of writing. `str.isprintable` is
false for all of them: the Unicode categories Cc, Cf, Cs, Co, Cn, Zl, Zp, and Zs except the space.
"""

import re

_LIKE_AN_ESCAPE = re.compile(r"\\[\\tnrxuU]")


def printable(text: str) -> str:
    """The text on one line; a character that is not printable is an escape sequence of Python.

    >>> printable("a\\x1b[2Jb\\nc")
    'a\\\\x1b[2Jb\\\\nc'
    >>> printable("5 → 7 ± 0.5")
    '5 → 7 ± 0.5'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def printable_lines(text: str) -> str:
    """The same for a text of several lines, which stay separate.

    >>> printable_lines("a\\nb\\rc")
    'a\\nb\\\\rc'
    """
    return "\n".join(map(printable, text.split("\n")))


def label(text: str) -> str:
    r"""As `printable`, and different for different texts, for use as the label of a metric.

    >>> label("a\\b"), label("e5\x1b"), label("e5\\x1b")
    ('a\\b', 'e5\\x1b', 'e5\\\\x1b')
    """
    if text.isprintable() and not _LIKE_AN_ESCAPE.search(text):
        return text
    return printable(text.replace("\\", "\\\\"))


def printable_json(document: str) -> str:
    """JSON of the same meaning, whose strings have only printable characters.

    >>> printable_json('{"id": "e5\\u2028\\U000e0001"}')
    '{"id": "e5\\\\u2028\\\\udb40\\\\udc01"}'
    """
    if document.isprintable():
        return document
    return "".join(c if c.isprintable() or c in "\n\t\r" else _json_escaped(c) for c in document)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _json_escaped(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))
