"""Addresses: which are accepted, and the order in which hosts are tried."""

from base64 import b64encode

import pytest
from yarl import URL

from autoscaler.adapters.elasticsearch.errors import ConnectionSettingsError
from autoscaler.adapters.elasticsearch.hosts import MAX_BACK_OFF_S, Hosts, urls_of
from autoscaler.connection import Connection


def cloud_id(text, name="demo:"):
    return name + b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("given", "url"),
    [
        (cloud_id("cloud.example$abc$def"), "https://abc.cloud.example"),
        (cloud_id("cloud.example$abc"), "https://abc.cloud.example"),
        (cloud_id("cloud.example:9243$abc$def"), "https://abc.cloud.example:9243"),
        (cloud_id("cloud.example:9243$abc:444$def"), "https://abc.cloud.example:444"),
        (cloud_id("cloud.example$abc$def", name=""), "https://abc.cloud.example"),
        (cloud_id("cloud.example$abc$", name="a:b:"), "https://abc.cloud.example"),
    ],
)
def test_a_cloud_id_names_a_host(given, url):
    assert urls_of(Connection(cloud_id=given)) == (URL(url),)


@pytest.mark.parametrize(
    "given",
    [
        "demo:%%%",
        "demo:",
        cloud_id("cloud.example"),
        cloud_id("$abc$def"),
        cloud_id("cloud.example$$def"),
        cloud_id("cloud.example:port$abc$def"),
        "demo:/w==",
    ],
)
def test_a_cloud_id_that_cannot_be_decoded(given):
    with pytest.raises(ConnectionSettingsError, match="cloud_id"):
        urls_of(Connection(cloud_id=given))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((), "set hosts or cloud_id; neither is set"),
        (("es:9200",), "must be an address"),
        (("",), "must be an address"),
        (("ftp://es",), "must be an address"),
        (("https://",), "must be an address"),
        (("https://es:port",), "must be an address"),
        (("https://es:99999",), "must be an address"),
        (("https://es:9200/?pretty",), "must be an address"),
        (("https://es:9200", "es-2"), "must be an address"),
    ],
)
def test_addresses_that_cannot_be_used(given, message):
    with pytest.raises(ConnectionSettingsError, match=message):
        urls_of(Connection(hosts=given))


def test_hosts_and_cloud_id_exclude_each_other():
    with pytest.raises(ConnectionSettingsError, match="not both"):
        urls_of(Connection(hosts=("http://es",), cloud_id=cloud_id("cloud.example$abc")))


def test_a_password_in_an_address_is_refused_and_not_repeated():
    with pytest.raises(ConnectionSettingsError, match="must not contain credentials") as caught:
        urls_of(Connection(hosts=("https://elastic:s3cret@es:9200",)))
    assert "s3cret" not in str(caught.value)


def hosts(*names):
    return Hosts([URL(f"http://{name}") for name in names])


def order(group, now=0.0):
    return "".join(host.url.host for host in group.in_turn(now))


def test_hosts_take_turns():
    group = hosts("a", "b", "c")
    assert [order(group) for _ in range(4)] == ["abc", "bca", "cab", "abc"]


def test_excluded_hosts_come_last_by_end_of_exclusion():
    group = hosts("a", "b", "c")
    a, b, _ = group.in_turn(0.0)
    a.failed(0.0)
    a.failed(0.0)
    b.failed(0.0)
    assert order(group) == "cba"
    assert order(group, now=MAX_BACK_OFF_S) == "cab"


def test_the_exclusion_of_a_host_doubles_up_to_a_maximum():
    (host,) = hosts("a").in_turn(0.0)
    times = []
    for _ in range(2000):
        host.failed(0.0)
        times.append(host.excluded_until)
    assert times == sorted(times)
    assert times[:3] == [1.0, 2.0, 4.0]
    assert times[-1] == MAX_BACK_OFF_S


def test_a_success_ends_the_exclusion():
    (host,) = hosts("a").in_turn(0.0)
    host.failed(0.0)
    host.succeeded()
    host.failed(100.0)
    assert host.excluded_until == 101.0
