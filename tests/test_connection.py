"""The connection: one place where it is validated, for the configuration and the adapter."""

import pytest

from autoscaler.connection import ApiKey, Basic, Connection, problems_of

ES = ("https://es:9200",)


def test_a_complete_one_has_no_problems(tmp_path):
    (tmp_path / "key").write_text("c2VzYW1l\n")
    (tmp_path / "ca.crt").touch()
    connection = Connection(hosts=ES, auth=ApiKey(tmp_path / "key"), ca_certs=tmp_path / "ca.crt")
    assert list(problems_of(connection)) == []


def test_all_problems_are_found(tmp_path):
    connection = Connection(
        hosts=("http://es:9200", "es:9201"),
        auth=Basic("a:b", tmp_path / "gone"),
        ca_certs=tmp_path / "ca.crt",
        ca_fingerprint="12:34",
        client_key=tmp_path,
    )
    assert list(problems_of(connection)) == [
        ("hosts", "must be an address such as https://localhost:9200"),
        ("username", "must not be empty or contain a colon"),
        ("password_file", f"{tmp_path / 'gone'} cannot be read: No such file or directory"),
        ("client_key", "requires client_certificate; set both"),
        ("ca_fingerprint", "must be a SHA-256 fingerprint: 64 hexadecimal digits"),
        ("ca_fingerprint", "excludes ca_certs; keep one of the two"),
        ("ca_fingerprint", "requires https:// in all hosts"),
        ("ca_certs", f"{tmp_path / 'ca.crt'} cannot be read: No such file or directory"),
        ("client_key", f"{tmp_path} cannot be read: Is a directory"),
    ]


@pytest.mark.parametrize(
    ("auth", "username"), [(None, None), (ApiKey("a"), None), (Basic("me", "secret"), "me")]
)
def test_the_user_name(auth, username):
    assert Connection(hosts=ES, auth=auth).username == username
