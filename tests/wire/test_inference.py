"""Inference endpoints: ownership of deployments, and the bodies of updates."""

import msgspec
import pytest

from autoscaler.wire.deployments import AdaptivePatchDocument
from autoscaler.wire.inference import (
    EndpointDocument,
    EndpointPatch,
    EndpointsResponse,
    UpdateEndpointRequest,
)


@pytest.mark.parametrize(
    ("service", "settings", "owns"),
    [
        ("elasticsearch", {"model_id": ".elser_model_2", "num_threads": 1}, True),
        ("elser", {"num_allocations": 1}, True),
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


def test_settings_of_other_services_may_be_anything():
    body = {
        "endpoints": [
            {
                "inference_id": "a",
                "service": "strange",
                "service_settings": {"num_allocations": []},
            },
            {"inference_id": "b", "service": "elser", "chunking_settings": {"strategy": "none"}},
        ]
    }
    read = msgspec.convert(body, EndpointsResponse)
    assert [e.inference_id for e in read.endpoints if e.owns_deployment] == ["b"]


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
