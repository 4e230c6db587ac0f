"""The users who may read, by their passwords.

A password is compared with its hash in a thread, one at a time, because bcrypt takes long on
purpose. What was right is remembered, since Prometheus sends the same password with each scrape.
"""

import asyncio
import base64
import binascii
import hashlib
import secrets
from collections.abc import Mapping

from autoscaler.server_access import MAX_PASSWORD_BYTES

MAX_WAITING = 8
"""How many passwords may wait to be compared. Each takes up to a second of a processor."""


class TooManyPasswords(Exception):
    """Too many passwords wait to be compared already."""


class Users:
    """The users and the hashes of their passwords, which can be replaced at any time."""

    def __init__(self, hashes: Mapping[str, str]) -> None:
        self._lock = asyncio.Lock()
        self._waiting = 0
        self.replace(hashes)

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def replace(self, hashes: Mapping[str, str]) -> None:
        """Use other users from now on."""
        self._hashes = dict(hashes)
        self._key = secrets.token_bytes(32)
        self._right: set[bytes] = set()  # digests with the key of users and their passwords

    async def named_by(self, authorization: str) -> str | None:
        """The user whom an Authorization header proves; None: none.

        Raises:
            TooManyPasswords: too many others wait.
        """
        given = _basic(authorization)
        if given is None:
            return None
        name, password = given
        hashes, key, right = self._hashes, self._key, self._right
        digest = hashlib.blake2b(name.encode() + b"\0" + password, key=key).digest()
        if digest in right:
            return name
        if self._waiting >= MAX_WAITING:
            raise TooManyPasswords("too many passwords are being compared; wait")
        self._waiting += 1
        try:
            async with self._lock:
                # An unknown user takes as long as a known one.
                hashed = hashes.get(name) or next(iter(hashes.values()))
                found = await asyncio.to_thread(_matches, password, hashed)
        finally:
            self._waiting -= 1
        if not found or name not in hashes:
            return None
        right.add(digest)
        return name


def _matches(password: bytes, hashed: str) -> bool:
    import bcrypt  # noqa: PLC0415 - only where there are users

    if len(password) > MAX_PASSWORD_BYTES or b"\0" in password:
        return False
    return bool(bcrypt.checkpw(password, hashed.encode()))


def _basic(authorization: str) -> tuple[str, bytes] | None:
    """The user and the password of a header as in RFC 7617; None: it is no such header."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
        return (name.decode(), password) if colon else None
    except (binascii.Error, ValueError):
        return None
