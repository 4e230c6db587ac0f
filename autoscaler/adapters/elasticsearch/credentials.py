"""From credentials to the Authorization header, and from an old header to a renewed one."""

from base64 import b64encode
from pathlib import Path

from autoscaler.adapters.elasticsearch.connection import ApiKey, Basic, Bearer, Credentials
from autoscaler.adapters.elasticsearch.errors import ConnectionSettingsError

_MAX_SECRET_BYTES = 64 * 1024  # of a file; a token has a few kilobytes at most


class Authorization:
    """The header to send. Those read from a file can be renewed when they are refused.

    Raises:
        ConnectionSettingsError: the file cannot be read, or what is given cannot be a secret.
    """

    def __init__(self, credentials: Credentials | None) -> None:
        self._credentials = credentials
        self._header = _header(credentials)

    def __repr__(self) -> str:
        return "Authorization(...)"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": self._header} if self._header else {}

    def renew(self) -> bool:
        """Read the file again. False: the same credentials, or none that could be used."""
        try:
            header = _header(self._credentials)
        except ConnectionSettingsError:
            return False  # a file in the middle of being replaced; the old secret stays
        changed = header != self._header
        self._header = header
        return changed


def _header(credentials: Credentials | None) -> str:
    match credentials:
        case None:
            return ""
        case ApiKey(key):
            text = _secret(key, "API key")
            return f"ApiKey {_base64(text) if ':' in text else text}"
        case Basic(username, password):
            if not username or ":" in username or not username.isprintable():
                raise ConnectionSettingsError("the user name is empty or contains a colon")
            return f"Basic {_base64(username + ':' + _secret(password, 'password'))}"
        case Bearer(token):
            return f"Bearer {_secret(token, 'token')}"


def _secret(given: str | Path, what: str) -> str:
    text = (_read(given, what) if isinstance(given, Path) else given).strip()
    where = f" in {given}" if isinstance(given, Path) else ""
    if not text:
        raise ConnectionSettingsError(f"the {what}{where} is empty")
    # A line break would end the header; other characters cannot be in one, save in a password,
    # which is encoded.
    if not text.isprintable() or not (text.isascii() or what == "password"):
        raise ConnectionSettingsError(f"the {what}{where} contains characters it cannot have")
    return text


def _read(path: Path, what: str) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_SECRET_BYTES + 1)
        if len(content) > _MAX_SECRET_BYTES:
            raise ConnectionSettingsError(f"the file {path} is too large to hold the {what}")
        return content.decode()
    except OSError as error:
        raise ConnectionSettingsError(
            f"the file {path} with the {what} cannot be read: {error.strerror}"
        ) from error
    except UnicodeDecodeError as error:
        raise ConnectionSettingsError(f"the file {path} with the {what} is not a text") from error


def _base64(text: str) -> str:
    return b64encode(text.encode()).decode()
