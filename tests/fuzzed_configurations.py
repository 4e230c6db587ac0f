"""Configurations with random damage: none may cause anything but a sentence for each problem, and
none of the sentences may show a secret.

    python -m tests.fuzzed_configurations --count 20000 [--seed 1]

prints the seeds that violate that; `--count 1 --seed N` repeats one.
"""

import argparse
import random
import string
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from rich.pretty import pretty_repr

from autoscaler.config import ConfigError, load

ROOT = Path(__file__).parents[1]
EXAMPLE = (ROOT / "config.example.toml").read_text()
SHORT = """
poll_interval = "10s"
[elasticsearch]
hosts = ["https://es-1:9200"]
[server]
port = 9464
[defaults]
max_allocations = 8
[[rules]]
name = "search"
deployments = ["*-search"]
slo = { latency = "250ms", target = 0.95 }
[[rules]]
name = "night"
scale_to_zero = { after = "30m", via = "adaptive" }
mode = "bounds"
"""

ODD_VALUES = (
    *("", "=", "[", "]", "{", "}", "[[", "''", '""', '"""', "'''", "#", ",", "\\", "\x00", "\r"),
    *("0", "-1", "1e400", "nan", "-inf", "0x10", "9" * 30, "9" * 5_000, "1_000", "true", "null"),
    *("1979-05-27", "1979-05-27T07:32:00Z", "07:32:00", "[1, [2, [3]]]", "{ a = { b = 1 } }"),
    *('"\\u0000"', '"\\ud800"', '"\\U00110000"', '"\\x1b[2J"', '"\u202e"', '"\u2028"', "“x”"),
    *(
        '"' + "x" * 50_000 + '"',
        "[" * 3_000,
        "[" * 3_000 + "]" * 3_000,
        "{a=" * 500 + "1" + "}" * 500,
    ),
    *('"10s"', '"-1s"', '"1e9d"', '"* * * * *"', '"61 * * * *"', '"Nowhere/City"', "[]", "[[]]"),
    *('["*"]', "[{}]", '"10 s"', '"99999999999999999999d"', '"http://[::1"', '"http://a:b"'),
)
ODD_LINES = (
    *(
        "a" + ".a" * 2_000 + " = 1",
        "[" + "a." * 2_000 + "a]",
        "[[rules]]",
        "[rules]",
        "[elasticsearch]",
    ),
    *("rules = 1", "defaults = []", "elasticsearch = 1", "x = 1", '"\\u001b" = 1', '"" = 1'),
)
SECRET_KEYS = ("api_key", "password", "bearer_token")
MISSPELT = (
    "apikey",
    "api-key",
    "API_KEY",
    "passwd",
    "pasword",
    "token",
    "bearer",
    "api_keys",
    "auth",
)
TABLES = ("elasticsearch", "server", "logging", "defaults", "elastic", "rules")
VARIABLES = (
    *(
        "ELASTICSEARCH__HOSTS",
        "ELASTICSEARCH",
        "POLL_INTERVAL",
        "RULES",
        "DEFAULTS",
        "SERVER__PORT",
    ),
    *(
        "DEFAULTS__SLO",
        "DEFAULTS__SLO__TARGET",
        "DRY_RUN",
        "LOGGING__LEVEL",
        "NONSENSE",
        "RULES__0",
    ),
)


class Fuzzed(NamedTuple):
    content: bytes
    environ: dict[str, str]
    secret: str


def fuzzed(seed: int) -> Fuzzed:
    """The configuration of a seed. It contains the secret where secrets are, or at a place that
    somebody may take for the right one."""
    rng = random.Random(seed)
    secret = "".join(rng.choices(string.ascii_letters, k=20)) + rng.choice(("", "7", "=="))
    text = EXAMPLE if rng.random() < 0.3 else SHORT
    environ: dict[str, str] = {}
    text = _with_secret(rng, text, environ, secret)
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3, 5))):
        text = rng.choice(_DAMAGE)(rng, text)
    if rng.random() < 0.3:
        value = rng.choice((*ODD_VALUES, "true", "[{}]", '[{"name": 1}]', "[" * 2_000))
        environ[f"AUTOSCALER_{rng.choice(VARIABLES)}"] = value.replace("\x00", "")
    content = text.encode(errors="surrogatepass")
    if rng.random() < 0.1:
        content = _with_odd_bytes(rng, content)
    return Fuzzed(content, environ, secret)


def _with_secret(rng: random.Random, text: str, environ: dict[str, str], secret: str) -> str:
    key = rng.choice(SECRET_KEYS)
    forms = ('"{}"', "'{}'", "{}", '"{}', '["{}"]', '{{ value = "{}" }}', '"""{}\n"""')
    value = rng.choice((forms[0], rng.choice(forms))).format(secret)
    match rng.randrange(6):
        case 0:
            return _in_table(text, "elasticsearch", f"{key} = {value}")
        case 1:
            return _in_table(text, rng.choice(TABLES), f"{rng.choice(MISSPELT)} = {value}")
        case 2:
            return _in_table(text, rng.choice(TABLES), f"{key} = {value}")
        case 3:
            return text.replace("https://", f"https://elastic:{secret}@", 1)
        case 4:
            environ[f"AUTOSCALER_ELASTICSEARCH__{key.upper()}"] = secret
        case _:
            name = rng.choice((*SECRET_KEYS, *MISSPELT)).upper()
            environ[f"AUTOSCALER_{rng.choice(('', 'ELASTICSEARCH__', 'SERVER__'))}{name}"] = secret
    return text


def _in_table(text: str, table: str, line: str) -> str:
    header = f"[[{table}]]" if table == "rules" else f"[{table}]"
    if header not in text:
        return f"{text}\n{header}\n{line}\n"
    return text.replace(header, f"{header}\n{line}", 1)


def _line_removed(rng: random.Random, text: str) -> str:
    lines = text.split("\n")
    del lines[rng.randrange(len(lines))]
    return "\n".join(lines)


def _line_repeated(rng: random.Random, text: str) -> str:
    lines = text.split("\n")
    lines.insert(rng.randrange(len(lines)), rng.choice(lines))
    return "\n".join(lines)


def _odd_line(rng: random.Random, text: str) -> str:
    lines = text.split("\n")
    lines.insert(rng.randrange(len(lines)), rng.choice(ODD_LINES))
    return "\n".join(lines)


def _truncated(rng: random.Random, text: str) -> str:
    return text[: rng.randrange(len(text) + 1)]


def _odd_value(rng: random.Random, text: str) -> str:
    """A key that is set, or one that is commented out in the example, has another value."""
    lines = text.split("\n")
    places = [n for n, line in enumerate(lines) if "=" in line]
    if places:
        place = rng.choice(places)
        key = lines[place].partition("=")[0].lstrip("# ")
        if not any(word in key for word in (*SECRET_KEYS, *MISSPELT)):
            lines[place] = f"{key}= {rng.choice(ODD_VALUES)}"
    return "\n".join(lines)


def _odd_text(rng: random.Random, text: str) -> str:
    place = rng.randrange(len(text) + 1)
    return text[:place] + rng.choice(ODD_VALUES) + text[place:]


def _odd_characters(rng: random.Random, text: str) -> str:
    characters = list(text) or [" "]
    for _ in range(rng.randint(1, 8)):
        characters[rng.randrange(len(characters))] = chr(
            rng.choice((0, 9, 34, 39, 61, 91, 92, 8232))
        )
    return "".join(characters)


_DAMAGE: tuple[Callable[[random.Random, str], str], ...] = (
    *(_line_removed, _line_repeated, _odd_line, _truncated, _odd_value, _odd_value, _odd_text),
    _odd_characters,
)


def _with_odd_bytes(rng: random.Random, content: bytes) -> bytes:
    place = rng.randrange(len(content) + 1)
    return (
        content[:place]
        + rng.choice((b"\xff", b"\xef\xbb\xbf", b"\x80\x80", b"\xed\xa0\x80"))
        + content[place:]
    )


def violation(seed: int, directory: Path) -> str:
    """What is wrong with the result of a seed; empty if nothing is."""
    content, environ, secret = fuzzed(seed)
    path = directory / "config.toml"
    path.write_bytes(content)
    try:
        config = load(path, environ)
    except ConfigError as error:
        shown = [*error.problems, *error.warnings]
        if not error.problems or not all(map(str.strip, error.problems)):
            return "an empty problem"
    except BaseException:
        return traceback.format_exc(limit=-4)
    else:
        shown = [repr(config), pretty_repr(config), config.fingerprint, *config.warnings]
    core = secret.rstrip("=")
    # A part of a damaged secret is not recognised, but one of half its length would be a leak.
    parts = (core, core[:12], core[-12:])
    return next(
        (f"shows the secret: {text[:300]}" for text in shown if any(p in text for p in parts)), ""
    )


def violations(seeds: range) -> Iterator[tuple[int, str]]:
    with tempfile.TemporaryDirectory() as directory:
        for seed in seeds:
            if found := violation(seed, Path(directory)):
                yield seed, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, help="the first one; default: a random one, printed")
    given = parser.parse_args()
    first = random.SystemRandom().randrange(1 << 31) if given.seed is None else given.seed
    print(f"seeds {first} to {first + given.count - 1}")
    found = 0
    for seed, text in violations(range(first, first + given.count)):
        found += 1
        print(f"seed {seed}: {text}")
    print(f"{found} violations")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
