"""The Authorization header: built from the credentials, and renewed from their file."""

import binascii
from base64 import b64decode, b64encode
from typing import NamedTuple

from autoscaler.adapters.elasticsearch.errors import ConnectionSettingsError, ensure_none
from autoscaler.connection import (
    ApiKey,
    Basic,
    Bearer,
    Credentials,
    credential_problems,
    secret_of,
)
from autoscaler.masking import SecretMask


class Authorization:
    """The header to send. Credentials from a file can be read again, after a 401 or at any time.

    Attributes:
        renewals: how often the header has changed.
        mask: of every secret that was in use, the former ones included.

    Raises:
        ConnectionSettingsError: the file cannot be read, or the secret is invalid.
    """

    def __init__(self, credentials: Credentials | None) -> None:
        self._credentials = credentials
        self.mask = SecretMask()
        self._header = self._masked_header()
        self.renewals = 0

    def __repr__(self) -> str:
        return "Authorization(...)"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": self._header} if self._header else {}

    def renew(self) -> bool:
        """Read the file again. Returns whether it contained different, usable credentials."""
        try:
            header = self._masked_header()
        except ConnectionSettingsError:
            return False  # the file is being replaced; the previous secret stays
        changed = header != self._header
        self._header = header
        self.renewals += changed
        return changed

    def replace(self, credentials: Credentials | None) -> None:
        """Use other credentials, as soon as their file can be read."""
        self._credentials = credentials
        self.renew()

    def _masked_header(self) -> str:
        header, secrets = _header(self._credentials)
        self.mask.add(*secrets)
        return header


class _AuthorizationHeader(NamedTuple):
    text: str
    secrets: tuple[str, ...]  # that it contains, in each form in which a server knows them


def _header(credentials: Credentials | None) -> _AuthorizationHeader:
    ensure_none(credential_problems(credentials))
    try:
        match credentials:
            case None:
                return _AuthorizationHeader("", ())
            case ApiKey(key):
                text = secret_of(key)
                encoded = _base64(text) if ":" in text else text
                return _AuthorizationHeader(f"ApiKey {encoded}", (encoded, _key_in(encoded)))
            case Basic(username, password):
                secret = secret_of(password, ascii_only=False)
                pair = f"{username}:{secret}"
                return _AuthorizationHeader(f"Basic {_base64(pair)}", (_base64(pair), pair, secret))
            case Bearer(token):
                secret = secret_of(token)
                return _AuthorizationHeader(f"Bearer {secret}", (secret,))
    except ValueError as error:  # the file was replaced since it was checked
        raise ConnectionSettingsError(str(error)) from error


def _key_in(encoded: str) -> str:
    """The secret part of an encoded API key, `base64(id:api_key)`; "" if it has another form."""
    try:
        return b64decode(encoded, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _base64(text: str) -> str:
    return b64encode(text.encode()).decode()
