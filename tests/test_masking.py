"""The secrets that a server may repeat in a response are masked, in every form it may give them."""

import html
import json
from base64 import b64encode, urlsafe_b64encode
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.adapters.elasticsearch.credentials import Authorization
from autoscaler.connection import ApiKey, Basic, Bearer
from autoscaler.masking import MASK, MAX_SECRETS, SecretMask

TOKEN = "Zm9v/mJh+k4tbm90LWEtd29yZC1vZi1hLW5hbWU="
PASSWORD = 'pä"ss<w>/örd&='


def mask_of(*secrets):
    mask = SecretMask()
    mask.add(*secrets)
    return mask


def in_lower_case(text):
    return quote(text, safe="").replace("%2F", "%2f").replace("%2B", "%2b").replace("%3D", "%3d")


@pytest.mark.parametrize(
    "form",
    [
        str,
        json.dumps,
        lambda text: json.dumps(text).replace("/", "\\/"),
        lambda text: json.dumps(text).replace("=", "\\u003d").replace("&", "\\u0026"),
        quote,
        lambda text: quote(text, safe=""),
        quote_plus,
        in_lower_case,
        html.escape,
        lambda text: b64encode(text.encode()).decode(),
        lambda text: b64encode(f"user:{text}".encode()).decode(),
        lambda text: b64encode(f"ApiKey {text} and more".encode()).decode(),
        lambda text: urlsafe_b64encode(f"{text}\n".encode()).decode(),
    ],
    ids=[
        "as it is",
        "JSON",
        "JSON with escaped slashes",
        "JSON escaped for HTML",
        "a path",
        "a part of a path",
        "a form",
        "lower-case hexadecimal",
        "HTML",
        "Base64",
        "in Base64 after five characters",
        "in Base64 after seven characters",
        "Base64 for URLs",
    ],
)
@pytest.mark.parametrize("secret", [TOKEN, PASSWORD])
def test_a_secret_is_masked_in_each_form(secret, form):
    escaped = form(secret)
    masked = mask_of(secret).masked(f"before {escaped} after".encode())
    assert MASK in masked
    assert masked.startswith(b"before ")
    assert masked.endswith(b" after")
    # What may be left of it is the padding, and characters that depend on others.
    assert len(masked) < len("before  after") + len(form("before ") + form(" after")) + 8


@given(
    before=st.binary(max_size=9), after=st.binary(max_size=9), secret=st.text("aB3/+=", min_size=8)
)
def test_a_secret_is_masked_wherever_it_is_in_base64(before, after, secret):
    if secret.isdigit() or not secret.rstrip("="):
        return
    masked = mask_of(secret).masked(b64encode(before + secret.encode() + after))
    assert MASK in masked


def test_what_is_masked_stays_json():
    document = {"error": {"reason": f"unknown header ApiKey {TOKEN}", "n": [1, 2]}, TOKEN: True}
    masked = json.loads(mask_of(TOKEN).masked(json.dumps(document).encode()))
    assert masked["error"] == {"reason": "unknown header ApiKey ***=", "n": [1, 2]}


@pytest.mark.parametrize(
    "secret", ["", "short", "12345678901234", "started", "elastic", "changing"]
)
def test_what_may_be_a_word_or_a_number_is_not_masked(secret):
    body = json.dumps({"state": "started", "n": 12345678901234, "name": secret}).encode()
    assert mask_of(secret).masked(body) == body


def test_nothing_is_masked_without_secrets():
    assert SecretMask().masked(b'{"count": 0}') == b'{"count": 0}'


def test_the_last_secrets_are_masked():
    secrets = [f"a-secret-number-{number:04d}" for number in range(MAX_SECRETS + 1)]
    mask = mask_of(*secrets)
    assert mask.masked(secrets[0].encode()) == secrets[0].encode()
    assert all(mask.masked(secret.encode()) == MASK for secret in secrets[1:])


def test_a_mask_does_not_show_its_secrets():
    assert TOKEN not in f"{mask_of(TOKEN)!r} {mask_of(TOKEN)}"


@pytest.mark.parametrize(
    ("credentials", "shown"),
    [
        (ApiKey("VuaCfGcBCdbkQm-e5aOx:ui2lp2axTNmsyakw9tvNnw"), "ui2lp2axTNmsyakw9tvNnw"),
        (
            ApiKey(b64encode(b"VuaCfGcBCdbkQm:ui2lp2axTNmsyakw9tvNnw").decode()),
            "ui2lp2axTNmsyakw9tvNnw",
        ),
        (Basic("elastic", "changeme"), "elastic:changeme"),
        (Basic("elastic", "k3eps-quiet"), "k3eps-quiet"),
        (Bearer("AAEAAWVsYXN0aWMvZmxlZXQ"), "AAEAAWVsYXN0aWMvZmxlZXQ"),
    ],
    ids=["id and key", "encoded key", "user and password", "password", "token"],
)
def test_credentials_are_masked_as_sent_and_as_the_server_knows_them(credentials, shown):
    authorization = Authorization(credentials)
    header = authorization.headers["Authorization"]
    scheme, _, secret = header.partition(" ")
    assert secret.encode() not in authorization.mask.masked(header.encode())
    assert authorization.mask.masked(header.encode()).startswith(f"{scheme} ***".encode())
    assert authorization.mask.masked(f"[{shown}]".encode()) == b"[***]"


def test_former_credentials_stay_masked(tmp_path):
    file = tmp_path / "token"
    file.write_text("the-first-token")
    authorization = Authorization(Bearer(file))
    file.write_text("the-second-token")
    assert authorization.renew()
    authorization.replace(Bearer("the-third-token"))
    repeated = b"the-first-token the-second-token the-third-token"
    assert authorization.mask.masked(repeated) == b"*** *** ***"
