"""Who can be put to the test: our policy, the cluster's own scaler, those that people know, and the
clairvoyant, most of them with one knob to turn."""

import math
from collections.abc import Callable, Mapping
from enum import Enum, auto
from functools import cache
from types import MappingProxyType

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from autoscaler.config.choosing import terms_of
from autoscaler.config.document import ScalingTable
from autoscaler.config.policies import Registry
from autoscaler.core.objective import Objective
from autoscaler.core.policies import AnyPolicy, Utilisation
from autoscaler.core.seasonality import SLOT_S
from autoscaler.core.slo import History, Slo
from autoscaler.core.values import Mode
from autoscaler.laboratory.comparison import CLAIRVOYANT
from autoscaler.laboratory.demand import Demand
from autoscaler.laboratory.peers.aws import PredictiveScaling, TargetTracking
from autoscaler.laboratory.peers.forecasts import HoltWinters, Linear
from autoscaler.laboratory.peers.gcp import GcpPredictive
from autoscaler.laboratory.peers.hpa import AverageInFlight, AverageUtilisation, Hpa
from autoscaler.laboratory.peers.keda import Keda
from autoscaler.laboratory.peers.kpa import Kpa
from autoscaler.laboratory.peers.peer import AnyPeer, offered_loads
from autoscaler.laboratory.peers.perfect_now import LOOK_S, PerfectNow, true_loads
from autoscaler.laboratory.peers.predictive_hpa import PredictiveHpa
from autoscaler.laboratory.peers.ray_serve import RayServe
from autoscaler.laboratory.peers.sizing import round_up
from autoscaler.laboratory.peers.static import AT_MEAN, AT_PEAK, Static, for_load
from autoscaler.laboratory.peers.threshold import ThresholdStep
from autoscaler.laboratory.scenario import Scenario

MINUTE_S = 60.0


class Foreseen(Struct, frozen=True, kw_only=True):
    """A run before it begins.

    The demand is for those alone that are defined by knowing it: the fixed numbers and
    `perfect-now`. Of the scenario, all may know what their operator would: how long a start takes.
    """

    demand: Demand
    scenario: Scenario


class Home(Enum):
    """Where a contestant runs, which says what it sees and how its number gets to the cluster."""

    DAEMON = auto()  # in our daemon, under its rules
    CLUSTER = auto()  # in the cluster itself
    ELSEWHERE = auto()  # in an orchestrator, which looks at metrics
    FORESIGHT = auto()  # nowhere: it knows what will be


Build = Callable[[float, Foreseen], AnyPolicy]


class Contestant(Struct, frozen=True, kw_only=True):
    """An autoscaler, and its one knob if it has one."""

    title: str  # for people
    home: Home = Home.ELSEWHERE
    knob: str = ""
    default: float = math.nan
    sweep: tuple[float, ...] = ()  # from generous to stingy or back, the default among them
    build: Build | None = None  # the policy, unless it is at home where policies are not
    mode: Mode = Mode.DIRECT  # the lever, of whoever is at home in the daemon
    version: str | None = None  # of the cluster whose own scaler it needs; None: the scenario's

    def setting(self, value: float) -> str:
        """What a row of results calls it.

        >>> CONTESTANTS["hpa"].setting(0.7)
        'target=0.7'
        """
        return f"{self.knob}={value:g}" if self.knob else ""


SHARE = "share"
"""The knob of those who are told what is promised: the share of the requests in time."""

_WITH_SCALER = "9.3.0"

_BUSY = (0.4, 0.55, 0.7, 0.85, 0.97)
"""Targets for utilisation, which cannot pass 1."""

_LOW_TO_HIGH = 0.3 / 0.8
"""The lower threshold goes with the upper, or a step down could call for a step up."""


def _utilisation_target(title: str, build: Callable[[float, Foreseen], AnyPeer]) -> Contestant:
    return Contestant(title=title, knob="target", default=0.7, sweep=_BUSY, build=build)


def _slo(share: float, foreseen: Foreseen) -> Slo:
    """With the scenario's objective, which is what its operator would have asked for, and with what
    it would know had it been there before."""
    terms, past = terms_of(ScalingTable(), foreseen.scenario.poll_s), foreseen.demand.past
    loads = () if past is None else tuple(offered_loads(past, SLOT_S).tolist())
    return Slo(
        objective=Objective(percentile=share, wait_s=foreseen.scenario.slo_wait_s),
        drain_s=terms.drain_s,
        caller_timeout_s=foreseen.scenario.timeout_s,
        load_window_s=terms.load_window_s,
        history=History(loads=loads, ends_at=foreseen.demand.start),
    )


def _utilisation(target: float, _: Foreseen) -> AnyPolicy:
    return Utilisation(target=target, load_window_s=ScalingTable().load_window)


def _keda(target: float, _: Foreseen) -> AnyPeer:
    return Keda(scaler=Hpa(metric=AverageInFlight(target=target)))


def _aws_predictive(target: float, foreseen: Foreseen) -> AnyPeer:
    return PredictiveScaling(
        tracking=TargetTracking(target=target), ahead_s=foreseen.scenario.load_s
    )


def _predictive_hpa_linear(target: float, foreseen: Foreseen) -> AnyPeer:
    model = Linear(look_ahead_s=foreseen.scenario.load_s)
    return PredictiveHpa(metric=AverageUtilisation(target=target), model=model)


def _static_peak(multiple: float, foreseen: Foreseen) -> AnyPeer:
    busiest = float(_loads(foreseen.demand, MINUTE_S).max())
    return Static(allocations=round_up(multiple * for_load(busiest, AT_PEAK)))


def _static_mean(multiple: float, foreseen: Foreseen) -> AnyPeer:
    demand = foreseen.demand
    mean = float(demand.work_s.sum()) / demand.duration_s
    return Static(allocations=round_up(multiple * for_load(mean, AT_MEAN)))


def _perfect_now(target: float, foreseen: Foreseen) -> AnyPeer:
    demand = foreseen.demand
    return PerfectNow(
        target=target, start=demand.start, loads=tuple(_loads(demand, LOOK_S).tolist())
    )


def _loads(demand: Demand, slot_s: float) -> NDArray[np.float64]:
    return true_loads(demand.at - demand.start, demand.work_s, demand.duration_s, slot_s)


CONTESTANTS: Mapping[str, Contestant] = MappingProxyType(
    {
        "slo": Contestant(
            title="autoscaler, policy slo",
            home=Home.DAEMON,
            knob=SHARE,
            default=0.99,
            sweep=(0.5, 0.9, 0.97, 0.99, 0.998),
            build=_slo,
        ),
        "slo-bounds": Contestant(
            title="autoscaler, policy slo, moving bounds",
            home=Home.DAEMON,
            knob=SHARE,
            default=0.99,
            sweep=(0.5, 0.9, 0.97, 0.99, 0.998),
            build=_slo,
            mode=Mode.BOUNDS,
            version=_WITH_SCALER,
        ),
        "utilisation": Contestant(
            title="autoscaler, policy utilisation",
            home=Home.DAEMON,
            knob="target",
            default=ScalingTable().target_utilisation,
            sweep=_BUSY,
            build=_utilisation,
        ),
        "native-8.16": Contestant(
            title="Elasticsearch 8.16, adaptive allocations", home=Home.CLUSTER, version="8.16.0"
        ),
        "native-9": Contestant(
            title="Elasticsearch 9, adaptive allocations", home=Home.CLUSTER, version=_WITH_SCALER
        ),
        "hpa": _utilisation_target(
            "Kubernetes HPA",
            lambda target, _: Hpa(metric=AverageUtilisation(target=target)),
        ),
        "keda": Contestant(
            title="KEDA on requests in flight",
            knob="target",
            default=1.0,
            sweep=(0.4, 0.55, 0.7, 1.0, 1.5),
            build=_keda,
        ),
        "kpa": Contestant(
            title="Knative KPA",
            knob="target",
            default=0.7,
            sweep=(0.35, 0.5, 0.7, 1.0, 1.4),
            build=lambda target, _: Kpa(target=target),
        ),
        "ray-serve": Contestant(
            title="Ray Serve",
            knob="target",
            default=2.0,
            sweep=(0.4, 0.55, 0.7, 1.0, 2.0),
            build=lambda target, _: RayServe(target=target),
        ),
        "aws-target-tracking": _utilisation_target(
            "AWS target tracking",
            lambda target, _: TargetTracking(target=target),
        ),
        "aws-predictive": _utilisation_target("AWS predictive scaling", _aws_predictive),
        "gcp-predictive": _utilisation_target(
            "Google Cloud predictive autoscaling",
            lambda target, foreseen: GcpPredictive(
                target=target, initialisation_s=foreseen.scenario.load_s
            ),
        ),
        "predictive-hpa-linear": _utilisation_target(
            "Predictive HPA, linear", _predictive_hpa_linear
        ),
        "predictive-hpa-holt-winters": _utilisation_target(
            "Predictive HPA, Holt-Winters",
            lambda target, _: PredictiveHpa(
                metric=AverageUtilisation(target=target), model=HoltWinters()
            ),
        ),
        "threshold-step": Contestant(
            title="Threshold, steps of one",
            knob="high",
            default=0.8,
            sweep=(0.5, 0.65, 0.8, 0.9, 0.95),
            build=lambda high, _: ThresholdStep(high=high, low=_LOW_TO_HIGH * high),
        ),
        "static-peak": Contestant(
            title="Fixed, for the busiest minute",
            knob="multiple",
            default=1.0,
            sweep=(1.25, 1.0, 0.7, 0.5, 0.35),
            build=_static_peak,
        ),
        "static-mean": Contestant(
            title="Fixed, for the mean load",
            knob="multiple",
            default=1.0,
            sweep=(2.8, 2.0, 1.4, 1.0, 0.7),
            build=_static_mean,
        ),
        "perfect-now": _utilisation_target("Knows the load of now", _perfect_now),
        CLAIRVOYANT: Contestant(
            title="Clairvoyant",
            home=Home.FORESIGHT,
            knob=SHARE,
            default=0.99,
            sweep=(0.8, 0.95, 0.98, 0.99, 0.999),
        ),
    }
)
"""By name: those that come with the program."""

USUAL = tuple(name for name, each in CONTESTANTS.items() if each.mode is Mode.DIRECT)
"""Who is tried unless others are named: policies, and not what another lever makes of one."""


def names() -> tuple[str, ...]:
    """All that `contestant` knows: our contestants, and what is installed under other names."""
    return (*CONTESTANTS, *(name for name in Registry().others if name not in CONTESTANTS))


@cache
def contestant(name: str) -> Contestant:
    """One of `CONTESTANTS`, or else an installed policy, in our daemon and without options."""
    if name in CONTESTANTS:
        return CONTESTANTS[name]
    return Contestant(
        title=f"{name}, installed",
        home=Home.DAEMON,
        build=lambda _, foreseen: _installed(name, foreseen.scenario),
    )


def ensure_usable(name: str, scenario: Scenario) -> None:
    """
    Raises:
        Unusable: it is an installed policy that cannot be had.
    """
    if name not in CONTESTANTS:
        _installed(name, scenario)


def _installed(name: str, scenario: Scenario) -> AnyPolicy:
    return Registry().installed(name, {}, scenario.poll_s)
