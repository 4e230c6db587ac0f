"""What holds for every peer, whatever it is shown."""

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
from autoscaler.backtest.baselines.zero_lag_oracle import ZeroLagOracle
from autoscaler.core.values import Reason
from tests.backtest.baselines.polls import look, recorded

UTILISATION = AverageUtilisation(target=0.7)
IN_FLIGHT = Hpa(metric=AverageInFlight(target=1.0))
CAREFUL = ScalingBehaviour(
    stabilisation=Stabilisation(up_s=60.0, down_s=120.0),
    max_added=1,
    max_added_percent=10.0,
    max_removed_percent=50.0,
    poll_interval_s=60.0,
)

PEERS = {
    "hpa": Hpa(metric=UTILISATION),
    "hpa on requests": IN_FLIGHT,
    "careful hpa": Hpa(metric=UTILISATION, behaviour=CAREFUL),
    "keda": Keda(scaler=IN_FLIGHT),
    "keda to zero": Keda(scaler=IN_FLIGHT, minimum=0),
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
    "zero-lag-oracle": ZeroLagOracle(target=0.7, start=0.0, loads=(1.0, 7.0, 0.0)),
}

RESTING = ("static", "zero-lag-oracle")
"""Those that ask for the same whatever becomes of the deployment."""

MOST_REMEMBERED = 2 * 2016 + 50
"""Figures: two weeks of five minutes, and what else there is."""

every_peer = pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS)


@st.composite
def situations(draw):
    """Looks at intervals of up to a day, at any deployment, with no regard to what was asked."""
    at, shown = draw(st.sampled_from([0.0, 1_767_225_600.0])), []
    for _ in range(draw(st.integers(1, 25))):
        interval_s = draw(st.sampled_from([0.1, 1.0, 2.0, 10.0, 15.0, 60.0, 61.5, 300.0, 86_400.0]))
        at += interval_s
        current, live = draw(st.integers(0, 50)), draw(st.integers(0, 60))
        in_flight = draw(st.lists(st.integers(0, 5000), min_size=1, max_size=4))
        busy = draw(st.floats(0.0, 1.2)) * live
        shown.append(
            look(
                at,
                current=current,
                live=live,
                interval_s=interval_s,
                busy=busy,
                in_flight=tuple(in_flight),
            )
        )
    return shown


def replies(peer, shown):
    memory, given_back = peer.begin(), []
    for situation in shown:
        step, memory = peer.recommend(situation, memory)
        given_back.append((step, memory))
    return given_back


def figures(memory: Any) -> int:
    """How many figures a memory is made of."""
    if isinstance(memory, msgspec.Struct):
        return sum(figures(getattr(memory, field)) for field in memory.__struct_fields__)
    return sum(map(figures, memory)) if isinstance(memory, tuple) else 1


@every_peer
@settings(max_examples=40, deadline=None)
@given(shown=situations())
def test_it_never_asks_for_less_than_none(peer, shown):
    for situation, (step, _) in zip(shown, replies(peer, shown), strict=True):
        assert isinstance(step.after, int)
        assert step.after >= 0
        assert step.before == situation.current
        assert step.reason in {Reason.RECOMMENDATION, Reason.NOT_MEASURED}
        assert all(isinstance(figure, int | float | str) for figure in step.inputs.values())


@every_peer
@settings(max_examples=40, deadline=None)
@given(shown=situations())
def test_it_gives_the_same_answer_to_the_same_question(peer, shown):
    first = replies(peer, shown)
    assert replies(peer, shown) == first
    for situation, (_, memory), answer in zip(shown[1:], first, first[1:], strict=False):
        assert peer.recommend(situation, memory) == answer, "an earlier memory was changed"


@every_peer
def test_its_memory_is_a_value(peer):
    situation = look(60.0, current=4, interval_s=60.0, busy=3.0, in_flight=(4,))
    _, memory = peer.recommend(situation, peer.begin())
    hash(memory)


@every_peer
@pytest.mark.parametrize("interval_s", [None, 3600.0], ids=["at its own pace", "hourly"])
def test_its_memory_does_not_grow_for_ever(peer, interval_s):
    period_s = peer.poll_interval_s if interval_s is None else interval_s
    rng = np.random.default_rng(1)
    memory, remembered = peer.begin(), []
    for index in range(1, 3501):
        current, samples = (
            int(rng.integers(1, 30)),
            max(1, round(peer.poll_interval_s / peer.sampling_s)),
        )
        situation = look(
            index * period_s,
            current=current,
            interval_s=period_s,
            busy=float(rng.random()) * current,
            in_flight=tuple(rng.integers(0, 60, samples).tolist()),
        )
        _, memory = peer.recommend(situation, memory)
        if index % 250 == 0:
            remembered.append(figures(memory))
    assert max(remembered) <= MOST_REMEMBERED
    if interval_s is not None:
        assert max(remembered[-2:]) <= max(remembered[:-2])


@pytest.mark.parametrize(
    "peer", [peer for name, peer in PEERS.items() if name not in RESTING], ids=lambda p: p.name
)
def test_at_a_steady_load_it_comes_to_rest(peer):
    allocations, memory, at = 3, peer.begin(), 0.0
    answers = []
    for _ in range(int(3 * 3600.0 / peer.poll_interval_s)):
        at += peer.poll_interval_s
        situation = look(
            at,
            current=allocations,
            interval_s=peer.poll_interval_s,
            busy=min(4.0, allocations),
            in_flight=(5,) * round(peer.poll_interval_s / peer.sampling_s),
        )
        step, memory = peer.recommend(situation, memory)
        allocations = max(1, step.after)
        answers.append(allocations)
    assert len(set(answers[-int(1800.0 / peer.poll_interval_s) :])) == 1
    assert answers[-1] >= 3


@pytest.mark.parametrize(
    "peer",
    [peer for peer in PEERS.values() if isinstance(peer, AcceptsHistory)],
    ids=lambda p: p.name,
)
@pytest.mark.parametrize("minutes", [1, 59, 1440, 5000, 14 * 1440])
def test_a_past_of_any_length_can_be_recalled(peer, minutes):
    memory = peer.from_history(recorded(np.full(minutes, 7.0)), 1, 30)
    assert figures(memory) <= MOST_REMEMBERED
    situation = look(60.0, current=10, interval_s=60.0, busy=7.0, in_flight=(7,))
    step, _ = peer.recommend(situation, memory)
    assert step.after == 10


def test_those_that_learn_from_days_can_recall_them():
    recalling = {name for name, peer in PEERS.items() if isinstance(peer, AcceptsHistory)}
    assert recalling == {"aws predictive", "gcp", "linear", "holt-winters"}
