"""Documents about the cluster: reading with missing fields, and rendering."""

import msgspec
import pytest
from msgspec.structs import replace

from autoscaler.wire.cluster import (
    AuthenticateResponse,
    HasPrivilegesResponse,
    InfoResponse,
    LicenseResponse,
    MemoryResponse,
    MlInfoResponse,
    MlMemory,
    NodesResponse,
)

FORMS = (
    InfoResponse,
    NodesResponse,
    MemoryResponse,
    MlInfoResponse,
    AuthenticateResponse,
    HasPrivilegesResponse,
)


@pytest.mark.parametrize("form", FORMS)
def test_nothing_is_required(form):
    empty = msgspec.json.decode(b"{}", type=form)
    assert msgspec.json.decode(msgspec.json.encode(empty), type=form) == empty


@pytest.mark.parametrize("form", FORMS)
def test_unknown_fields_are_ignored(form):
    assert msgspec.json.decode(b'{"new_in_10": [1]}', type=form)


def test_a_licence_is_required():
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b"{}", type=LicenseResponse)


def test_an_unlimited_licence():
    body = b'{"license":{"status":"active","type":"enterprise","max_nodes":null}}'
    assert msgspec.json.decode(body, type=LicenseResponse).license.max_nodes is None


def test_free_memory_for_deployments():
    full = MlMemory(
        max_in_bytes=100,
        native_code_overhead_in_bytes=30,
        anomaly_detectors_in_bytes=20,
        data_frame_analytics_in_bytes=10,
        native_inference_in_bytes=15,
    )
    assert full.free_bytes == 25
    assert replace(full, native_inference_in_bytes=200).free_bytes == 0


def test_memory_is_unknown_if_a_figure_is_absent():
    of_jobs = MlMemory(max_in_bytes=100, native_inference_in_bytes=15)
    assert (of_jobs.free_bytes, of_jobs.job_bytes) == (85, None)
    assert MlMemory(max_in_bytes=100, native_code_overhead_in_bytes=15).free_bytes is None


def test_memory_names_are_those_of_elasticsearch():
    body = b"""{"_nodes": {"total": 1, "successful": 1, "failed": 0}, "cluster_name": "demo",
      "nodes": {"n1": {"name": "ml-a", "roles": ["ml"], "mem": {"total_in_bytes": 16,
      "ml": {"max_in_bytes": 5, "native_inference_in_bytes": 4}}}}}"""
    read = msgspec.json.decode(body, type=MemoryResponse)
    assert read.header.total == 1
    assert read.nodes["n1"].mem.ml.free_bytes == 1
    assert "_nodes" in msgspec.to_builtins(read)
