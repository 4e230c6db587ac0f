"""Results of replays, made up: a working day of deployments, and hostile names."""

import math

from autoscaler.replay.advice import with_advice
from autoscaler.replay.moments import with_moments
from autoscaler.replay.results import (
    DeploymentReplay,
    Estimate,
    HourResult,
    PolicyResult,
    ReplayResults,
)

MONDAY = 1_762_128_000.0  # 2025-11-03 00:00 UTC
HOSTILE = "<img src=x onerror=alert(1)>\x1b[2J\u202e|`*_ [x](http://evil.example) www.evil.example"


def hour(index, load=1.0, **given):
    """One hour in which what ran had two allocations, and the rule has what the load needs."""
    figures = {
        "requests": round(3600 * 8 * load),
        "recorded_hours": 2.0,
        "recorded_late": 0.0,
        "replayed_hours": max(1.0, load / 0.7),
        "replayed_late": 0.0,
        "peak_load": load,
    }
    return HourResult(at=MONDAY + 3600.0 * index, **{**figures, **given})


def working_day(days=1):
    """Hours with a peak in the morning, which what ran served late."""
    hours = []
    for index in range(24 * days):
        load = 0.4 + 3.2 * max(0.0, math.sin(math.pi * ((index % 24) - 6) / 13.0)) ** 2
        late = max(0.0, load - 1.9) * 900.0
        hours.append(
            hour(
                index,
                round(load, 2),
                recorded_late=late,
                replayed_late=late / 30.0,
                recorded_hours=3.0,
            )
        )
    return tuple(hours)


def result(policy="rule", title="rule search", hours=40.0, late=0.004, **given):
    """A policy with an interval of 4% of the hours."""
    figures = {
        "policy": policy,
        "title": title,
        "hours": Estimate(hours, 0.96 * hours, 1.04 * hours),
        "late_fraction": Estimate(late, 0.7 * late, 1.5 * late),
        "changes": 31,
        "max_allocations": 6,
    }
    return PolicyResult(**{**figures, **given})


def replayed(deployment="elser-search", hours=None, **given):
    """A deployment of which the rule would have saved a third, and served more in time."""
    hours = working_day() if hours is None else hours
    used = sum(each.recorded_hours for each in hours)
    requests = sum(each.requests for each in hours)
    late = sum(each.recorded_late for each in hours) / max(1, requests)
    exact = Estimate(used, used, used), Estimate(late, late, late)
    observed = PolicyResult(
        policy="recorded",
        title="what really ran",
        hours=exact[0],
        late_fraction=exact[1],
        changes=0,
        max_allocations=3,
    )
    rule = result(
        hours=0.69 * used,
        hours_difference=Estimate(-0.31 * used, -0.34 * used, -0.28 * used),
        late_difference=Estimate(0.004 - late, 0.003 - late, 0.006 - late),
    )
    figures = {
        "deployment": deployment,
        "rule": "search",
        "since": hours[0].at if hours else MONDAY,
        "until": hours[-1].at + 3600.0 if hours else MONDAY + 86_400.0,
        "requests": requests,
        "slo_target": 0.99,
        "slo_wait_s": 0.25,
        "observed": observed,
        "simulated": result("recorded", "what really ran", hours=used, late=late),
        "policies": (
            rule,
            result("adaptive-9", "adaptive allocations of Elasticsearch 9", 0.92 * used, 0.013),
            result("hpa", "HPA at 70% utilisation", 0.83 * used, 0.009),
            result("keda", "KEDA at one request in flight", 0.88 * used, 0.016),
            result("static-peak", "fixed at the peak", 1.9 * used, 0.0005),
            result("oracle", "oracle, which knows each request", 0.52 * used, 0.0099),
        ),
        "hours": hours,
    }
    return DeploymentReplay(**{**figures, **given})


def refused(deployment="reranker", **given):
    """Without a verdict."""
    figures = {
        "policies": (),
        "refusals": (
            "the simulation of what really ran has 2.1% to 2.9% late requests, not 6.4%",
            "service times grow with the load, by 40% from one busy allocation to three",
        ),
        "assumptions": ("the callers give up after 10 s",),
    }
    return replayed(deployment, **{**figures, **given})


def results(*deployments, rules=None, **given):
    """With moments and advice."""
    deployments = deployments or (
        replayed(),
        replayed("e5-ingest", working_day()[6:]),
        refused(),
    )
    figures = {
        "program": "autoscaler 0.1.0",
        "source": "recording.db",
        "since": min(each.since for each in deployments),
        "until": max(each.until for each in deployments),
        "deployments": deployments,
        "unknown": ("cache hits; they are counted as requests",),
        "left_out": ("idle-model: no request in the record",),
    }
    return with_advice(with_moments(ReplayResults(**{**figures, **given})), rules or {})


def hostile():
    """Every text is hostile."""
    one = replayed(
        HOSTILE,
        rule=HOSTILE,
        policies=(result(HOSTILE, HOSTILE), *replayed().policies[1:]),
        assumptions=(HOSTILE,),
    )
    other = replayed(HOSTILE + "2", refusals=(HOSTILE,), policies=())
    return results(one, other, source=HOSTILE, left_out=(HOSTILE,), unknown=(HOSTILE,))
