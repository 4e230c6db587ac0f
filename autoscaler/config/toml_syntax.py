"""The error in a text that is not TOML, and the likely fix.

`tomllib` reports what it expected where it stopped, which is seldom the cause.
"""

import re
from typing import NamedTuple

_SHOWN_CHARACTERS = 80
"""A longer line is not shown, because it does not help to find the place."""

_EXPLAINED_CHARACTERS = 1_000
"""A longer line is not searched for its error, which would take time that grows with its square."""

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"' + r"|'[^']*'")
_VALUE = re.compile(
    r"""(?P<key>[\w.-]+)\s*=\s*(?P<value>[^\s"'\[{,\]}\#][^,\]}\#]*)""",
)
_NUMBER = re.compile(r"[+-]?(0|[1-9][0-9]*)(\.[0-9]+)?")
_SECRET = re.compile(
    r"(?i)key|password|token|secret|auth|@|[A-Za-z0-9+/=]{24}"
    # The password in an address whose @ is damaged: after a colon, and no port.
    r"|:(?!//|\d{1,5}(?!\w)|[\\\s]|$)"
)
_WORD = re.compile(r"""[^\s.=:,"'\[\]{}\#]+""")
_LEAST_SECRET = 6
"""Characters. A shorter word beside a key that is not known is taken for no secret."""

_BOOLEANS = {"yes": "true", "on": "true", "no": "false", "off": "false"}


class SyntaxProblem(NamedTuple):
    line: int | None  # None: unknown
    column: int | None
    sentence: str


def syntax_problem(
    text: str, message: str, public_keys: frozenset[str] | None = None
) -> SyntaxProblem:
    """The problem of a text for which `tomllib` has this message.

    Args:
        public_keys: those whose lines may be shown. A line with any other may contain a secret
            whose key is misspelt. None: every line may be shown.
    """
    text = text.replace("\r\n", "\n")
    found = re.fullmatch(
        r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", message, re.DOTALL
    )
    what = found[1] if found else message
    line = int(found[2]) if found and found[2] else None
    column = int(found[3]) if found and found[3] else None
    lines = text.split("\n")
    begin = _unclosed(text) if what.startswith("Unclosed array") or line is None else None
    if begin is not None:
        line, column = begin, None
    elif line is None:
        line = _line_with_open_string(lines)
    if line is None:
        return SyntaxProblem(None, None, what)
    written = lines[line - 1]
    if len(written) > _EXPLAINED_CHARACTERS:
        return SyntaxProblem(line, column, _without_names(what))
    hidden = _hidden(written, public_keys)
    shown = "" if hidden else _shown(written)
    explained = _explained(what, written, may_quote=bool(shown))
    if any(word in explained for word in hidden):
        explained = _without_names(what)
    return SyntaxProblem(line, column, f"{explained}{f'; the line is: {shown}' if shown else ''}")


def _without_names(what: str) -> str:
    return re.sub(r" \(.*\)", "", what)


def _hidden(line: str, public_keys: frozenset[str] | None) -> list[str]:
    """The words of a line that may be secrets: long ones, if a key is not known."""
    words = _WORD.findall(re.sub(r"^\s*export\s", "", line))
    keys = re.findall(r"""([\w-]+)["']?\s*[=:]""", _STRING.sub('""', line))
    if public_keys is None or (words and public_keys.issuperset([words[0], *keys])):
        return []
    return [word for word in words if len(word) >= _LEAST_SECRET and word not in public_keys]


def _shown(line: str) -> str:
    """The line, unless it may contain a secret."""
    line = line.strip()
    secret = _SECRET.search(line)
    return line if line.isprintable() and len(line) <= _SHOWN_CHARACTERS and not secret else ""


def _explained(what: str, line: str, *, may_quote: bool) -> str:
    assignment = re.match(r"\s*([A-Za-z0-9_.-]+)\s*=", line)
    if what == "Cannot overwrite a value":
        key = assignment[1] if assignment else "a key"
        return f"{key} is set twice in the same table; keep one"
    if (table := re.fullmatch(r"Cannot declare \((.*?),?\) twice", what)) is not None:
        name = ".".join(re.findall(r"'([^']*)'", table[1]))
        return f"the table [{name}] is there twice; merge the two"
    return (
        _about_quotes(line)
        or _about_backslashes(what)
        or _about_headers(what, line)
        or _about_brackets(what, line)
        or _about_value(line, may_quote=may_quote)
        or _about_statement(what, line)
        or _about_equals(what, line)
        or what
    )


def _about_quotes(line: str) -> str:
    if re.search("[\u2018-\u201f]", line):
        return "typographic quotes are no quotes; use \" or '"
    plain = re.sub(r"\#.*", "", _STRING.sub("", line))
    if plain.count('"') % 2 or plain.count("'") % 2:
        return "a quote is missing: a text begins and ends with the same quote, on one line"
    return ""


def _about_backslashes(what: str) -> str:
    if "\\" in what or "hex value" in what:
        return (
            "a backslash begins an escape sequence in double quotes; "
            "use single quotes, as in 'C:\\certs\\ca.crt'"
        )
    return ""


def _about_headers(what: str, line: str) -> str:
    name = line.strip().strip("[] ")
    if "end of a table declaration" in what:
        return f"the closing ] is missing: [{name}]"
    if "end of an array declaration" in what:
        return f"the closing ]] is missing: [[{name}]]"
    if re.fullmatch(r"\s*[A-Za-z_.]+\]+\s*", line):
        brackets = line.count("]")
        return f"the opening {'[' * brackets} is missing: {'[' * brackets}{name}{']' * brackets}"
    return ""


def _about_brackets(what: str, line: str) -> str:
    if what == "Invalid initial character for a key part" and "{" in line:
        return "a table in { } must be on one line"
    if what.startswith("Unclosed inline table") and not _unquoted(line):
        return "a comma or the closing } is missing"
    is_open = _unclosed(line) is not None
    if (what.startswith("Unclosed array") or is_open) and not _unquoted(line):
        return "a comma or the closing ] is missing"
    return ""


def _about_value(line: str, *, may_quote: bool) -> str:
    """About the first value that is no TOML, with that value if it may be quoted."""
    found = _unquoted(line)
    if found is None:
        return ""
    key, value = found
    boolean = _BOOLEANS.get(value.lower(), value.lower())
    subject = f"the value of {key} is not TOML: "
    if boolean in {"true", "false"}:
        return f"{subject}a boolean is true or false, in lower case and without quotes"
    if re.fullmatch(r"[+-]?\.[0-9]+|[+-]?[0-9]+\.", value):
        return f"{subject}a number needs a digit before and after its point, as in 0.7"
    if re.fullmatch(r"0[0-9]+", value):
        return f"{subject}a number does not begin with 0"
    if re.fullmatch(r"[0-9.]+\s*%", value):
        return f"{subject}write a fraction, such as 0.7 for 70%"
    if re.match(r"[+-]?[0-9.]+\s*;", value):
        return f"{subject}remove the semicolon"
    if not value:
        return f"the value of {key} is missing after ="
    quoted = f': "{value}"' if may_quote and re.fullmatch(r"[^=\\]+", value) else ""
    return f"{subject}texts and durations need quotes{quoted}, and booleans are true or false"


def _unquoted(line: str) -> tuple[str, str] | None:
    """The first key whose value is neither in quotes nor a number or boolean, and that value."""
    plain = re.sub(r"\#.*", "", _STRING.sub('""', line)).rstrip()
    if (empty := re.fullmatch(r"\s*([\w.-]+)\s*=", plain)) is not None:
        return empty[1], ""
    for found in _VALUE.finditer(plain):
        value = found["value"].strip()
        if value not in {"true", "false"} and not _NUMBER.fullmatch(value):
            return found["key"], value
    if (array := re.fullmatch(r"\s*([\w.-]+)\s*=\s*\[(.*?)\]?", plain)) is not None:
        for value in (part.strip() for part in array[2].split(",")):
            valid = re.match(r'["{\[}]|true$|false$', value) or _NUMBER.fullmatch(value)
            if value and not valid:
                return array[1], value
    return None


def _about_equals(what: str, line: str) -> str:
    plain = re.sub(r"\#.*", "", _STRING.sub('""', line)).strip()
    if (trailing := re.fullmatch(r"[\w.-]+\s*=.*[^\s,;]\s*([,;])", plain)) is not None:
        return f"remove the {trailing[1]} at the end of the line"
    if re.fullmatch(r"[\w.-]+\s*=\s*[0-9]+(,[0-9]+)+", plain):
        return "a number has no commas; write 1000 for 1,000"
    if "after a key" not in what:
        return ""
    if re.fullmatch(r"[\w.-]+\s*:|-\s.*", plain):
        return "this is YAML, and a configuration is TOML; see config.example.toml"
    if (key := re.search(r"([\w.-]+)\s*:", plain)) is not None:
        return f"write = instead of : after {key[1]}"
    if (key := re.match(r"export\s+([\w.-]+)\s*=", plain)) is not None:
        return f"remove export before {key[1]}"
    if (key := re.fullmatch(r"([\w.-]+)(\s+.*=.*)", plain)) is not None:
        return "a key has no spaces, unless it is in quotes"
    if (key := re.fullmatch(r"([\w.-]+)(\s+.*)?", plain)) is not None:
        missing = "= is missing" if key[2] else "= and a value are missing"
        return f"{missing} after {key[1]}"
    return ""


def _about_statement(what: str, line: str) -> str:
    begin = line.strip()
    if begin.startswith((";", "//", "/*", "--", "!")) and not begin.startswith("---"):
        return "a comment begins with #"
    if begin.startswith("---"):
        return "this is YAML, and a configuration is TOML; see config.example.toml"
    if begin in {"{", "{}"}:
        return "this is JSON, and a configuration is TOML; see config.example.toml"
    if begin.startswith(("}", "]")):
        return f"{begin[0]} closes nothing; remove it, or put its table or list on one line"
    if what == "Invalid statement":
        return (
            "this is no statement: a line is a table such as [server], a key with its value such "
            'as poll_interval = "10s", or a comment that begins with #'
        )
    return ""


def _unclosed(text: str) -> int | None:
    """The line with the first [ of an array that is never closed."""
    open_at: list[int] = []
    for number, line in enumerate(text.split("\n"), start=1):
        plain = re.sub(r"\#.*", "", _STRING.sub('""', line))
        if not open_at and re.match(r"\s*\[", plain):
            continue  # the header of a table
        for character in plain:
            if character == "[":
                open_at.append(number)
            elif character == "]" and open_at:
                open_at.pop()
    return open_at[0] if open_at else None


def _line_with_open_string(lines: list[str]) -> int | None:
    short = (
        (n, line) for n, line in enumerate(lines, start=1) if len(line) <= _EXPLAINED_CHARACTERS
    )
    return next((n for n, line in short if _about_quotes(line)), None)
