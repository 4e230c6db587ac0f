"""Synthetic trials with plausible figures, for tests that read and show them."""

import math
import random
from itertools import pairwise

from autoscaler.backtest.results.rows import ResultRow, Timeline, Trial

DAY_S = 86_400.0
STEP_S = 300.0


def row(**given):
    """A row of round figures, except those given."""
    figures = {
        "trace": "steady",
        "scenario": "small",
        "policy": "utilisation",
        "setting": "target=0.7",
        "default": True,
        "seed": 1,
        "requests": 1000,
        "violations": 10,
        "violation_fraction": 0.01,
        "rejected": 0,
        "timed_out": 0,
        "retries": 0,
        "violation_minutes": 0,
        "wait_p50_s": 0.0,
        "wait_p95_s": 0.05,
        "wait_p99_s": 0.2,
        "allocation_hours": 24.0,
        "running_allocation_hours": 24.0,
        "changes": 48,
        "reversals": 4,
        "refused_updates": 0,
        "max_backlog_s": 0.0,
        "simulated_s": DAY_S,
        "elapsed_s": 0.5,
    }
    return ResultRow(**{**figures, **given})


SKILLS = {
    # name: cost relative to the oracle, values of its parameter, its default
    "planned": (1.15, (0.5, 0.6, 0.7, 0.8, 0.9), 0.7),
    "utilisation": (1.35, (0.5, 0.6, 0.7, 0.8, 0.9), 0.7),
    "adaptive": (1.5, (None,), None),
    "hpa": (1.6, (0.4, 0.5, 0.6, 0.7, 0.8), 0.7),
    "keda": (1.65, (0.4, 0.5, 0.6, 0.7, 0.8), 0.7),
    "knative": (1.45, (0.5, 0.6, 0.7, 0.8), 0.7),
    "ray_serve": (1.9, (0.5, 0.7, 0.9), 0.7),
    "predictive_hpa": (1.7, (0.5, 0.6, 0.7), 0.6),
    "crane": (1.8, (0.5, 0.6, 0.7), 0.6),
    "aws_target_tracking": (2.0, (0.5, 0.6, 0.7), 0.6),
    "gcp_autoscaler": (1.9, (0.5, 0.6, 0.7), 0.6),
    "faro": (1.3, (1.0, 2.0, 4.0), 1.0),
    "static_peak": (2.6, (None,), None),
    "static_mean": (1.05, (None,), None),
    "threshold_step": (1.7, (0.6, 0.8), 0.8),
    "watermarks": (1.6, (0.6, 0.8), 0.8),
    "oracle": (1.0, (None,), None),
}
POLICIES = {name: f"A description of {name}." for name in SKILLS}


def trials(traces=("diurnal", "flash crowd"), scenarios=("small",), seeds=(1,), skills=SKILLS):
    """Every policy at every setting on every pair, with a timeline of the first seed by default."""
    return [
        _trial(trace, scenario, policy, value, default, seed, skill)
        for trace in traces
        for scenario in scenarios
        for policy, (skill, values, default) in skills.items()
        for value in values
        for seed in seeds
    ]


def _trial(trace, scenario, policy, value, default, seed, skill):
    # A string as the seed: the hash of anything else differs from process to process.
    random_ = random.Random(f"{trace} {scenario} {policy} {value} {seed}")
    load = _load(random.Random(f"{trace} {seed}"))
    headroom = 1.0 if value is None or policy == "faro" else 0.7 / value
    recommended = [max(1, math.ceil(each * 1.25 * headroom)) for each in load]
    requested = _lagged(recommended, lag=0 if policy == "oracle" else round(4 * (skill - 1)))
    short = [
        max(0.0, each / allocations - 0.7 - 0.1 * random_.random())
        for each, allocations in zip(load, requested, strict=True)
    ]
    waits = [0.004 * math.exp(14.0 * each) * random_.uniform(0.6, 1.6) for each in short]
    waits = [0.0 if each < 0.003 else min(each, 40.0) for each in waits]
    arrivals = [round(600 * each) for each in load]
    violations = [
        round(n * min(1.0, max(0.0, wait - 0.15)) ** 0.7) if wait > 0.15 else 0
        for n, wait in zip(arrivals, waits, strict=True)
    ]
    ordered = sorted(waits)
    changes = sum(a != b for a, b in pairwise(requested))
    return Trial(
        row=row(
            trace=trace,
            scenario=scenario,
            policy=policy,
            setting="" if value is None else f"target={value:g}",
            default=value == default,
            seed=seed,
            requests=sum(arrivals),
            violations=sum(violations),
            violation_fraction=sum(violations) / sum(arrivals),
            wait_p50_s=ordered[len(ordered) // 2],
            wait_p95_s=ordered[int(len(ordered) * 0.95)],
            wait_p99_s=None if ordered[-3] > 30.0 else ordered[-3],
            allocation_hours=sum(requested) * STEP_S / 3600.0,
            changes=changes,
            reversals=changes // 3,
        ),
        timeline=Timeline(
            step_s=STEP_S,
            offered_load=load,
            requested=[float(each) for each in requested],
            running=[float(each) for each in _lagged(requested, lag=1)],
            wait_p99_s=[None if each > 30.0 else each for each in waits],
            violations=violations,
        )
        if value == default and seed == 1
        else None,
    )


def _load(random_):
    """Offered load in erlangs: a daily cycle, noise, and a flash crowd for an hour."""
    phase, height, crowd_at = (
        random_.uniform(0, 6),
        random_.uniform(2, 8),
        random_.randrange(60, 220),
    )
    steps = range(int(DAY_S / STEP_S))
    return [
        height
        * (1.2 + math.sin(2 * math.pi * n / len(steps) + phase))
        * random_.uniform(0.85, 1.15)
        + (height * 2.5 * math.exp(-(n - crowd_at) / 6) if n >= crowd_at else 0.0)
        for n in steps
    ]


def _lagged(figures, *, lag):
    if not lag:
        return list(figures)
    return [
        max(figures[max(0, n - 4 * lag - 1) : max(1, n - lag // 2 + 1)])
        for n in range(len(figures))
    ]


def report(**given):
    """A report of these trials."""
    from autoscaler.backtest.results.report import Report, ScenarioSummary

    found = given.pop("trials", None) or trials()
    facts = {
        "Model": "120 ms per request, with a deviation of half of that",
        "SLO": "99% of the requests have a queue wait of at most 200 ms",
        "Cluster": "3 nodes of 8 processors, Elasticsearch 9.3",
    }
    scenarios = {each.row.scenario: ScenarioSummary(facts=facts, slo_wait_s=0.2) for each in found}
    contents = {
        "title": "How autoscalers compare",
        "made_at": "2026-01-01 00:00 UTC",
        "command": "autoscaler backtest --report page.html",
        "scenarios": scenarios,
        "policies": POLICIES,
        "shown": ("planned", "utilisation", "adaptive", "oracle"),
        "adaptive": "adaptive",
        "trials": found,
    }
    return Report(**{**contents, **given})
