"""Masks the secrets that this program sends, in what comes back: servers and proxies may repeat
requests in their responses, with headers."""

import html
import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from urllib.parse import quote

MASK = b"***"

MAX_SECRETS = 32
"""Secrets that are masked at most; the oldest are dropped. 32: two forms of the present secret and
of the last fifteen before it, because responses and queued requests may still contain those."""

MIN_LENGTH = 8
"""Characters of a secret that is masked. A shorter one may be a part of any word or number, and
what is masked cannot be read any more."""

MIN_WORD_LENGTH = 12
"""The same for a secret of lower-case letters, which may be a word of a name or of the API."""


class SecretMask:
    """The secrets that were in use, and what each looks like in a response: as it is, and escaped
    for JSON, HTML or a URL, or in Base64, also as a part of a longer text."""

    def __init__(self) -> None:
        self._secrets: dict[str, tuple[bytes, ...]] = {}
        self._forms: tuple[bytes, ...] = ()

    def __repr__(self) -> str:
        return "SecretMask(...)"

    def add(self, *secrets: str) -> None:
        """Mask these from now on, if they can be distinguished from other text."""
        for secret in filter(_is_distinctive, secrets):
            self._secrets[secret] = self._secrets.pop(secret, ()) or tuple(_forms(secret))
        while len(self._secrets) > MAX_SECRETS:
            del self._secrets[next(iter(self._secrets))]
        forms = {form for forms in self._secrets.values() for form in forms}
        # A short form may be a part of a longer one.
        self._forms = tuple(sorted(forms, key=len, reverse=True))

    def masked(self, body: bytes) -> bytes:
        """The body without the secrets."""
        for form in self._forms:
            body = body.replace(form, MASK)
        return body


def _is_distinctive(secret: str) -> bool:
    if len(secret) < MIN_LENGTH or secret.isdigit():
        return False
    return len(secret) >= MIN_WORD_LENGTH or not (secret.isalpha() and secret.islower())


def _forms(secret: str) -> Iterator[bytes]:
    # The padding of Base64 reveals nothing, and is escaped in many ways.
    text = secret.rstrip("=") or secret
    in_json = json.dumps(text)[1:-1]
    encoded = quote(text, safe="")
    texts = (
        text,
        html.escape(text),
        in_json,
        in_json.replace("/", "\\/"),
        # Some libraries escape these for HTML (google/gson, `JsonWriter.java`).
        in_json.replace("=", "\\u003d").replace("&", "\\u0026").replace("'", "\\u0027"),
        encoded,
        quote(text),
        encoded.replace("%2F", "%2f").replace("%2B", "%2b").replace("%3D", "%3d"),
    )
    for each in texts:
        yield each.encode()
    for encode in (b64encode, urlsafe_b64encode):
        yield from _in_base64(text.encode(), encode)


def _in_base64(secret: bytes, encode: Callable[[bytes], bytes]) -> Iterator[bytes]:
    """The secret in the Base64 of a longer text, by its place in a group of three bytes: the
    characters that depend on nothing else."""
    for before in range(3):
        text = encode(bytes(before) + secret)
        yield text[(4 * before + 2) // 3 : 4 * (before + len(secret)) // 3]
