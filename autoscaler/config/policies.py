"""The known policies by name: built-in ones, and installed ones.

An installed policy is an entry point of the group `GROUP` in another distribution.
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType

from msgspec import Struct, msgpack

from autoscaler.core.installed_policy import InstalledPolicy
from autoscaler.core.policies import (
    AnyPolicy,
    MemoryFormat,
    UtilisationPolicy,
    memory_format_of,
)
from autoscaler.core.slo.objective import SloObjective
from autoscaler.core.slo.policy import SloPolicy
from autoscaler.errors import InputError

GROUP = "autoscaler.policies"

Factory = Callable[[Mapping[str, object], float], AnyPolicy]
"""The object that an entry point names. It makes a policy from the rule's options and from
poll_interval in seconds."""

MAX_LOAD_WINDOW_S = 3600.0
"""The longest load window of a policy, in seconds: the maximum of the key load_window, because
samples of each deployment are kept for this time."""

MAX_ERROR_CHARACTERS = 200
"""Longer messages of errors that a policy raises are cut off, so that problems stay readable."""


class PolicyUnusable(InputError):
    """An installed policy cannot be loaded or made."""


class BuiltInSettings(Struct, frozen=True, kw_only=True):
    """The settings of a rule for a built-in policy, with defaults resolved."""

    poll_interval_s: float
    load_window_s: float
    target_utilisation: float
    objective: SloObjective
    drain_s: float
    caller_timeout_s: float | None  # None: by use


class BuiltIn(Struct, frozen=True, kw_only=True):
    """A policy that is part of the program."""

    build: Callable[[BuiltInSettings], AnyPolicy]
    keys: frozenset[str]  # the policy-specific keys of the configuration that it uses
    stabilisation_window_s: float = 0.0  # the default


BUILT_IN: Mapping[str, BuiltIn] = MappingProxyType(
    {
        "slo": BuiltIn(
            build=lambda settings: SloPolicy(
                objective=settings.objective,
                drain_s=settings.drain_s,
                caller_timeout_s=settings.caller_timeout_s,
                load_window_s=settings.load_window_s,
            ),
            keys=frozenset({"slo", "drain", "caller_timeout", "load_window"}),
        ),
        "utilisation": BuiltIn(
            build=lambda settings: UtilisationPolicy(
                target=settings.target_utilisation, load_window_s=settings.load_window_s
            ),
            keys=frozenset({"target_utilisation", "load_window"}),
            stabilisation_window_s=300.0,
        ),
    }
)
"""Built-in policies by name. An installed policy cannot use one of these names."""


def stabilisation_window_s(name: str) -> float:
    """The default of a policy. 0 for an installed one, which keeps the history that it needs."""
    return BUILT_IN[name].stabilisation_window_s if name in BUILT_IN else 0.0


class Registry:
    """All known policies. Installed ones are looked up once."""

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of all policies, built-in ones first."""
        return (*BUILT_IN, *self.others)

    @cached_property
    def others(self) -> tuple[str, ...]:
        """The names of installed policies."""
        return tuple(sorted({point.name for point in self._points} - set(BUILT_IN)))

    def __contains__(self, name: str) -> bool:
        return name in BUILT_IN or name in self.others

    def installed(
        self, name: str, options: Mapping[str, object], poll_interval_s: float
    ) -> InstalledPolicy:
        """An installed policy. The same arguments return the same object.

        A configuration is read again every few seconds. It must equal itself, and a policy that
        takes long to make must not be made every time.

        Args:
            name: one of `others`.

        Raises:
            PolicyUnusable: it cannot be imported or made, or it is not a policy.
        """
        points = [point for point in self._points if point.name == name]
        if len(points) > 1:
            places = " and ".join(sorted(_source(point) for point in points))
            raise PolicyUnusable(
                f"the policy {name!r} is installed twice, as {places}; keep one of them"
            )
        key = (points[0], repr(options), poll_interval_s)  # repr distinguishes 1, 1.0 and True
        if key not in _made:
            _made[key] = _make(points[0], options, poll_interval_s)
        return _made[key]

    @cached_property
    def _points(self) -> tuple[EntryPoint, ...]:
        return tuple(entry_points(group=GROUP))


_made: dict[tuple[EntryPoint, str, float], InstalledPolicy] = {}
"""Installed policies that were made. It is never emptied, because a process reads few different
configurations."""


def _source(point: EntryPoint) -> str:
    distribution = f"{point.dist.name} {point.dist.version}" if point.dist else "no distribution"
    return f"{point.value} of {distribution}"


def _make(
    point: EntryPoint, options: Mapping[str, object], poll_interval_s: float
) -> InstalledPolicy:
    subject = f"the policy {point.name!r}, which is {_source(point)},"
    try:
        factory: Factory = point.load()
    except Exception as error:
        raise PolicyUnusable(f"{subject} cannot be imported: {_text_of(error)}") from error
    try:
        policy = factory(deepcopy(dict(options)), poll_interval_s)  # the policy may keep them
    except Exception as error:
        given = f"from its options ({', '.join(options)})" if options else "without options"
        raise PolicyUnusable(f"{subject} cannot be made {given}: {_text_of(error)}") from error
    try:
        load_window_s, memory_format = _checked(policy)
    except Exception as error:
        raise PolicyUnusable(f"{subject} is not a policy: {_text_of(error)}") from error
    return InstalledPolicy(
        name=point.name,
        source=_source(point),
        options=options,
        load_window_s=load_window_s,
        memory_format=memory_format,
        policy=policy,
    )


def _checked(policy: AnyPolicy) -> tuple[float, MemoryFormat | None]:
    """The load window of a policy, and the stored form of its memory.

    Raises:
        TypeError: the object is not a policy, or its memory cannot be stored.
        ValueError: its window or its version is out of range.
        Exception: an exception of one of its properties.
    """
    kind = type(policy).__name__
    missing = [
        member
        for member in ("name", "load_window_s", "begin", "recommend")
        if not hasattr(policy, member)
    ]
    if missing:
        raise TypeError(f"{kind} has no {' and no '.join(missing)}")
    if not callable(policy.begin) or not callable(policy.recommend):
        raise TypeError(f"begin and recommend of {kind} must be methods")
    for optional in ("cost_curve", "next_poll"):
        method: object = getattr(policy, optional, None)
        if method is not None and not callable(method):
            raise TypeError(f"{optional} of {kind} must be a method")
    if not isinstance(policy.name, str):
        raise TypeError(f"the name of {kind} must be a text, not {policy.name!r:.40}")
    window_s = float(policy.load_window_s)
    if not 0.0 < window_s <= MAX_LOAD_WINDOW_S:
        maximum = f"{MAX_LOAD_WINDOW_S:g}"
        raise ValueError(
            f"load_window_s of {kind} must be above 0 and at most {maximum}, not {window_s:g}"
        )
    return window_s, _checked_format(memory_format_of(policy), kind)


def _checked_format(memory_format: object, what: str) -> MemoryFormat | None:
    if memory_format is None:
        return None
    if not isinstance(memory_format, MemoryFormat):
        raise TypeError(
            f"memory_format of {what} must be a MemoryFormat, not {memory_format!r:.40}"
        )
    version: object = memory_format.version
    if not isinstance(version, int) or version < 1:
        raise ValueError(
            f"the version in memory_format of {what} must be an integer of at least 1, not "
            f"{version!r:.40}"
        )
    try:
        msgpack.Decoder(memory_format.type)
    except Exception as error:
        raise TypeError(
            f"msgspec cannot decode the type in memory_format of {what}: {error}"
        ) from error
    return memory_format


def _text_of(error: Exception) -> str:
    """One line that begins with the class, because the message of some errors is only a name."""
    message = " ".join(str(error).split())[:MAX_ERROR_CHARACTERS]
    name = type(error).__name__
    return f"{name}: {message}" if message else name
