"""Properties of every baseline in any situation."""

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.backtest.baselines.aws import PredictiveScaling, TargetTracking
from autoscaler.backtest.baselines.baseline import AcceptsHistory
from autoscaler.backtest.baselines.forecasts import HoltWinters, Linear
from autoscaler.backtest.baselines.gcp import GcpPredictive
from autoscaler.backtest.baselines.hpa import (
    AverageInFlight,
    AverageUtilisation,
    Hpa,
    ScalingBehaviour,
)
from autoscaler.backtest.baselines.keda import Keda
from autoscaler.backtest.baselines.kpa import Kpa
from autoscaler.backtest.baselines.predictive_hpa import PredictiveHpa
from autoscaler.backtest.baselines.ray_serve import RayServe
from autoscaler.backtest.baselines.stabilisation import Stabilisation
from autoscaler.backtest.baselines.static import Static
from autoscaler.backtest.baselines.threshold import ThresholdStep
from autoscaler.core.values import Reason
from tests.backtest.baselines.polls import poll, recorded

pytestmark = pytest.mark.untraced

UTILISATION = AverageUtilisation(target=0.7)
IN_FLIGHT = Hpa(metric=AverageInFlight(target=1.0))
CAREFUL = ScalingBehaviour(
    stabilisation=Stabilisation(up_s=60.0, down_s=120.0),
    max_added=1,
    max_added_percent=10.0,
    max_removed_percent=50.0,
    poll_interval_s=60.0,
)

BASELINES = {
    "hpa": Hpa(metric=UTILISATION),
    "hpa on requests": IN_FLIGHT,
    "careful hpa": Hpa(metric=UTILISATION, behaviour=CAREFUL),
    "keda": Keda(scaler=IN_FLIGHT),
    "keda to zero": Keda(scaler=IN_FLIGHT, min_allocations=0),
    "kpa": Kpa(target=0.7),
    "ray": RayServe(target=2.0),
    "slow ray": RayServe(target=1.0, factor=0.5),
    "aws": TargetTracking(target=0.7),
    "aws predictive": PredictiveScaling(tracking=TargetTracking(target=0.7), ahead_s=60.0),
    "gcp": GcpPredictive(target=0.7, initialisation_s=60.0),
    "linear": PredictiveHpa(metric=UTILISATION, model=Linear(look_ahead_s=60.0)),
    "holt-winters": PredictiveHpa(metric=UTILISATION, model=HoltWinters()),
    "threshold": ThresholdStep(),
    "static": Static(allocations=3),
}

RESTING = ("static",)
"""Baselines whose recommendation does not depend on the deployment."""

MAX_FIGURES = 2 * 2016 + 50
"""Figures of a memory: twice two weeks in slots of five minutes, and a few others."""

every_baseline = pytest.mark.parametrize("baseline", BASELINES.values(), ids=BASELINES)


@st.composite
def situations(draw):
    """Polls at intervals of up to a day, of any deployment, independent of recommendations."""
    at, shown = draw(st.sampled_from([0.0, 1_767_225_600.0])), []
    for _ in range(draw(st.integers(1, 25))):
        interval_s = draw(st.sampled_from([0.1, 1.0, 2.0, 10.0, 15.0, 60.0, 61.5, 300.0, 86_400.0]))
        at += interval_s
        current, running = draw(st.integers(0, 50)), draw(st.integers(0, 60))
        in_flight = draw(st.lists(st.integers(0, 5000), min_size=1, max_size=4))
        busy = draw(st.floats(0.0, 1.2)) * running
        shown.append(
            poll(
                at,
                current=current,
                running=running,
                interval_s=interval_s,
                busy=busy,
                in_flight=tuple(in_flight),
            )
        )
    return shown


def results_of(baseline, shown):
    memory, results = baseline.begin(), []
    for situation in shown:
        step, memory = baseline.recommend(situation, memory)
        results.append((step, memory))
    return results


def figures(memory: Any) -> int:
    """The count of figures in a memory."""
    if isinstance(memory, msgspec.Struct):
        return sum(figures(getattr(memory, field)) for field in memory.__struct_fields__)
    return sum(map(figures, memory)) if isinstance(memory, tuple) else 1


@every_baseline
@settings(max_examples=40, deadline=None)
@given(shown=situations())
def test_it_never_recommends_less_than_0(baseline, shown):
    for situation, (step, _) in zip(shown, results_of(baseline, shown), strict=True):
        assert isinstance(step.after, int)
        assert step.after >= 0
        assert step.before == situation.current
        assert step.reason in {Reason.RECOMMENDATION, Reason.NOT_MEASURED}
        assert all(isinstance(figure, int | float | str) for figure in step.inputs.values())


@every_baseline
@settings(max_examples=40, deadline=None)
@given(shown=situations())
def test_the_same_situation_has_the_same_result(baseline, shown):
    first = results_of(baseline, shown)
    assert results_of(baseline, shown) == first
    for situation, (_, memory), result in zip(shown[1:], first, first[1:], strict=False):
        assert baseline.recommend(situation, memory) == result, "an earlier memory was changed"


@every_baseline
def test_its_memory_is_a_value(baseline):
    situation = poll(60.0, current=4, interval_s=60.0, busy=3.0, in_flight=(4,))
    _, memory = baseline.recommend(situation, baseline.begin())
    hash(memory)


@every_baseline
@pytest.mark.parametrize("interval_s", [None, 3600.0], ids=["its poll interval", "hourly"])
def test_its_memory_is_bounded(baseline, interval_s):
    poll_interval_s = baseline.poll_interval_s if interval_s is None else interval_s
    rng = np.random.default_rng(1)
    memory, sizes = baseline.begin(), []
    for index in range(1, 3501):
        current, samples = (
            int(rng.integers(1, 30)),
            max(1, round(baseline.poll_interval_s / baseline.sampling_s)),
        )
        situation = poll(
            index * poll_interval_s,
            current=current,
            interval_s=poll_interval_s,
            busy=float(rng.random()) * current,
            in_flight=tuple(rng.integers(0, 60, samples).tolist()),
        )
        _, memory = baseline.recommend(situation, memory)
        if index % 250 == 0:
            sizes.append(figures(memory))
    assert max(sizes) <= MAX_FIGURES
    if interval_s is not None:
        assert max(sizes[-2:]) <= max(sizes[:-2])


@pytest.mark.parametrize(
    "baseline",
    [baseline for name, baseline in BASELINES.items() if name not in RESTING],
    ids=lambda p: p.name,
)
def test_at_a_steady_load_its_recommendation_becomes_constant(baseline):
    allocations, memory, at = 3, baseline.begin(), 0.0
    recommended = []
    for _ in range(int(3 * 3600.0 / baseline.poll_interval_s)):
        at += baseline.poll_interval_s
        situation = poll(
            at,
            current=allocations,
            interval_s=baseline.poll_interval_s,
            busy=min(4.0, allocations),
            in_flight=(5,) * round(baseline.poll_interval_s / baseline.sampling_s),
        )
        step, memory = baseline.recommend(situation, memory)
        allocations = max(1, step.after)
        recommended.append(allocations)
    assert len(set(recommended[-int(1800.0 / baseline.poll_interval_s) :])) == 1
    assert recommended[-1] >= 3


@pytest.mark.parametrize(
    "baseline",
    [baseline for baseline in BASELINES.values() if isinstance(baseline, AcceptsHistory)],
    ids=lambda p: p.name,
)
@pytest.mark.parametrize("minutes", [1, 59, 1440, 5000, 14 * 1440])
def test_a_history_of_any_length_is_accepted(baseline, minutes):
    memory = baseline.from_history(recorded(np.full(minutes, 7.0)), 1, 30)
    assert figures(memory) <= MAX_FIGURES
    situation = poll(60.0, current=10, interval_s=60.0, busy=7.0, in_flight=(7,))
    step, _ = baseline.recommend(situation, memory)
    assert step.after == 10


def test_baselines_that_learn_from_days_accept_a_history():
    accepting = {
        name for name, baseline in BASELINES.items() if isinstance(baseline, AcceptsHistory)
    }
    assert accepting == {"aws predictive", "gcp", "linear", "holt-winters"}
