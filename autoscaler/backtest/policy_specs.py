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

from autoscaler.backtest.baselines.aws import PredictiveScaling, TargetTracking
from autoscaler.backtest.baselines.baseline import AnyBaseline, offered_loads
from autoscaler.backtest.baselines.forecasts import HoltWinters, Linear
from autoscaler.backtest.baselines.gcp import GcpPredictive
from autoscaler.backtest.baselines.hpa import AverageInFlight, AverageUtilisation, Hpa
from autoscaler.backtest.baselines.keda import Keda
from autoscaler.backtest.baselines.kpa import Kpa
from autoscaler.backtest.baselines.predictive_hpa import PredictiveHpa
from autoscaler.backtest.baselines.ray_serve import RayServe
from autoscaler.backtest.baselines.sizing import round_up
from autoscaler.backtest.baselines.static import AT_MEAN, AT_PEAK, Static, for_load
from autoscaler.backtest.baselines.threshold import ThresholdStep
from autoscaler.backtest.baselines.zero_lag_oracle import POLL_INTERVAL_S, ZeroLagOracle, true_loads
from autoscaler.backtest.results.comparison import ORACLE
from autoscaler.backtest.world.scenario import BacktestScenario
from autoscaler.backtest.world.workload import Workload
from autoscaler.config.document import ScalingTable
from autoscaler.config.policies import Registry
from autoscaler.config.policy_settings import built_in_settings
from autoscaler.core.forecast.seasonality import SLOT_S
from autoscaler.core.policies import AnyPolicy, UtilisationPolicy
from autoscaler.core.slo.objective import SloObjective
from autoscaler.core.slo.policy import RecordedLoads, SloPolicy
from autoscaler.core.values import Mode

MINUTE_S = 60.0


class RunInputs(Struct, frozen=True, kw_only=True):
    """A run before it begins.

    The demand is for those alone that are defined by knowing it: the fixed numbers and
    `zero-lag-oracle`. Of the scenario, all may know what their operator would: how long a start takes.
    """

    workload: Workload
    scenario: BacktestScenario


class Runtime(Enum):
    """Where a contestant runs, which says what it sees and how its number gets to the cluster."""

    DAEMON = auto()  # in our daemon, under its rules
    CLUSTER = auto()  # in the cluster itself
    EXTERNAL = auto()  # in an orchestrator, which looks at metrics
    ORACLE = auto()  # nowhere: it knows what will be


Build = Callable[[float, RunInputs], AnyPolicy]


class PolicySpec(Struct, frozen=True, kw_only=True):
    """An autoscaler, and its one knob if it has one."""

    title: str  # for people
    runtime: Runtime = Runtime.EXTERNAL
    parameter: str = ""
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
        return f"{self.parameter}={value:g}" if self.parameter else ""


SHARE = "share"
"""The knob of those who are told what is promised: the share of the requests in time."""

_WITH_SCALER = "9.3.0"

_BUSY = (0.4, 0.55, 0.7, 0.85, 0.97)
"""Targets for utilisation, which cannot pass 1."""

_LOW_TO_HIGH = 0.3 / 0.8
"""The lower threshold goes with the upper, or a step down could call for a step up."""


def _utilisation_target(title: str, build: Callable[[float, RunInputs], AnyBaseline]) -> PolicySpec:
    return PolicySpec(title=title, parameter="target", default=0.7, sweep=_BUSY, build=build)


def _slo(share: float, inputs: RunInputs) -> SloPolicy:
    """With the scenario's objective, which is what its operator would have asked for, and with what
    it would know had it been there before."""
    terms, history = (
        built_in_settings(ScalingTable(), inputs.scenario.poll_interval_s),
        inputs.workload.history,
    )
    loads = () if history is None else tuple(offered_loads(history, SLOT_S).tolist())
    return SloPolicy(
        objective=SloObjective(target=share, wait_s=inputs.scenario.slo_wait_s),
        drain_s=terms.drain_s,
        caller_timeout_s=inputs.scenario.timeout_s,
        load_window_s=terms.load_window_s,
        history=RecordedLoads(loads=loads, ends_at=inputs.workload.start),
    )


def _utilisation(target: float, _: RunInputs) -> AnyPolicy:
    return UtilisationPolicy(target=target, load_window_s=ScalingTable().load_window)


def _keda(target: float, _: RunInputs) -> AnyBaseline:
    return Keda(scaler=Hpa(metric=AverageInFlight(target=target)))


def _aws_predictive(target: float, inputs: RunInputs) -> AnyBaseline:
    return PredictiveScaling(tracking=TargetTracking(target=target), ahead_s=inputs.scenario.load_s)


def _predictive_hpa_linear(target: float, inputs: RunInputs) -> AnyBaseline:
    model = Linear(look_ahead_s=inputs.scenario.load_s)
    return PredictiveHpa(metric=AverageUtilisation(target=target), model=model)


def _static_peak(multiple: float, inputs: RunInputs) -> AnyBaseline:
    busiest = float(_loads(inputs.workload, MINUTE_S).max())
    return Static(allocations=round_up(multiple * for_load(busiest, AT_PEAK)))


def _static_mean(multiple: float, inputs: RunInputs) -> AnyBaseline:
    workload = inputs.workload
    mean = float(workload.work_s.sum()) / workload.duration_s
    return Static(allocations=round_up(multiple * for_load(mean, AT_MEAN)))


def _perfect_now(target: float, inputs: RunInputs) -> AnyBaseline:
    workload = inputs.workload
    return ZeroLagOracle(
        target=target, start=workload.start, loads=tuple(_loads(workload, POLL_INTERVAL_S).tolist())
    )


def _loads(workload: Workload, slot_s: float) -> NDArray[np.float64]:
    return true_loads(workload.at - workload.start, workload.work_s, workload.duration_s, slot_s)


POLICY_SPECS: Mapping[str, PolicySpec] = MappingProxyType(
    {
        "slo": PolicySpec(
            title="autoscaler, policy slo",
            runtime=Runtime.DAEMON,
            parameter=SHARE,
            default=0.99,
            sweep=(0.5, 0.9, 0.97, 0.99, 0.998),
            build=_slo,
        ),
        "slo-bounds": PolicySpec(
            title="autoscaler, policy slo, moving bounds",
            runtime=Runtime.DAEMON,
            parameter=SHARE,
            default=0.99,
            sweep=(0.5, 0.9, 0.97, 0.99, 0.998),
            build=_slo,
            mode=Mode.BOUNDS,
            version=_WITH_SCALER,
        ),
        "utilisation": PolicySpec(
            title="autoscaler, policy utilisation",
            runtime=Runtime.DAEMON,
            parameter="target",
            default=ScalingTable().target_utilisation,
            sweep=_BUSY,
            build=_utilisation,
        ),
        "adaptive-8.16": PolicySpec(
            title="Elasticsearch 8.16, adaptive allocations",
            runtime=Runtime.CLUSTER,
            version="8.16.0",
        ),
        "adaptive-9": PolicySpec(
            title="Elasticsearch 9, adaptive allocations",
            runtime=Runtime.CLUSTER,
            version=_WITH_SCALER,
        ),
        "hpa": _utilisation_target(
            "Kubernetes HPA",
            lambda target, _: Hpa(metric=AverageUtilisation(target=target)),
        ),
        "keda": PolicySpec(
            title="KEDA on requests in flight",
            parameter="target",
            default=1.0,
            sweep=(0.4, 0.55, 0.7, 1.0, 1.5),
            build=_keda,
        ),
        "kpa": PolicySpec(
            title="Knative KPA",
            parameter="target",
            default=0.7,
            sweep=(0.35, 0.5, 0.7, 1.0, 1.4),
            build=lambda target, _: Kpa(target=target),
        ),
        "ray-serve": PolicySpec(
            title="Ray Serve",
            parameter="target",
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
            lambda target, inputs: GcpPredictive(
                target=target, initialisation_s=inputs.scenario.load_s
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
        "threshold-step": PolicySpec(
            title="Threshold, steps of one",
            parameter="high",
            default=0.8,
            sweep=(0.5, 0.65, 0.8, 0.9, 0.95),
            build=lambda high, _: ThresholdStep(high=high, low=_LOW_TO_HIGH * high),
        ),
        "static-peak": PolicySpec(
            title="Fixed, for the busiest minute",
            parameter="multiple",
            default=1.0,
            sweep=(1.25, 1.0, 0.7, 0.5, 0.35),
            build=_static_peak,
        ),
        "static-mean": PolicySpec(
            title="Fixed, for the mean load",
            parameter="multiple",
            default=1.0,
            sweep=(2.8, 2.0, 1.4, 1.0, 0.7),
            build=_static_mean,
        ),
        "zero-lag-oracle": _utilisation_target("Knows the load of now", _perfect_now),
        ORACLE: PolicySpec(
            title="Clairvoyant",
            runtime=Runtime.ORACLE,
            parameter=SHARE,
            default=0.99,
            sweep=(0.8, 0.95, 0.98, 0.99, 0.999),
        ),
    }
)
"""By name: those that come with the program."""

DEFAULT_POLICIES = tuple(name for name, each in POLICY_SPECS.items() if each.mode is Mode.DIRECT)
"""Who is tried unless others are named: policies, and not what another lever makes of one."""


def names() -> tuple[str, ...]:
    """All that `contestant` knows: our contestants, and what is installed under other names."""
    return (*POLICY_SPECS, *(name for name in Registry().others if name not in POLICY_SPECS))


@cache
def policy_spec(name: str) -> PolicySpec:
    """One of `CONTESTANTS`, or else an installed policy, in our daemon and without options."""
    if name in POLICY_SPECS:
        return POLICY_SPECS[name]
    return PolicySpec(
        title=f"{name}, installed",
        runtime=Runtime.DAEMON,
        build=lambda _, inputs: _installed(name, inputs.scenario),
    )


def ensure_usable(name: str, scenario: BacktestScenario) -> None:
    """
    Raises:
        Unusable: it is an installed policy that cannot be had.
    """
    if name not in POLICY_SPECS:
        _installed(name, scenario)


def _installed(name: str, scenario: BacktestScenario) -> AnyPolicy:
    return Registry().installed(name, {}, scenario.poll_interval_s)
