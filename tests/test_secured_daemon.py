"""Commands against a daemon with TLS and users."""

import asyncio
import threading
from contextlib import contextmanager
from datetime import UTC, datetime

import bcrypt
import pytest
import trustme
from click.testing import CliRunner
from prometheus_client import CollectorRegistry

from autoscaler.adapters.admin_http import (
    AdminServer,
    ClusterPages,
    DecisionRecorder,
    Guard,
    Health,
    Tokens,
)
from autoscaler.adapters.history import History
from autoscaler.cli import main
from autoscaler.connection import Bearer
from autoscaler.server_access import ServerAccess, ServerTls
from tests.fakes import FakeClock

TOKEN = "a-token-of-the-test"
PASSWORD = "a password of the test"
HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def directory(tmp_path, authority):
    """A directory with the certificate of the daemon, its authority, and a password."""
    issued = authority.issue_cert("localhost")  # and not the address 127.0.0.1
    issued.cert_chain_pems[0].write_to_path(tmp_path / "tls.crt")
    issued.private_key_pem.write_to_path(tmp_path / "tls.key")
    authority.cert_pem.write_to_path(tmp_path / "ca.crt")
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    return tmp_path


@pytest.fixture
def daemon(directory):
    """The port of a daemon with TLS and a user."""
    with serving(ServerAccess(tls=tls_of(directory), users={"alice": HASH})) as port:
        yield port


def tls_of(directory, **more):
    return ServerTls(cert_file=directory / "tls.crt", key_file=directory / "tls.key", **more)


@contextmanager
def serving(access):
    """Serves the history; yields the port."""
    started, ended, ports = threading.Event(), threading.Event(), []

    async def serve():
        clock = FakeClock(1_000.0)
        history = History(clock, None)
        pages = ClusterPages(
            Health(clock, 10.0),
            DecisionRecorder(clock, "1.2.3"),
            read_history=history.read,
        )
        server = AdminServer(
            CollectorRegistry(),
            pages,
            host="127.0.0.1",
            port=0,
            version="1.2.3",
            guard=Guard(Tokens(Bearer(TOKEN)), allowed_hosts=("localhost",)),
        )
        server.replace_access(access)
        async with server:
            ports.append(server.port)
            started.set()
            await asyncio.to_thread(ended.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    started.wait()
    try:
        yield ports[0]
    finally:
        ended.set()
        thread.join()


def configured(directory, port):
    """The path of a configuration of the daemon."""
    path = directory / "config.toml"
    path.write_text(
        f"""
[elasticsearch]
hosts = ["http://127.0.0.1:9"]
[server]
port = {port}
token = "{TOKEN}"
[server.tls]
cert_file = "tls.crt"
key_file = "tls.key"
"""
    )
    return str(path)


def history(*arguments, code=0):
    result = CliRunner().invoke(main, ["history", *arguments])
    assert result.exit_code == code, result.output
    assert PASSWORD not in result.output
    assert TOKEN not in result.output
    return result.output


def user(directory, name="alice"):
    return ("--user", name, "--password-file", str(directory / "password"))


def test_with_its_configuration_the_daemon_is_known_by_its_certificate(directory, daemon):
    config = configured(directory, daemon)
    assert "Nothing is recorded" in history("--config", config)


def test_another_certificate_than_the_configured_one_is_not_trusted(directory, daemon):
    other = trustme.CA().issue_cert("localhost")
    other.cert_chain_pems[0].write_to_path(directory / "tls.crt")
    other.private_key_pem.write_to_path(directory / "tls.key")
    config = configured(directory, daemon)
    shown = history("--config", config, code=1)
    assert "is not trusted" in shown
    assert f"it has to be the one in {directory}/tls.crt" in shown


def test_an_expired_certificate_has_to_be_renewed(directory, authority):
    expired = authority.issue_cert("localhost", not_after=datetime(2001, 1, 1, tzinfo=UTC))
    expired.cert_chain_pems[0].write_to_path(directory / "tls.crt")
    expired.private_key_pem.write_to_path(directory / "tls.key")
    with serving(ServerAccess(tls=tls_of(directory))) as port:
        shown = history("--config", configured(directory, port), code=1)
        assert "certificate has expired; renew it" in shown


def test_elsewhere_its_authority_is_named(directory, daemon):
    url = ("--url", f"https://localhost:{daemon}")
    shown = history(*url, *user(directory), code=1)
    assert "is not trusted: its certificate is not trusted" in shown
    assert "set --ca to the authority" in shown
    ca = ("--ca", str(directory / "ca.crt"))
    assert "Nothing is recorded" in history(*url, *ca, *user(directory))


def test_an_authority_that_is_none(directory, daemon):
    url = ("--url", f"https://localhost:{daemon}")
    (directory / "ca.crt").write_text("no certificate")
    shown = history(*url, "--ca", str(directory / "ca.crt"), code=1)
    assert f"{directory}/ca.crt cannot be used" in shown
    assert "cannot be used: no such file" in history(*url, "--ca", "/nowhere/ca.crt", code=1)


def test_users_and_passwords_that_are_wrong(directory, daemon):
    given = ("--url", f"https://localhost:{daemon}", "--ca", str(directory / "ca.crt"))
    assert "a user is required" in history(*given, code=1)
    assert "the user or the password is wrong" in history(*given, *user(directory, "bob"), code=1)
    (directory / "password").unlink()
    assert "no such file" in history(*given, *user(directory), code=78)


@pytest.mark.parametrize("option", ["--user", "--password-file"])
def test_a_user_without_a_password_is_wrong_usage(option):
    assert "need each other" in history(option, "alice", code=2)


def test_a_daemon_without_tls_at_an_address_with_https(directory):
    config = configured(directory, 1)
    shown = history("--config", config, code=1)
    assert "cannot connect to the daemon at https://127.0.0.1:1" in shown


def test_a_daemon_that_requires_a_certificate_of_its_clients(directory, authority):
    client = directory / "client.pem"
    authority.issue_cert("alice@example.com").private_key_and_cert_chain_pem.write_to_path(client)
    with serving(ServerAccess(tls=tls_of(directory, client_ca_file=directory / "ca.crt"))) as port:
        config = configured(directory, port)
        shown = history("--config", config, code=1)
        assert "a certificate of the client is required" in shown
        given = ("--config", config, "--client-certificate", str(client))
        assert "Nothing is recorded" in history(*given)
        client.write_text("no certificate")
        assert f"{client} cannot be used: it is no PEM certificate" in history(*given, code=1)
