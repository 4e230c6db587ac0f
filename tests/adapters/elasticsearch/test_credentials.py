"""Secrets: sent in the right form, read again when replaced, and never shown."""

from io import StringIO

import pytest
from rich.console import Console

from autoscaler.adapters.elasticsearch.credentials import Authorization
from autoscaler.adapters.elasticsearch.errors import ConnectionSettingsError
from autoscaler.connection import ApiKey, Basic, Bearer, Connection


def header(credentials):
    return Authorization(credentials).headers.get("Authorization")


def test_no_credentials_no_header():
    assert header(None) is None


@pytest.mark.parametrize(
    ("credentials", "expected"),
    [
        (ApiKey, "ApiKey dDBrZW4="),
        (lambda secret: Basic("user", secret), "Basic dXNlcjpkREJyWlc0PQ=="),
        (Bearer, "Bearer dDBrZW4="),
    ],
    ids=["api key", "basic", "bearer"],
)
def test_a_secret_may_be_in_a_file(tmp_path, credentials, expected):
    file = tmp_path / "secret"
    file.write_text("dDBrZW4=\n")
    assert header(credentials(file)) == header(credentials("dDBrZW4=")) == expected


def test_credentials_in_a_file_can_be_renewed(tmp_path):
    file = tmp_path / "secret"
    file.write_text("one")
    authorization = Authorization(Bearer(file))
    assert not authorization.renew()
    file.write_text("two")
    assert authorization.renew()
    assert authorization.headers == {"Authorization": "Bearer two"}


@pytest.mark.parametrize("damage", ["", "a\nb"])
def test_the_previous_credentials_stay_while_a_file_is_replaced(tmp_path, damage):
    file = tmp_path / "secret"
    file.write_text("one")
    authorization = Authorization(Bearer(file))
    file.write_text(damage)
    assert not authorization.renew()
    file.unlink()
    assert not authorization.renew()
    assert authorization.headers == {"Authorization": "Bearer one"}


def test_credentials_given_inline_cannot_be_renewed():
    assert not Authorization(ApiKey("id:key")).renew()


@pytest.mark.parametrize(
    ("credentials", "message"),
    [
        (ApiKey(""), "^api_key: must contain the secret on one line"),
        (ApiKey("id:k\r\nX-Evil: 1"), "^api_key: must contain the secret on one line"),
        (Bearer("tök"), "^bearer_token: must consist of ASCII"),
        (Basic("", "password"), "^username: must not be empty"),
        (Basic("a:b", "password"), "^username: .* colon"),
        (Basic("user", ""), "^password: must contain the secret on one line"),
    ],
)
def test_invalid_secrets(credentials, message):
    with pytest.raises(ConnectionSettingsError, match=message) as caught:
        Authorization(credentials)
    assert "X-Evil" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "^api_key_file: names no file in "),
        (b"", "^api_key_file: .*secret must contain the secret on one line"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"x" * 100_000, "larger than 64 KiB"),
    ],
)
def test_a_file_without_a_usable_secret(tmp_path, content, message):
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConnectionSettingsError, match=message):
        Authorization(ApiKey(file))


@pytest.mark.parametrize(
    "credentials", [ApiKey("s3cret"), Basic("user", "s3cret"), Bearer("s3cret")]
)
def test_secrets_are_not_shown(credentials):
    connection = Connection(hosts=("http://es",), auth=credentials)
    shown = StringIO()
    Console(file=shown, width=200).print(credentials, connection)
    texts = [repr(credentials), str(credentials), f"{credentials}", repr(connection)]
    texts += [repr(Authorization(credentials)), shown.getvalue()]
    assert not [text for text in texts if "s3cret" in text]
