"""The connection: one place where it is validated, for the configuration and the adapter."""

import pytest

from autoscaler.connection import ApiKey, Basic, Bearer, Connection, exposures, problems_of

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
        ("hosts", "must be an address such as https://localhost:9200, not 'es:9201'"),
        ("username", "must not be empty or contain a colon"),
        (
            "password_file",
            (
                f"names no file in {tmp_path}; its name is not shown, because it may be the "
                "secret itself; put that into a file, and name the file"
            ),
        ),
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


@pytest.mark.parametrize(
    ("auth", "name"),
    [(ApiKey("a"), "API key"), (Basic("me", "secret"), "password"), (Bearer("t"), "token")],
)
def test_credentials_over_plain_http_are_exposed(auth, name):
    hosts = ("http://es:9200", "https://es:9200", "http://10.0.0.1/es")
    first, second = exposures(Connection(hosts=hosts, auth=auth))
    assert first == (
        f"the {name} is sent to http://es:9200 without encryption, so everyone on the network "
        "between can read it; use an address that begins with https://"
    )
    assert "http://10.0.0.1/es" in second


@pytest.mark.parametrize(
    "host", ["http://localhost:9200", "http://127.0.0.1:9200", "http://[::1]:9200", "https://es"]
)
def test_nothing_is_exposed_on_one_machine_or_by_https(host):
    assert list(exposures(Connection(hosts=(host,), auth=ApiKey("a")))) == []


def test_certificates_that_are_not_verified_are_said_with_or_without_credentials():
    for auth in (None, ApiKey("a")):
        (sentence,) = exposures(Connection(hosts=ES, auth=auth, verify_certificates=False))
        assert sentence.startswith("certificates are not verified (verify_certificates = false)")
        assert sentence.endswith("set ca_certs or ca_fingerprint instead")


def test_without_credentials_nothing_is_exposed():
    assert list(exposures(Connection(hosts=("http://es:9200",)))) == []


@pytest.mark.parametrize(("mode", "exposed"), [(0o644, True), (0o640, False), (0o600, False)])
def test_a_file_that_everyone_can_read_is_exposed(tmp_path, mode, exposed):
    key = tmp_path / "key"
    key.write_text("c2VzYW1l")
    key.chmod(mode)
    sentence = (
        f"the API key in {key} can be read by every user of this machine; "
        f"withdraw that with `chmod o-r {key}`"
    )
    found = exposures(Connection(hosts=ES, auth=ApiKey(key)))
    assert list(found) == ([sentence] if exposed else [])


class TestFilesThatEveryUserCanChange:
    @pytest.fixture
    def own(self, tmp_path):
        """A file in a directory of its own."""
        (tmp_path / "own").mkdir()
        path = tmp_path / "own" / "file"
        path.write_text("c2VzYW1l")
        path.chmod(0o600)
        return path

    @pytest.mark.parametrize("mode", [0o602, 0o622])
    def test_the_file(self, own, mode):
        own.chmod(mode)
        sentence = (
            f"{{}} in {own} can be changed by every user of this machine; withdraw that with "
            f"`chmod o-w {own}`"
        )
        for found, what in (
            (exposures(Connection(hosts=ES, auth=ApiKey(own))), "the API key"),
            (exposures(Connection(hosts=ES, ca_certs=own)), "the certificate authorities"),
        ):
            assert list(found) == [sentence.format(what)]

    def test_its_directory(self, own):
        own.parent.chmod(0o707)
        assert list(exposures(Connection(hosts=ES, auth=ApiKey(own)))) == [
            (
                f"the API key in {own} can be replaced by every user of this machine; withdraw "
                f"that with `chmod o-w {own.parent}`"
            )
        ]

    @pytest.mark.parametrize("mode", [0o700, 0o770, 0o1777])
    def test_a_directory_in_which_others_cannot_replace_it(self, own, mode):
        own.parent.chmod(mode)
        assert list(exposures(Connection(hosts=ES, auth=ApiKey(own)))) == []
