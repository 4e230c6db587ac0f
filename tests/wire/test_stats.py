"""The statistics: complete, sparse and damaged responses."""

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from autoscaler.core.values import AdaptiveAllocations
from autoscaler.wire.stats import MalformedStats, parse_stats, parse_stats_in_parts
from autoscaler.wire.stats_document import StatsDocument, parse_size

STARTED = {
    "node": {"n1": {"name": "ml-a"}},
    "routing_state": {"routing_state": "started"},
    "inference_count": 4410,
    "average_inference_time_ms": 38.25,
    "average_inference_time_ms_excluding_cache_hits": 41.5,
    "inference_cache_hit_count": 340,
    "last_access": 1760999999123,
    "number_of_pending_requests": 4,
    "rejected_execution_count": 1,
    "timeout_count": 2,
    "start_time": 1760990004567,
    "threads_per_allocation": 2,
    "number_of_allocations": 2,
    "peak_throughput_per_minute": 611,
    "throughput_last_minute": 380,
}
STARTING = {
    "node": {"n2": {"name": "ml-b"}},
    "routing_state": {"routing_state": "starting", "reason": "loading"},
    "peak_throughput_per_minute": 0,
    "throughput_last_minute": 0,
}


def model(deployment_id="search", **more):
    return {
        "model_id": "embed",
        "model_size_stats": {"model_size_bytes": 9, "required_native_memory_bytes": 43},
        "deployment_stats": {
            "deployment_id": deployment_id,
            "model_id": "embed",
            "number_of_allocations": 3,
            "adaptive_allocations": {"enabled": False},
            "state": "started",
            "allocation_status": {
                "allocation_count": 2,
                "target_allocation_count": 3,
                "state": "started",
            },
            "cache_size": "86.7mb",
            "priority": "normal",
            "start_time": 1760990000000,
            "inference_count": 4410,
            "nodes": [STARTED, STARTING],
            **more,
        },
    }


def parsed(*models, count=None):
    document = {"count": len(models) if count is None else count, "trained_model_stats": models}
    return parse_stats(json.dumps(document).encode())


def test_a_complete_response():
    page = parsed(model(), count=7)
    (found,) = page.deployments
    assert page.total_models == 7
    assert (found.deployment_id, found.model_id, found.state) == ("search", "embed", "started")
    assert (found.allocations, found.running_allocations, found.target_allocations) == (3, 2, 3)
    assert found.adaptive == AdaptiveAllocations(enabled=False)
    assert found.cache_bytes == 90911539
    assert found.server_created_at == 1760990000.0
    assert found.required_memory_bytes == 43
    started, starting = found.nodes
    assert (started.node_id, started.name, started.routing_state) == ("n1", "ml-a", "started")
    assert started.mean_inference_s == 0.03825
    assert started.mean_inference_without_hits_s == 0.0415
    assert started.errors + started.rejections + started.timeouts == 3
    assert started.reports
    assert (starting.routing_state, starting.routing_reason) == ("starting", "loading")
    assert not starting.reports


def test_each_entry_is_a_part():
    """A thousand deployments take 15 ms, in which the event loop has other tasks."""
    body = msgspec.json.encode({"trained_model_stats": [model(f"m-{n}") for n in range(30)]})
    assert len(list(parse_stats_in_parts(body))) == 30


def test_the_memory_that_processes_use():
    size = {
        "required_native_memory_bytes": 43,
        "runtime_native_memory_bytes": 43.75,
        "peak_runtime_native_memory_bytes": 45,
    }
    (found,) = parsed({**model(), "model_size_stats": size}).deployments
    assert (found.runtime_memory_bytes, found.peak_runtime_memory_bytes) == (44, 45)
    (found,) = parsed(model()).deployments
    assert (found.runtime_memory_bytes, found.peak_runtime_memory_bytes) == (None, None)


def test_counters_that_are_absent_are_zero_and_averages_unknown():
    (found,) = parsed(model(nodes=[{"routing_state": {"routing_state": "started"}}])).deployments
    (node,) = found.nodes
    assert (node.node_id, node.completed, node.pending) == ("", 0, 0)
    assert (node.errors, node.rejections, node.timeouts) == (0, 0, 0)
    assert node.mean_inference_s is None
    assert found.errors == found.rejections == found.timeouts == 0


@pytest.mark.parametrize("unreadable", [None, "2", [], 0])
def test_the_threads_of_each_allocation_are_those_that_processes_acknowledge(unreadable):
    (stats,) = parsed(model(threads_per_allocation=unreadable)).deployments
    assert stats.threads_per_allocation == 2


def test_before_8_8_a_deployment_has_the_name_of_its_model():
    (found,) = parsed({"model_id": "embed", "deployment_stats": {}}).deployments
    assert found.deployment_id == found.model_id == "embed"
    assert found.adaptive is None


def test_models_without_deployments_are_omitted():
    assert parsed({"model_id": "lang_ident_model_1"}).deployments == ()


@pytest.mark.parametrize(
    "damage",
    [
        {"number_of_allocations": -1},
        {"number_of_allocations": 1.5},
        {"nodes": {}},
        {"nodes": [STARTED | {"inference_count": 2**60}]},
        {"nodes": [STARTED | {"average_inference_time_ms": "fast"}]},
        {"start_time": "2025-10-20"},
    ],
    ids=lambda damage: next(iter(damage)),
)
def test_a_figure_that_cannot_be_read_is_unknown(damage):
    page = parsed(model("a"), model("b", **damage), model("c"))
    assert [d.deployment_id for d in page.deployments] == ["a", "b", "c"]
    assert page.unreadable == ()
    ((place, what),) = page.unreadable_figures
    assert place == "b"
    assert what.startswith(f"deployment_stats.{next(iter(damage))}")


def test_the_rest_is_read():
    odd = STARTED | {
        "throughput_last_minute": "many",
        "last_access": -1,
        "average_inference_process_memory_rss_bytes": "1gb",
    }
    page = parsed(model("b", nodes=[odd, STARTING], queue_capacity=None, cache_size=7))
    (found,) = page.deployments
    (known,) = parsed(model("b")).deployments
    assert found.cache_bytes is None
    assert found.nodes[0] == replace(
        known.nodes[0], throughput_last_minute=None, server_last_access_at=None
    )
    assert replace(found, nodes=known.nodes, cache_bytes=known.cache_bytes) == known


@pytest.mark.parametrize(
    "damage",
    [{"deployment_id": 7}, {"deployment_id": None}, {"deployment_id": ["b"]}],
    ids=str,
)
def test_without_an_id_it_is_not_known_which_deployment_it_is(damage):
    entry = model()
    entry["deployment_stats"] |= damage
    page = parsed(model("a"), entry, model("c"))
    assert [d.deployment_id for d in page.deployments] == ["a", "c"]
    ((place, what),) = page.unreadable
    assert place == "trained_model_stats[1]"
    assert "deployment_id" in what


@pytest.mark.parametrize(
    "settings", ["on", {"enabled": "yes"}, {"enabled": True, "min_number_of_allocations": "1"}]
)
def test_settings_of_adaptive_allocations_that_cannot_be_read_are_not_disabled(settings):
    """It is unknown which setting is in force, so that nothing is changed."""
    (found,) = parsed(model("b", adaptive_allocations=settings)).deployments
    assert (found.allocations, found.adaptive) == (None, None)


NEEDED = (
    "inference_count",
    "average_inference_time_ms",
    "number_of_pending_requests",
    "start_time",
)
COUNTED_FROM_ZERO = ("error_count", "rejected_execution_count", "timeout_count")
ODD = ("NaN", "inf", "12", "5ms", None, -1, 2**53, 2**53 + 1, 2**70, 1e308, [], {}, True)


@pytest.mark.parametrize("name", NEEDED)
def test_a_started_route_without_a_needed_figure_did_not_respond(name):
    node = {key: value for key, value in STARTED.items() if key != name}
    (found,) = parsed(model(nodes=[node])).deployments
    assert not found.nodes[0].reports


@pytest.mark.parametrize("name", [*NEEDED, *COUNTED_FROM_ZERO, "inference_cache_hit_count"])
@pytest.mark.parametrize("value", ODD, ids=str)
def test_neither_did_one_whose_figure_is_odd(name, value):
    page = parsed(model("a"), model("b", nodes=[STARTED | {name: value}]))
    first, second = page.deployments
    assert first.nodes[0].reports
    assert not second.nodes[0].reports


@pytest.mark.parametrize("name", COUNTED_FROM_ZERO)
def test_absent_failures_are_zero(name):
    node = {key: value for key, value in STARTED.items() if key != name}
    (found,) = parsed(model(nodes=[node])).deployments
    assert found.nodes[0].reports


def test_without_requests_there_is_no_mean():
    node = STARTED | {"inference_count": 0}
    del node["average_inference_time_ms"]
    (found,) = parsed(model(nodes=[node])).deployments
    assert found.nodes[0].reports


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5000])
def test_numbers_that_json_does_not_have(literal):
    text = json.dumps({"count": 2, "trained_model_stats": [model("a"), model("b")]})
    body = text.replace('"average_inference_time_ms": 38.25', f'"x": {literal}', 1)
    page = parse_stats(body.encode())
    assert {d.deployment_id: d.nodes[0].reports for d in page.deployments} == {
        "a": False,
        "b": True,
    }


@pytest.mark.parametrize("count", ["2", None, -1, 2.5])
def test_an_unknown_number_of_models(count):
    page = parse_stats(json.dumps({"count": count, "trained_model_stats": [model()]}).encode())
    assert (page.total_models, page.entries, len(page.deployments)) == (None, 1, 1)


def spelled(value, spell):
    """A document with all its integers spelled in another way."""
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{k}": {spelled(v, spell)}' for k, v in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(spelled(each, spell) for each in value)}]"
    return spell(value) if type(value) is int else json.dumps(value)


@pytest.mark.parametrize("form", ["{}.0", "{}e0", "{}.000E+0", "{}.0e-0"])
def test_a_count_is_an_integer_however_it_is_written(form):
    document = {"count": 2, "trained_model_stats": [model("a"), model("b", nodes=[STARTING])]}
    page = parse_stats(spelled(document, form.format).encode())
    assert page == parse_stats(json.dumps(document).encode())
    assert not page.unreadable_figures


@pytest.mark.parametrize(
    "odd", ["4410.5", "4410.00000000000000000001", "-4410.0", "1e300", "1e999", "9.1e15", "-1e0"]
)
def test_a_count_with_a_fraction_or_out_of_range_is_unknown(odd):
    text = json.dumps({"count": 1, "trained_model_stats": [model()]})
    page = parse_stats(
        text.replace('"inference_count": 4410', f'"inference_count": {odd}').encode()
    )
    (found,) = page.deployments
    assert not found.nodes[0].reports
    assert dict(page.unreadable_figures).keys() == {found.deployment_id}


@given(count=st.integers(0, 2**53 - 1), places=st.integers(0, 6), exponent=st.integers(0, 6))
def test_every_exact_count_is_read(count, places, exponent):
    digits = f"{count * 10**exponent}.{'0' * places}0e-{exponent}"
    node = spelled(STARTED | {"inference_count": 7}, str).replace(
        '"inference_count": 7', f'"inference_count": {digits}'
    )
    text = json.dumps({"count": 1, "trained_model_stats": [model(nodes=["here"])]})
    (found,) = parse_stats(text.replace('"here"', node).encode()).deployments
    assert found.nodes[0].completed == count


class TestServerless:
    """It leaves out `state` and `allocation_status` (elastic/kibana#179299)."""

    @staticmethod
    def read(*nodes, **more):
        entry = model(nodes=list(nodes), **more)
        del entry["deployment_stats"]["state"], entry["deployment_stats"]["allocation_status"]
        (found,) = parsed(entry).deployments
        return found

    def test_they_come_from_the_routes(self):
        found = self.read(STARTED, STARTING)
        assert (found.state, found.running_allocations, found.target_allocations) == (
            "started",
            2,
            3,
        )

    def test_unacknowledged_allocations_are_unknown(self):
        node = STARTED | {"number_of_allocations": None}
        assert self.read(node).running_allocations is None

    @pytest.mark.parametrize(
        ("routes", "state"),
        [
            (["starting"], "starting"),
            (["starting", "failed"], "starting"),
            (["failed", "failed"], "failed"),
            (["stopping"], "stopping"),
            (["failed", "started"], "started"),
            ([], "starting"),
        ],
    )
    def test_states(self, routes, state):
        nodes = [STARTED | {"routing_state": {"routing_state": route}} for route in routes]
        assert self.read(*nodes).state == state

    def test_without_allocations_nothing_has_to_start(self):
        assert self.read(number_of_allocations=0).state == "started"

    def test_if_only_one_is_absent_it_is_unknown(self):
        without_state, without_status = model(), model()
        del without_state["deployment_stats"]["state"]
        del without_status["deployment_stats"]["allocation_status"]
        (first,) = parsed(without_state).deployments
        (second,) = parsed(without_status).deployments
        assert (first.state, first.running_allocations) == ("", 2)
        assert (second.state, second.running_allocations) == ("started", None)

    @pytest.mark.parametrize("odd", [{"state": 7}, {"allocation_status": "fine"}])
    def test_an_odd_value_is_not_absent(self, odd):
        entry = model(**odd)
        absent = "allocation_status" if "state" in odd else "state"
        del entry["deployment_stats"][absent]
        (found,) = parsed(entry).deployments
        assert (found.state, found.running_allocations) == ("", None)


def test_damage_without_a_deployment_id_is_named_by_its_location():
    page = parsed(model("a"), "nonsense")
    assert [place for place, _ in page.unreadable] == ["trained_model_stats[1]"]


@pytest.mark.parametrize("name", [".", ".."])
def test_an_id_that_would_change_the_path_of_a_request_is_unreadable(name):
    page = parsed(model(name), model("a"))
    assert [each.deployment_id for each in page.deployments] == ["a"]
    assert page.unreadable == ((name, "its id would change the path of requests"),)


@pytest.mark.parametrize("name", ["*", "a*", "a,b", "_all"])
def test_an_id_that_means_several_in_a_request_is_unreadable(name):
    page = parsed(model(name), model("a"))
    assert [each.deployment_id for each in page.deployments] == ["a"]
    assert page.unreadable == ((name, "requests with its id would be for several"),)


def test_two_entries_with_one_id_are_unreadable():
    page = parsed(model("a"), model("b"), model("a"))
    assert [d.deployment_id for d in page.deployments] == ["b"]
    assert [place for place, _ in page.unreadable] == ["a"]


def test_half_a_character_is_replaced():
    """Such a text could be encoded neither for a log nor for a page."""
    entry = msgspec.json.encode(model("a", reason="R", number_of_allocations="many"))
    body = b'{"trained_model_stats": [%s]}' % entry.replace(b'"R"', b'"\\ud800 \\ud83d\\ude00"')
    (found,) = parse_stats(body).deployments
    assert found.reason == "\ufffd \U0001f600"


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'{"count":', b"\xff", b'{"a":' * 9999])
def test_a_document_other_than_statistics(body):
    with pytest.raises(MalformedStats):
        parse_stats(body)


@settings(deadline=None, derandomize=True)
@given(st.recursive(st.none() | st.integers() | st.text(), st.lists))
def test_other_entries_are_read_with_any_damaged_entry(entry):
    page = parsed(model("a"), entry)
    assert "a" in {d.deployment_id for d in page.deployments}


def test_statistics_survive_a_round_trip():
    body = {"count": 1, "trained_model_stats": [model()]}
    read = msgspec.convert(body, StatsDocument)
    again = parse_stats(msgspec.json.encode(read))
    assert again == parsed(model())


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("0b", 0),
        ("512b", 512),
        ("1kb", 1024),
        ("1.5MB", 1572864),
        ("2gb", 2 * 2**30),
        ("1tb", 2**40),
        ("-1", None),
        ("many", None),
        ("1 eb", None),
        ("", None),
        (None, None),
    ],
)
def test_sizes(text, size):
    assert parse_size(text) == size
