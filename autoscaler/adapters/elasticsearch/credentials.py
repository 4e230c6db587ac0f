"""The Authorization header: built from the credentials, and renewed from their file."""

from base64 import b64encode

from autoscaler.adapters.elasticsearch.errors import ConnectionSettingsError, ensure_none
from autoscaler.connection import (
    ApiKey,
    Basic,
    Bearer,
    Credentials,
    credential_problems,
    secret_of,
)


class Authorization:
    """The header to send. Credentials from a file can be read again, after a 401 or at any time.

    Attributes:
        renewals: how often the header has changed.

    Raises:
        ConnectionSettingsError: the file cannot be read, or the secret is invalid.
    """

    def __init__(self, credentials: Credentials | None) -> None:
        self._credentials = credentials
        self._header = _header(credentials)
        self.renewals = 0

    def __repr__(self) -> str:
        return "Authorization(...)"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": self._header} if self._header else {}

    def renew(self) -> bool:
        """Read the file again. Returns whether it contained different, usable credentials."""
        try:
            header = _header(self._credentials)
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


def _header(credentials: Credentials | None) -> str:
    ensure_none(credential_problems(credentials))
    try:
        match credentials:
            case None:
                return ""
            case ApiKey(key):
                text = secret_of(key)
                return f"ApiKey {_base64(text) if ':' in text else text}"
            case Basic(username, password):
                secret = secret_of(password, ascii_only=False)
                return f"Basic {_base64(f'{username}:{secret}')}"
            case Bearer(token):
                return f"Bearer {secret_of(token)}"
    except ValueError as error:  # the file was replaced since it was checked
        raise ConnectionSettingsError(str(error)) from error


def _base64(text: str) -> str:
    return b64encode(text.encode()).decode()
