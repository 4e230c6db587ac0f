"""The keys of a scaling table that concern policies -> a policy, with their relations checked."""

from collections.abc import Callable, Iterator, Sequence

from autoscaler.config import policies
from autoscaler.config.document import ScalingTable, SloTable
from autoscaler.config.durations import format_duration
from autoscaler.config.messages import SHOWN_CHARACTERS, did_you_mean
from autoscaler.config.policies import BuiltInSettings, PolicyUnusable, Registry
from autoscaler.core.policies import AnyPolicy
from autoscaler.core.slo.callers import DEFAULTS
from autoscaler.core.slo.objective import SloObjective

MIN_DEFAULT_DRAIN_S = 30.0
"""The default of drain in seconds, unless poll_interval is longer. Three cycles of the default
poll interval."""

POLICY_SPECIFIC_KEYS = frozenset(
    {"target_utilisation", "load_window", "slo", "drain", "caller_timeout", "options"}
)
"""Keys that only some policies use."""

ProblemHandler = Callable[[str, str], None]
"""Called with a key of a scaling table and a sentence about its problem."""


def check_table(table: ScalingTable, registry: Registry, on_problem: ProblemHandler) -> None:
    """Check one table as it is written, apart from what it inherits."""
    if table.policy not in registry:
        on_problem("policy", no_such_policy(table.policy, registry.names))
    if table.slo is not None and (table.slo.latency is None) == (table.slo.wait is None):
        count = "neither is set" if table.slo.wait is None else "not both"
        on_problem("slo", f"set latency or wait; {count}")


def no_such_policy(name: str, known: Sequence[str]) -> str:
    """
    >>> no_such_policy("utilization", ["calm", "utilisation"])
    "there is no policy 'utilization', only calm and utilisation; did you mean utilisation?"
    """
    *others, last = known
    choices = f"{', '.join(others)} and {last}" if others else last
    shown = f"{name!r:.{SHOWN_CHARACTERS}}"
    return f"there is no policy {shown}, only {choices}{did_you_mean(name, known)}"


def inherit(rule: ScalingTable, defaults: ScalingTable) -> ScalingTable:
    """The rule, with keys that it does not set taken from the defaults.

    Options are inherited only with the policy that they are for.
    """
    own = set(rule.model_fields_set)
    if "policy" in own and rule.policy != defaults.policy:
        own.add("options")
    return ScalingTable.model_construct(
        **{key: getattr(rule if key in own else defaults, key) for key in ScalingTable.model_fields}
    )


def policy_for(
    scaling: ScalingTable, registry: Registry, poll_interval_s: float, on_problem: ProblemHandler
) -> AnyPolicy | None:
    """The policy of a complete table. None: there is none, and the problem is reported."""
    if scaling.policy in policies.BUILT_IN:
        built_in = policies.BUILT_IN[scaling.policy]
        settings = built_in_settings(scaling, poll_interval_s)
        for key, problem in _conflicts(scaling, settings):
            if key in built_in.keys:
                on_problem(key, problem)
        return built_in.build(settings)
    if scaling.policy not in registry:  # `check_table` reports it
        return None
    try:
        return registry.installed(scaling.policy, scaling.options, poll_interval_s)
    except PolicyUnusable as unusable:
        on_problem("policy", str(unusable))
        return None


def check_use(rule: ScalingTable, policy: str, on_problem: ProblemHandler) -> None:
    """Report keys of a rule that its policy does not use: they were set by mistake."""
    used = policies.BUILT_IN[policy].keys if policy in policies.BUILT_IN else {"options"}
    for key in sorted(POLICY_SPECIFIC_KEYS & rule.model_fields_set):
        if key not in used:
            on_problem(key, f"has no effect with policy {policy}; remove it")


def check_rollout(scaling: ScalingTable, policy: AnyPolicy, on_problem: ProblemHandler) -> None:
    """Report a gradual rollout whose policy does not know which requests are late."""
    if scaling.rollout is not None and not hasattr(policy, "slo_status"):
        on_problem(
            "rollout",
            f"requires a policy that estimates late requests, and {policy.name} does not; use slo",
        )


def built_in_settings(scaling: ScalingTable, poll_interval_s: float) -> BuiltInSettings:
    """The settings of a complete table for a built-in policy."""
    return BuiltInSettings(
        poll_interval_s=poll_interval_s,
        load_window_s=scaling.load_window,
        target_utilisation=scaling.target_utilisation,
        objective=_objective(scaling.slo),
        drain_s=scaling.drain or max(MIN_DEFAULT_DRAIN_S, poll_interval_s),
        caller_timeout_s=scaling.caller_timeout,
    )


def _objective(slo: SloTable | None) -> SloObjective:
    if slo is None:
        return SloObjective()
    return SloObjective(target=slo.target, wait_s=slo.wait, latency_s=slo.latency)


def _conflicts(scaling: ScalingTable, settings: BuiltInSettings) -> Iterator[tuple[str, str]]:
    """Keys that conflict with others, each with a sentence about the problem."""
    poll_interval = f"poll_interval, which is {format_duration(settings.poll_interval_s)}"
    if settings.load_window_s < settings.poll_interval_s:
        window = format_duration(settings.load_window_s)
        yield "load_window", f"must be at least {poll_interval}, not {window}"
    if settings.drain_s < settings.poll_interval_s:
        drain = format_duration(settings.drain_s)
        yield "drain", f"must be at least {poll_interval}, not {drain}"
    if scaling.slo is not None:
        max_s = scaling.slo.latency or scaling.slo.wait or 0.0
        given = format_duration(max_s)
        timeout_s = settings.caller_timeout_s
        if timeout_s is None:
            # Who calls the deployments is not known here: the shortest default has to be enough.
            shortest_s = min(timeout.seconds for timeout in DEFAULTS.values())
            if max_s >= shortest_s:
                default = f"{format_duration(shortest_s)} unless it is set"
                yield "slo", f"must be shorter than caller_timeout, which is {default}, not {given}"
        elif max_s >= timeout_s:
            timeout = format_duration(timeout_s)
            yield "slo", f"must be shorter than caller_timeout, which is {timeout}, not {given}"
