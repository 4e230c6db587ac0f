"""The policies there are, by name: those that come with the program, and installed ones.

An installed policy is an entry point of the group `GROUP` in any distribution beside this one.
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType

from msgspec import Struct, msgpack

from autoscaler.core.policies import (
    AnyPolicy,
    InstalledPolicy,
    MemoryFormat,
    UtilisationPolicy,
    memory_format_of,
)
from autoscaler.core.slo.objective import SloObjective
from autoscaler.core.slo.policy import SloPolicy
from autoscaler.errors import InputError

GROUP = "autoscaler.policies"

Factory = Callable[[Mapping[str, object], float], AnyPolicy]
"""What an entry point names: from the rule's options, and poll_interval in seconds, to a policy."""

MAX_LOAD_WINDOW_S = 3600.0
"""Samples of so long are kept of each deployment, as for the key load_window."""

MAX_ERROR_CHARACTERS = 200
"""Characters that are kept of what an error says."""


class PolicyUnusable(InputError):
    """An installed policy that cannot be had."""


class BuiltInSettings(Struct, frozen=True, kw_only=True):
    """What a rule says to a policy that comes with the program, settled."""

    poll_interval_s: float
    load_window_s: float
    target_utilisation: float
    objective: SloObjective
    drain_s: float
    caller_timeout_s: float


class BuiltIn(Struct, frozen=True, kw_only=True):
    """A policy that comes with the program."""

    build: Callable[[BuiltInSettings], AnyPolicy]
    keys: frozenset[str]  # of the configuration, that mean something to it and not to every policy
    stabilisation_window_s: float = 0.0  # unless the configuration says another


BUILT_IN: Mapping[str, BuiltIn] = MappingProxyType(
    {
        "slo": BuiltIn(
            build=lambda terms: SloPolicy(
                objective=terms.objective,
                drain_s=terms.drain_s,
                caller_timeout_s=terms.caller_timeout_s,
                load_window_s=terms.load_window_s,
            ),
            keys=frozenset({"slo", "drain", "caller_timeout", "load_window"}),
        ),
        "utilisation": BuiltIn(
            build=lambda terms: UtilisationPolicy(
                target=terms.target_utilisation, load_window_s=terms.load_window_s
            ),
            keys=frozenset({"target_utilisation", "load_window"}),
            stabilisation_window_s=300.0,
        ),
    }
)
"""By name. None of these can be taken by an installed policy."""


def stabilisation_window_s(name: str) -> float:
    """Of a policy about which the configuration says nothing.

    An installed one gets none: how long it remembers is for itself to know.
    """
    return BUILT_IN[name].stabilisation_window_s if name in BUILT_IN else 0.0


class Registry:
    """All policies there are at one instant: what is installed is looked up once."""

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Those that come with the program first."""
        return (*BUILT_IN, *self.others)

    @cached_property
    def others(self) -> tuple[str, ...]:
        """Those that are installed."""
        return tuple(sorted({point.name for point in self._points} - set(BUILT_IN)))

    def __contains__(self, name: str) -> bool:
        return name in BUILT_IN or name in self.others

    def installed(
        self, name: str, options: Mapping[str, object], poll_interval_s: float
    ) -> InstalledPolicy:
        """An installed policy, made once for the same options, however often it is asked for.

        So a configuration that is read again every few seconds equals itself, and a policy that
        takes long to make is not made every few seconds.

        Args:
            name: one of `others`.

        Raises:
            Unusable: it is not what a policy should be.
        """
        points = [point for point in self._points if point.name == name]
        if len(points) > 1:
            places = " and ".join(sorted(_source(point) for point in points))
            raise PolicyUnusable(
                f"the policy {name!r} is installed twice, as {places}; keep one of them"
            )
        wanted = (
            points[0],
            repr(options),
            poll_interval_s,
        )  # as text, which tells 1, 1.0 and True apart
        if wanted not in _made:
            _made[wanted] = _make(points[0], options, poll_interval_s)
        return _made[wanted]

    @cached_property
    def _points(self) -> tuple[EntryPoint, ...]:
        return tuple(entry_points(group=GROUP))


_made: dict[tuple[EntryPoint, str, float], InstalledPolicy] = {}
"""For as long as the process lives, which meets few configurations."""


def _source(point: EntryPoint) -> str:
    distribution = f"{point.dist.name} {point.dist.version}" if point.dist else "no distribution"
    return f"{point.value} of {distribution}"


def _make(
    point: EntryPoint, options: Mapping[str, object], poll_interval_s: float
) -> InstalledPolicy:
    who = f"the policy {point.name!r}, which is {_source(point)},"
    try:
        factory: Factory = point.load()
    except Exception as error:
        raise PolicyUnusable(f"{who} cannot be imported: {_text_of(error)}") from error
    try:
        policy = factory(deepcopy(dict(options)), poll_interval_s)  # to keep
    except Exception as error:
        given = f"from its options ({', '.join(options)})" if options else "without options"
        raise PolicyUnusable(f"{who} cannot be made {given}: {_text_of(error)}") from error
    try:
        load_window_s, memory_format = _checked(policy)
    except Exception as error:
        raise PolicyUnusable(f"{who} is not fit for use: {_text_of(error)}") from error
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
    what = type(policy).__name__
    missing = [
        member
        for member in ("name", "load_window_s", "begin", "recommend")
        if not hasattr(policy, member)
    ]
    if missing:
        raise TypeError(f"{what} has no {' and no '.join(missing)}")
    if not callable(policy.begin) or not callable(policy.recommend):
        raise TypeError(f"begin and recommend of {what} must be methods")
    if not isinstance(policy.name, str):
        raise TypeError(f"the name of {what} must be a text, not {policy.name!r:.40}")
    window_s = float(policy.load_window_s)
    if not 0.0 < window_s <= MAX_LOAD_WINDOW_S:
        most = f"{MAX_LOAD_WINDOW_S:g}"
        raise ValueError(
            f"load_window_s of {what} must be above 0 and at most {most}, not {window_s:g}"
        )
    return window_s, _checked_format(memory_format_of(policy), what)


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
    """In one line, with the kind of error, since some say no more than a name."""
    said = " ".join(str(error).split())
    return (
        f"{type(error).__name__}: {said:.{MAX_ERROR_CHARACTERS}}" if said else type(error).__name__
    )
