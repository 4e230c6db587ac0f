"""The tables of [server]: TLS, users and the rate limit, and who else may read."""

import pytest
import trustme

from autoscaler.config import ConfigError, exposures, load, what_needs_restart
from autoscaler.server_access import RequestLimit, ServerAccess, is_loopback
from tests.messages import without_lines

HASH = "$2b$10$" + "abcdefghijklmnopqrstuu" + "ABCDEFGHIJKLMNOPQRSTUVWXYZ01234"
BASE = """
[elasticsearch]
hosts = ["https://es:9200"]
[server]
{table}
[[rules]]
name = "all"
max_allocations = 4
"""
TLS = '[server.tls]\ncert_file = "tls.crt"\nkey_file = "tls.key"\n'


@pytest.fixture
def configured(tmp_path):
    def configured(table=""):
        path = tmp_path / "config.toml"
        path.write_text(BASE.format(table=table))
        path.chmod(0o600)
        return load(path, {})

    return configured


@pytest.fixture(scope="module")
def issued():
    return trustme.CA().issue_cert("localhost")


@pytest.fixture
def files(tmp_path, issued):
    def write(one=issued, other=issued):
        (tmp_path / "tls.crt").write_bytes(one.cert_chain_pems[0].bytes())
        (tmp_path / "tls.key").write_bytes(other.private_key_pem.bytes())
        (tmp_path / "tls.key").chmod(0o600)
        return tmp_path

    return write


def problem_of(configured, table):
    with pytest.raises(ConfigError) as raised:
        configured(table)
    (problem,) = raised.value.problems
    return without_lines(problem).partition("config.toml: ")[2]


def test_by_default_it_is_plain_and_without_users_and_limits_on_loopback(configured):
    server = configured().server
    assert server.access == ServerAccess()
    assert is_loopback(server.host)


def test_all_of_it(configured, files):
    directory = files()
    table = f'{TLS}[server.users]\nalice = "{HASH}"\n[server.rate_limit]\nper_second = 2.0\n'
    access = configured(table).server.access
    assert access.tls is not None
    assert access.tls.cert_file == directory / "tls.crt"
    assert access.users == {"alice": HASH}
    assert access.rate_limit == RequestLimit(per_s=2.0, burst=20)
    assert HASH not in repr(access)


def test_all_of_it_takes_effect_at_once(configured, files):
    before = configured()
    files()
    table = f'{TLS}[server.users]\nalice = "{HASH}"\n[server.rate_limit]\nper_second = 2.0\n'
    assert what_needs_restart(before, configured(table)) == ()


def test_a_renewed_certificate_is_another_configuration(configured, files):
    files()
    before = configured(TLS)
    assert configured(TLS) == before
    renewed = trustme.CA().issue_cert("localhost")
    files(renewed, renewed)
    assert configured(TLS) != before


class TestProblems:
    def test_a_file_that_does_not_exist(self, configured, tmp_path):
        found = problem_of(configured, TLS)
        assert found == f"server.tls: {tmp_path}/tls.crt: no such file or directory"

    def test_a_key_of_another_certificate(self, configured, files):
        files(other=trustme.CA().issue_cert("localhost"))
        assert "the key is not that of the certificate" in problem_of(configured, TLS)

    @pytest.mark.parametrize("content", ["", "no certificate", "-----BEGIN CERTIFICATE-----\n"])
    def test_a_file_without_a_certificate(self, configured, files, content):
        (files() / "tls.crt").write_text(content)
        assert "no PEM certificate" in problem_of(configured, TLS)

    def test_an_encrypted_key_is_not_asked_for_on_the_terminal(self, configured, files, issued):
        from cryptography.hazmat.primitives import serialization

        key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
        (files() / "tls.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"secret"),
            )
        )
        assert "an unencrypted key" in problem_of(configured, TLS)

    def test_an_authority_of_clients_that_is_none(self, configured, files):
        (files() / "ca.crt").write_text("no certificate")
        table = f'{TLS}client_ca_file = "ca.crt"\n'
        assert "no PEM certificate of an authority" in problem_of(configured, table)

    def test_a_fifo_is_not_waited_for(self, configured, files):
        import os

        directory = files()
        (directory / "tls.crt").unlink()
        os.mkfifo(directory / "tls.crt")
        assert "it is a fifo, not a regular file" in problem_of(configured, TLS)

    @pytest.mark.parametrize(
        ("hashed", "problem"),
        [
            ("secret", "must be a bcrypt hash"),
            ("$apr1$abc$def", "must be a bcrypt hash"),
            (HASH.replace("uu", "uv"), "must be a bcrypt hash"),  # no salt has these bits
            (HASH.replace("$10$", "$04$"), "must have a cost from 10 to 14"),
            (HASH.replace("$10$", "$31$"), "must have a cost from 10 to 14"),
        ],
    )
    def test_a_password_that_is_no_good_hash_is_not_repeated(self, configured, hashed, problem):
        found = problem_of(configured, f'[server.users]\nalice = "{hashed}"\n')
        assert problem in found
        assert hashed not in found

    def test_closed_reads_without_anyone_who_may_read(self, configured):
        found = problem_of(configured, "open_reads = false")
        assert "must be true without a token and users" in found
        table = f'open_reads = false\n[server.users]\nalice = "{HASH}"\n'
        assert not configured(table).server.open_reads

    def test_a_user_whose_name_cannot_be_sent(self, configured):
        found = problem_of(configured, f'[server.users]\n"a:b" = "{HASH}"\n')
        assert "the name of a user must not be empty, and has no colon" in found

    @pytest.mark.parametrize(
        "limit", ["per_second = 0.0", "burst = 3", "per_second = 1.0\nburst = 0"]
    )
    def test_a_limit_that_permits_nothing(self, configured, limit):
        assert problem_of(configured, f"[server.rate_limit]\n{limit}\n")


class TestExposures:
    @pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
    def test_on_this_host_there_are_none(self, configured, host):
        assert list(exposures(configured(f'host = "{host}"'))) == []

    def test_reads_that_others_on_the_network_may_use(self, configured):
        (found,) = exposures(configured('host = "0.0.0.0"'))
        assert "reads need neither user nor token" in found

    def test_passwords_that_are_sent_unencrypted(self, configured):
        table = f'host = "0.0.0.0"\n[server.users]\nalice = "{HASH}"\n'
        (found,) = exposures(configured(table))
        assert "passwords and tokens are sent there unencrypted" in found

    def test_with_tls_and_users_there_are_none(self, configured, files):
        files()
        table = f'host = "0.0.0.0"\n{TLS}[server.users]\nalice = "{HASH}"\n'
        assert list(exposures(configured(table))) == []

    def test_a_key_that_others_on_this_host_may_read(self, configured, files):
        (files() / "tls.key").chmod(0o644)
        assert any("the key of the server" in each for each in exposures(configured(TLS)))
