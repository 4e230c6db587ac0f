"""Ten thousand damaged responses: no crash, no decision out of bounds, no decrease by damage."""

import copy
import json
import math
import random

import pytest
from msgspec.structs import replace

from autoscaler.core.flow.planning import plan
from autoscaler.core.state import State
from autoscaler.core.values import Observation
from autoscaler.wire.stats import MalformedStats, parse_stats
from tests.observations import policy, rule

pytestmark = pytest.mark.untraced

ALLOCATIONS, MINIMUM, MAXIMUM = 8, 2, 12
RATE_PER_S, SERVICE_MS = 60, 90.0  # an offered load of 5.4, which needs 8 allocations
# Without a stabilisation window, no history can hide a wrong decision.
POLICY = policy(rule(min_allocations=MINIMUM, max_allocations=MAXIMUM, stabilisation_window_s=1.0))


def response(cycle):
    """The response of the cluster after `cycle` intervals of ten seconds under a steady load."""
    nodes = [
        {
            "node": {f"node-{n}": {"name": f"ml-{n}"}},
            "routing_state": {"routing_state": "started"},
            "inference_count": 5_000 + 5 * RATE_PER_S * cycle,
            "average_inference_time_ms": SERVICE_MS,
            "average_inference_time_ms_excluding_cache_hits": SERVICE_MS,
            "inference_cache_hit_count": 0,
            "last_access": 1_760_000_900_000 + 10_000 * cycle,
            "number_of_pending_requests": 2,
            "error_count": 1,
            "timeout_count": 3,
            "start_time": 1_760_000_000_000,
            "threads_per_allocation": 1,
            "number_of_allocations": ALLOCATIONS // 2,
            "peak_throughput_per_minute": 2_000,
            "throughput_last_minute": 1_800,
            "average_inference_time_ms_last_minute": SERVICE_MS,
            "inference_cache_hit_count_last_minute": 0,
        }
        for n in (1, 2)
    ]
    deployment = {
        "deployment_id": "elser",
        "model_id": "elser-model",
        "threads_per_allocation": 1,
        "number_of_allocations": ALLOCATIONS,
        "adaptive_allocations": {"enabled": False},
        "queue_capacity": 1024,
        "state": "started",
        "allocation_status": {
            "allocation_count": ALLOCATIONS,
            "target_allocation_count": ALLOCATIONS,
            "state": "fully_allocated",
        },
        "cache_size": "86.7mb",
        "priority": "normal",
        "start_time": 1_759_999_000_000,
        "inference_count": sum(node["inference_count"] for node in nodes),
        "error_count": 2,
        "timeout_count": 6,
        "nodes": nodes,
    }
    entry = {"model_id": "elser-model", "deployment_stats": deployment}
    return {"count": 1, "trained_model_stats": [entry]}


def places(value, path=()):
    """The paths of all values in a document."""
    yield path
    inner = value.items() if isinstance(value, dict) else ()
    for key, below in enumerate(value) if isinstance(value, list) else inner:
        yield from places(below, (*path, key))


WRONG = (
    *(None, True, False, 0, 1, -1, 2**53 + 1, 2**70, -(2**70), 1e15, 1e308, -1e-9, 0.5),
    *(math.nan, math.inf, -math.inf, "", "7", "started", "stopping", "starting", "\x00"),
    *([], [[]], {}, {"x": {"y": {"z": 1}}}, [1, 2, 3]),
)


def damage(document, rng):
    """A copy with one to three defects, as bytes."""
    damaged = copy.deepcopy(document)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        path = rng.choice([p for p in places(damaged) if p])
        *way, last = path
        holder = damaged
        for key in way:
            holder = holder[key]
        old = holder[last]
        match rng.randrange(7):
            case 0:
                del holder[last]
            case 1 if isinstance(holder, list):
                holder.append(copy.deepcopy(old))
            case 2 if isinstance(old, int | float):
                holder[last] = type(old)(old * rng.choice((0, 0.01, 0.5, 0.99, 1.01, 2, 100)))
            case 3 if isinstance(old, int | float):
                holder[last] = -old
            case 4:
                holder[last] = {"nested": old} if rng.random() < 0.5 else [old]
            case 5:
                holder[last] = str(old)
            case _:
                holder[last] = rng.choice(WRONG)
        if not isinstance(damaged, dict) or not damaged:
            break
    body = json.dumps(damaged).encode()
    match rng.randrange(20):
        case 0:
            return body[: rng.randrange(len(body))]
        case 1:
            cut = rng.randrange(len(body))
            return body[:cut] + bytes([rng.randrange(256)]) + body[cut + 1 :]
    return body


def read(body, at):
    try:
        page = parse_stats(body)
    except MalformedStats:
        return None
    return Observation(
        at=at,
        deployments={d.deployment_id: d for d in page.deployments},
        unreadable=dict(page.unreadable),
    )


@pytest.fixture(scope="module")
def warm():
    """The state after some good responses, with the recommended allocations running."""
    state = State()
    for cycle in range(12):
        observed = read(json.dumps(response(cycle)).encode(), at=10.0 * cycle)
        planned, state = plan(state, observed, POLICY)
    assert [decision.desired for decision in planned.decisions] == [ALLOCATIONS]
    return state


def is_sound(body, before):
    """Whether a response is complete and consistent, and could follow `before`, so that the planner
    may decrease allocations. Derived from the description of the API alone.
    """
    try:
        (entry,) = json.loads(body)["trained_model_stats"]
        now = entry["deployment_stats"]
        then = before["trained_model_stats"][0]["deployment_stats"]
        serverless = not {"state", "allocation_status"} & now.keys()
        status = {
            "allocation_count": 0,
            "target_allocation_count": now["number_of_allocations"],
        }
        if not serverless:
            status = now["allocation_status"]
        nodes = {next(iter(node["node"])): node for node in now["nodes"]}
        total = now.get("inference_count", 0)  # compared with the sum, where it can be read
        if not isinstance(total, int) or isinstance(total, bool) or not 0 <= total < 2**53:
            total = 0
        busy = 0.0
        for node in then["nodes"]:
            name = next(iter(node["node"]))
            later = nodes.pop(name)
            for key in ("inference_count", "timeout_count", "error_count"):
                if later.get(key, 0) < node.get(key, 0):
                    return False
            hits = later.get("inference_cache_hit_count", 0)
            if not 0 <= hits <= later["inference_count"] - node["inference_count"]:
                return False
            if later["start_time"] != node["start_time"]:
                return False
            gained = later["inference_count"] * later["average_inference_time_ms"]
            gained -= node["inference_count"] * node["average_inference_time_ms"]
            if gained < -1.0:
                return False
            busy += gained
        return (
            not nodes
            and (serverless or now["state"] == "started")
            and now["number_of_allocations"] == status["target_allocation_count"]
            and status["allocation_count"]
            <= sum(node["number_of_allocations"] for node in now["nodes"])
            and total in (0, sum(node["inference_count"] for node in now["nodes"]))
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, StopIteration):
        return False


@pytest.mark.parametrize("batch", range(10))
def test_damage_never_lowers_allocations_and_never_leaves_the_bounds(warm, batch):
    rng = random.Random(batch)
    before, good, next_good = response(11), response(12), response(13)
    for _ in range(1_000):
        body = damage(good, rng)
        sound = is_sound(body, before)
        state = warm
        for observed in (read(body, at=120.0), read(json.dumps(next_good).encode(), at=130.0)):
            if observed is None:
                continue
            planned, state = plan(state, observed, POLICY)
            for decision in planned.decisions:
                if decision.changes:
                    assert MINIMUM <= decision.desired <= MAXIMUM, body
                if decision.desired < decision.current:
                    assert sound, (body, decision.steps)


def test_allocations_above_the_bounds_are_not_lowered_by_damage_either(warm):
    """Only a sound response lowers them; the undamaged one does."""
    rng = random.Random(99)
    tight = replace(POLICY, rules=(replace(POLICY.rules[0], max_allocations=6),))
    before, good = response(11), response(12)
    planned, _ = plan(warm, read(json.dumps(good).encode(), at=120.0), tight)
    assert planned.decisions[0].desired == 6
    for _ in range(1_000):
        body = damage(good, rng)
        observed = read(body, at=120.0)
        if observed is None or is_sound(body, before):
            continue
        planned, _ = plan(warm, observed, tight)
        assert not any(d.desired < d.current for d in planned.decisions), body
