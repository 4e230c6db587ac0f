"""Inference endpoints: ownership of deployments, and the bodies of updates."""

import msgspec
import pytest

from autoscaler.wire.deployments import AdaptivePatchDocument
from autoscaler.wire.inference import (
    EndpointDocument,
    EndpointPatch,
    MalformedEndpoints,
    UpdateEndpointRequest,
    parse_endpoints,
)


@pytest.mark.parametrize(
    ("service", "settings", "owns"),
    [
        ("elasticsearch", {"model_id": ".elser_model_2", "num_threads": 1}, True),
        ("elser", {"num_allocations": 1}, True),
        ("elser_mlnode", {"num_allocations": 1, "num_threads": 1}, True),
        ("text_embedding", {"model_id": ".multilingual-e5-small"}, True),
        ("renamed", {"num_threads": 1}, True),
        ("renamed", {"adaptive_allocations": {"enabled": True}}, True),
        ("elasticsearch", {"deployment_id": None}, True),
        ("elasticsearch", {"deployment_id": "there-before"}, False),
        ("openai", {"model_id": "x"}, False),
        ("azureopenai", {"deployment_id": "x"}, False),
        ("", {}, False),
    ],
)
def test_an_endpoint_owns_the_deployment_that_it_created(service, settings, owns):
    endpoint = EndpointDocument(inference_id="x", service=service, service_settings=settings)
    assert endpoint.owns_deployment is owns


def listed(**document):
    return parse_endpoints(msgspec.json.encode(document))


ELSER = {"task_type": "sparse_embedding", "service": "elser", "service_settings": {"a": []}}


def test_settings_of_other_services_may_be_anything():
    read = listed(endpoints=[ELSER | {"inference_id": "a", "service": "strange"}])
    assert [e.inference_id for e in read.endpoints] == ["a"]
    assert not read.endpoints[0].owns_deployment


def test_until_8_14_the_list_has_other_names():
    read = listed(models=[ELSER | {"model_id": "my-elser", "service_settings": {"model_id": "m"}}])
    (endpoint,) = read.endpoints
    assert (endpoint.inference_id, endpoint.owns_deployment) == ("my-elser", True)


def test_a_list_with_both_names_has_all_of_them():
    read = listed(endpoints=[ELSER | {"inference_id": "a"}], models=[ELSER | {"model_id": "b"}])
    assert [endpoint.inference_id for endpoint in read.endpoints] == ["a", "b"]


@pytest.mark.parametrize(
    "document", [{}, {"endpoint": []}, {"endpoints": None}, {"endpoints": 3}, {"models": {}}]
)
def test_anything_else_is_no_list(document):
    with pytest.raises(MalformedEndpoints):
        listed(**document)


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b"\xff", b'{"endpoints": [}'])
def test_so_is_what_cannot_be_read(body):
    with pytest.raises(MalformedEndpoints):
        parse_endpoints(body)


def test_a_damaged_endpoint_affects_only_itself():
    good = ELSER | {"inference_id": "good"}
    bad = [
        {"inference_id": "text", "service": "elser", "service_settings": "text"},
        {"inference_id": "no-service"},
        {"inference_id": 3, "service": "elser"},
        {"service": "elser"},
        "text",
        None,
    ]
    read = listed(endpoints=[bad[0], good, *bad[1:]])
    assert [e.inference_id for e in read.endpoints] == ["good"]
    assert read.unreadable == {"text", "no-service"}
    assert read.unnamed == 4


def test_an_endpoint_of_an_odd_deployment_is_unreadable():
    odd = ELSER | {"inference_id": "a", "service_settings": {"deployment_id": 5}}
    assert listed(endpoints=[odd]).unreadable == {"a"}


def test_null_settings_are_none():
    read = listed(endpoints=[ELSER | {"inference_id": "a", "service_settings": None}])
    assert read.endpoints[0].service_settings == {}


@pytest.mark.parametrize(
    ("patch", "body"),
    [
        (EndpointPatch(num_allocations=3), {"num_allocations": 3}),
        (
            EndpointPatch(adaptive_allocations=AdaptivePatchDocument(enabled=False)),
            {"adaptive_allocations": {"enabled": False}},
        ),
    ],
)
def test_only_changed_settings_are_sent(patch, body):
    request = UpdateEndpointRequest(service_settings=patch)
    assert msgspec.to_builtins(request) == {"service_settings": body}
