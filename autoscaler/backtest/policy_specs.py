"""The policies that a back-test compares: those of this autoscaler, adaptive allocations, baselines
and the oracle. Most have one parameter."""

import math
from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from functools import cache
from types import MappingProxyType

from msgspec import Struct

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
from autoscaler.backtest.baselines.static import AT_MEAN, AT_PEAK, Static, for_load, true_loads
from autoscaler.backtest.baselines.threshold import ThresholdStep
from autoscaler.backtest.configuration_text import (
    adaptive_allocations_call,
    installed_rule,
    slo_rule,
    utilisation_rule,
)
from autoscaler.backtest.configured_rule import ConfiguredRule
from autoscaler.backtest.drivers import as_configured
from autoscaler.backtest.oracle.outlooks import Outlook, known_outlooks, usual_outlooks
from autoscaler.backtest.results.comparison import (
    MINUTE_RATE_ORACLE,
    ORACLE,
    RATE_FOLLOWER,
    RATE_ORACLE,
)
from autoscaler.backtest.world.scenario import BacktestScenario
from autoscaler.backtest.world.workload import Workload
from autoscaler.config.document import ScalingTable
from autoscaler.config.policies import Registry
from autoscaler.config.policy_settings import built_in_settings
from autoscaler.core.decision import Mode
from autoscaler.core.flow.planning import MAX_INTERVAL_POLLS, Ruleset
from autoscaler.core.forecast.seasonality import SLOT_S
from autoscaler.core.policies import AnyPolicy, UtilisationPolicy
from autoscaler.core.slo.objective import SloObjective
from autoscaler.core.slo.policy import RecordedLoads, SloPolicy

MINUTE_S, TEN_SECONDS_S = 60.0, 10.0


class RunInputs(Struct, frozen=True, kw_only=True):
    """The inputs that are known before a run begins.

    Only policies that are defined by the workload use it: the fixed allocations and the oracles.
    From the scenario, a policy uses what its operator would know, such as the time to start a
    process.
    """

    workload: Workload
    scenario: BacktestScenario


class Runtime(Enum):
    """Where a policy runs, which determines its measurements and how its allocations are set."""

    DAEMON = auto()  # in this daemon, with its constraints
    CLUSTER = auto()  # in Elasticsearch
    EXTERNAL = auto()  # in an orchestrator that reads metrics
    ORACLE = auto()  # nowhere: it knows requests or rates in advance


Build = Callable[[float, RunInputs], AnyPolicy]
Foresee = Callable[[RunInputs], Sequence[Outlook | None]]
Configure = Callable[[float, BacktestScenario], str]


class PolicySpec(Struct, frozen=True, kw_only=True):
    """An autoscaler, and its parameter if it has one."""

    title: str  # in reports
    runtime: Runtime = Runtime.EXTERNAL
    parameter: str = ""
    default: float = math.nan
    sweep: tuple[float, ...] = ()  # monotonic in cost; contains the default
    build: Build | None = None  # None: the runtime needs no policy, or `rule` is set
    foresee: Foresee | None = None  # of an oracle; None: it knows all requests
    mode: Mode = Mode.DIRECT  # the control mode of the daemon
    version: str | None = (
        None  # of the cluster, if adaptive allocations are needed; None: the scenario's
    )
    rule: ConfiguredRule | None = None  # the rule that it is, instead of a policy with defaults
    configure: Configure | None = None  # how to use it with this program; None: not at all

    def setting(self, value: float) -> str:
        """The setting in a result row.

        >>> POLICY_SPECS["hpa"].setting(0.7)
        'target=0.7'
        """
        return f"{self.parameter}={value:g}" if self.parameter else ""

    def default_in(self, scenario: BacktestScenario) -> float:
        """The default of the parameter. That of an SLO target is the scenario's."""
        return scenario.slo_target if self.parameter == SLO_TARGET else self.default

    def configuration(self, value: float, scenario: BacktestScenario) -> str:
        """How an operator gets this policy with this value; empty: not in this scenario."""
        if self.configure is None or not _is_of_version(self, scenario):
            return ""
        return self.configure(value, scenario)


def _is_of_version(spec: PolicySpec, scenario: BacktestScenario) -> bool:
    """Whether the cluster of the scenario has the adaptive allocations of the policy."""
    major = spec.version is not None and spec.version.partition(".")[0]
    return major in (False, scenario.version.partition(".")[0])


SLO_TARGET = "slo_target"
"""The parameter of policies that know the SLO, which is its target, as results name it."""

_WITH_SCALER = "9.3.0"

_BUSY = (0.4, 0.55, 0.7, 0.85, 0.97)
"""Targets of utilisation, all below 1."""

_BUSY_TO_CHOOSE = (0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.8, 0.9)
"""The same for `utilisation`: closer, because a back-test names the cheapest that meets the SLO."""

_LOW_TO_HIGH = 0.3 / 0.8
"""Ratio of the lower threshold to the upper. With a larger ratio, a step down could cause a step
up."""


def _utilisation_target(title: str, build: Callable[[float, RunInputs], AnyBaseline]) -> PolicySpec:
    return PolicySpec(title=title, parameter="target", default=0.7, sweep=_BUSY, build=build)


def _slo(target: float, inputs: RunInputs) -> SloPolicy:
    """With the SLO of the scenario, and with the history before the day."""
    settings = built_in_settings(ScalingTable(), inputs.scenario.poll_interval_s)
    return SloPolicy(
        objective=SloObjective(target=target, wait_s=inputs.scenario.slo_wait_s),
        drain_s=settings.drain_s,
        caller_timeout_s=inputs.scenario.timeout_s,
        load_window_s=_load_window_s(inputs.scenario),
        history=_recorded_loads(inputs.workload),
    )


def _recorded_loads(workload: Workload) -> RecordedLoads:
    history = workload.history
    loads = () if history is None else tuple(offered_loads(history, SLOT_S).tolist())
    return RecordedLoads(loads=loads, ends_at=workload.start)


def _utilisation(target: float, inputs: RunInputs) -> AnyPolicy:
    return UtilisationPolicy(target=target, load_window_s=_load_window_s(inputs.scenario))


def _load_window_s(scenario: BacktestScenario) -> float:
    """The default, or the poll interval if that is longer, as the configuration requires."""
    return max(ScalingTable().load_window, scenario.poll_interval_s)


def _keda(target: float, _: RunInputs) -> AnyBaseline:
    return Keda(scaler=Hpa(metric=AverageInFlight(target=target)))


def _aws_predictive(target: float, inputs: RunInputs) -> AnyBaseline:
    return PredictiveScaling(tracking=TargetTracking(target=target), ahead_s=inputs.scenario.load_s)


def _predictive_hpa_linear(target: float, inputs: RunInputs) -> AnyBaseline:
    model = Linear(look_ahead_s=inputs.scenario.load_s)
    return PredictiveHpa(metric=AverageUtilisation(target=target), model=model)


def _static_peak(multiple: float, inputs: RunInputs) -> AnyBaseline:
    workload = inputs.workload
    busiest = float(
        true_loads(
            workload.at - workload.start, workload.work_s, workload.duration_s, MINUTE_S
        ).max()
    )
    return Static(allocations=round_up(multiple * for_load(busiest, AT_PEAK)))


def _static_mean(multiple: float, inputs: RunInputs) -> AnyBaseline:
    workload = inputs.workload
    mean = float(workload.work_s.sum()) / workload.duration_s
    return Static(allocations=round_up(multiple * for_load(mean, AT_MEAN)))


def _oracle(title: str, foresee: Foresee | None = None) -> PolicySpec:
    return PolicySpec(
        title=title,
        runtime=Runtime.ORACLE,
        parameter=SLO_TARGET,
        default=0.99,
        sweep=(0.8, 0.95, 0.98, 0.99, 0.999),
        foresee=foresee,
    )


def _rate_oracle(title: str, resolution_s: float) -> PolicySpec:
    return _oracle(
        title, lambda inputs: known_outlooks(inputs.workload, inputs.scenario, resolution_s)
    )


POLICY_SPECS: Mapping[str, PolicySpec] = MappingProxyType(
    {
        "slo": PolicySpec(
            title="autoscaler, policy slo",
            runtime=Runtime.DAEMON,
            parameter=SLO_TARGET,
            default=0.99,
            sweep=(0.5, 0.9, 0.97, 0.99, 0.998),
            build=_slo,
            configure=slo_rule,
        ),
        "slo-bounds": PolicySpec(
            title="autoscaler, policy slo, mode bounds",
            runtime=Runtime.DAEMON,
            parameter=SLO_TARGET,
            default=0.99,
            sweep=(0.5, 0.9, 0.97, 0.99, 0.998),
            build=_slo,
            mode=Mode.BOUNDS,
            version=_WITH_SCALER,
            configure=lambda target, scenario: slo_rule(target, scenario, Mode.BOUNDS),
        ),
        "utilisation": PolicySpec(
            title="autoscaler, policy utilisation",
            runtime=Runtime.DAEMON,
            parameter="target",
            default=ScalingTable().target_utilisation,
            sweep=_BUSY_TO_CHOOSE,
            build=_utilisation,
            configure=utilisation_rule,
        ),
        "adaptive-8.16": PolicySpec(
            title="Elasticsearch 8.16, adaptive allocations",
            runtime=Runtime.CLUSTER,
            version="8.16.0",
            configure=adaptive_allocations_call,
        ),
        "adaptive-9": PolicySpec(
            title="Elasticsearch 9, adaptive allocations",
            runtime=Runtime.CLUSTER,
            version=_WITH_SCALER,
            configure=adaptive_allocations_call,
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
        RATE_FOLLOWER: _oracle(
            "Rate follower", lambda inputs: usual_outlooks(inputs.workload, inputs.scenario)
        ),
        MINUTE_RATE_ORACLE: _rate_oracle("Rate oracle, by the minute", MINUTE_S),
        RATE_ORACLE: _rate_oracle("Rate oracle, by ten seconds", TEN_SECONDS_S),
        ORACLE: _oracle("Oracle"),
    }
)
"""The policies that are part of the program, by name."""

DEFAULT_POLICIES = tuple(name for name, each in POLICY_SPECS.items() if each.mode is Mode.DIRECT)
"""The policies that are run by default: those of mode direct, because `slo-bounds` is `slo` in
another mode."""


def names() -> tuple[str, ...]:
    """All names that `policy_spec` accepts: of built-in and of installed policies."""
    return (*POLICY_SPECS, *(name for name in Registry().others if name not in POLICY_SPECS))


def rule_spec(rule: ConfiguredRule) -> PolicySpec:
    """A rule of the operator's configuration."""
    return PolicySpec(
        title=f"rule {rule.name} of {rule.written.file}",
        runtime=Runtime.DAEMON,
        rule=rule,
        configure=lambda *_: f"# the rule {rule.name} of {rule.written.file}, as it is",
    )


@cache
def policy_spec(name: str) -> PolicySpec:
    """One of `POLICY_SPECS`, or else an installed policy, in the daemon and without options."""
    if name in POLICY_SPECS:
        return POLICY_SPECS[name]
    return PolicySpec(
        title=f"{name}, installed",
        runtime=Runtime.DAEMON,
        build=lambda _, inputs: _installed(name, inputs.scenario),
        configure=lambda _, scenario: installed_rule(name, scenario),
    )


def ruleset_of(spec: PolicySpec, value: float, inputs: RunInputs) -> tuple[float, Ruleset]:
    """The poll interval in seconds, and the rules that the daemon runs with."""
    scenario = inputs.scenario
    if spec.rule is not None:
        history = _recorded_loads(inputs.workload)
        polling, rule = spec.rule.in_scenario(scenario, history)
        return polling.interval_s, Ruleset(
            rules=(rule,),
            max_interval_s=MAX_INTERVAL_POLLS * polling.interval_s,
            polling=polling,
        )
    assert spec.build is not None, "a policy of the daemon can be built"
    policy = spec.build(value, inputs)
    return scenario.poll_interval_s, as_configured(policy, scenario, spec.mode)


def ensure_usable(name: str, scenario: BacktestScenario) -> None:
    """
    Raises:
        PolicyUnusable: it is an installed policy that cannot be loaded.
    """
    if name not in POLICY_SPECS:
        _installed(name, scenario)


def _installed(name: str, scenario: BacktestScenario) -> AnyPolicy:
    return Registry().installed(name, {}, scenario.poll_interval_s)
