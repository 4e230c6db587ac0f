"""What the scaling tables say of policies -> a policy. What holds between those keys is here."""

from collections.abc import Callable, Iterator, Sequence

from autoscaler.config import policies
from autoscaler.config.document import ScalingTable, SloTable
from autoscaler.config.durations import format_duration
from autoscaler.config.messages import SHOWN_CHARACTERS, did_you_mean
from autoscaler.config.policies import BuiltInSettings, PolicyUnusable, Registry
from autoscaler.core.policies import AnyPolicy
from autoscaler.core.slo.objective import SloObjective

MIN_DEFAULT_DRAIN_S = 30.0

POLICY_SPECIFIC_KEYS = frozenset(
    {"target_utilisation", "load_window", "slo", "drain", "caller_timeout", "options"}
)
"""Keys that some policies do not look at."""

ProblemHandler = Callable[[str, str], None]
"""Told a key of the scaling tables, and what is wrong with it."""


def check_table(table: ScalingTable, registry: Registry, complain: ProblemHandler) -> None:
    """What can be said of one table as it is written, whatever it inherits or bequeaths."""
    if table.policy not in registry:
        complain("policy", no_such_policy(table.policy, registry.names))
    if table.slo is not None and (table.slo.latency is None) == (table.slo.wait is None):
        both = "neither is set" if table.slo.wait is None else "not both"
        complain("slo", f"set latency or wait; {both}")


def no_such_policy(name: str, known: Sequence[str]) -> str:
    """
    >>> no_such_policy("utilization", ["calm", "utilisation"])
    "there is no policy 'utilization', only calm and utilisation; did you mean utilisation?"
    """
    *others, last = known
    there_are = f"{', '.join(others)} and {last}" if others else last
    shown = f"{name!r:.{SHOWN_CHARACTERS}}"
    return f"there is no policy {shown}, only {there_are}{did_you_mean(name, known)}"


def inherit(rule: ScalingTable, defaults: ScalingTable) -> ScalingTable:
    """The rule with what it leaves out taken from the defaults.

    Of options, only if they are for the same policy.
    """
    written = set(rule.model_fields_set)
    if "policy" in written and rule.policy != defaults.policy:
        written.add("options")
    return ScalingTable.model_construct(
        **{
            key: getattr(rule if key in written else defaults, key)
            for key in ScalingTable.model_fields
        }
    )


def policy_for(
    scaling: ScalingTable, registry: Registry, poll_interval_s: float, complain: ProblemHandler
) -> AnyPolicy | None:
    """The policy that a complete table asks for. None: it cannot be had, and `complain` knows."""
    if scaling.policy in policies.BUILT_IN:
        built_in = policies.BUILT_IN[scaling.policy]
        terms = built_in_settings(scaling, poll_interval_s)
        for key, complaint in _conflicts(scaling, terms):
            if key in built_in.keys:
                complain(key, complaint)
        return built_in.build(terms)
    if scaling.policy not in registry:  # as `check` has said where it is written
        return None
    try:
        return registry.installed(scaling.policy, scaling.options, poll_interval_s)
    except PolicyUnusable as unusable:
        complain("policy", str(unusable))
        return None


def check_use(rule: ScalingTable, policy: str, complain: ProblemHandler) -> None:
    """A key that a rule sets for nothing was set by mistake."""
    used = policies.BUILT_IN[policy].keys if policy in policies.BUILT_IN else {"options"}
    for key in sorted(POLICY_SPECIFIC_KEYS & rule.model_fields_set):
        if key not in used:
            complain(key, f"has no effect, since the policy is {policy}")


def built_in_settings(scaling: ScalingTable, poll_interval_s: float) -> BuiltInSettings:
    """What a complete table says to a policy that comes with the program."""
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
    return SloObjective(target=slo.percentile, wait_s=slo.wait, latency_s=slo.latency)


def _conflicts(scaling: ScalingTable, terms: BuiltInSettings) -> Iterator[tuple[str, str]]:
    """Keys that others rule out, each with what is wrong."""
    poll_interval = f"poll_interval, which is {format_duration(terms.poll_interval_s)}"
    if terms.load_window_s < terms.poll_interval_s:
        window = format_duration(terms.load_window_s)
        yield "load_window", f"must be at least {poll_interval}, not {window}"
    if terms.drain_s < terms.poll_interval_s:
        drain = format_duration(terms.drain_s)
        yield "drain", f"must be at least {poll_interval}, not {drain}"
    if scaling.slo is not None:
        max_s = scaling.slo.latency or scaling.slo.wait or 0.0
        if max_s >= terms.caller_timeout_s:
            caller_timeout = f"caller_timeout, which is {format_duration(terms.caller_timeout_s)}"
            yield "slo", f"must be shorter than {caller_timeout}, not {format_duration(max_s)}"
