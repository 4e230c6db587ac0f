"""Constants of the policy `slo` by name, and runs with other values of them.

A name is a path under `autoscaler.core`, such as `slo.cost_model.MIN_SAVING`, or under
`autoscaler`, such as `config.polling.DEFAULT_MIN_POLL_INTERVAL_S`, or a field of the policy, such
as `SloPolicy.weight_settings.planned_fraction`.
"""

import ast
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from autoscaler.backtest.policy_specs import PolicySpec, policy_spec
from autoscaler.core.slo.cost_model import forget_tables
from autoscaler.core.slo.policy import SloPolicy
from autoscaler.errors import InputError

POLICY = "SloPolicy"
PROGRAM = "autoscaler"
PACKAGES = (f"{PROGRAM}.core", PROGRAM)
"""Packages whose modules a name may begin with."""


class Constant(Struct, frozen=True, kw_only=True):
    """A constant with the values to try; the first is the one in the code."""

    name: str
    values: tuple[Any, ...]


def constant_of(name: str, *others: Any) -> Constant:
    """A constant with its value in the code, and others.

    Raises:
        InputError: there is no such constant.
    """
    known = _current(name)
    return Constant(name=name, values=(known, *(each for each in others if each != known)))


def parsed(text: str) -> Constant:
    """A constant from `NAME=VALUE,...`, where a value is a number or a tuple in parentheses.

    Raises:
        InputError: the text has another form, or there is no such constant.

    >>> parsed("slo.load_distribution.RATE_WINDOWS_S=(0,30,480),(0,60,900)").values[1:]
    ((0, 30, 480), (0, 60, 900))
    """
    name, equals, values = text.partition("=")
    try:
        others = ast.literal_eval(f"[{values}]")
    except (ValueError, SyntaxError):
        others = []
    if not equals or not others:
        raise InputError(f"{text!r} is not NAME=VALUE,...; write a name and the values to try")
    return constant_of(name.strip(), *others)


def _current(name: str) -> Any:
    *path, last = name.split(".")
    try:
        if path[:1] == [POLICY]:
            return _field(SloPolicy(), [*path[1:], last])
        return getattr(_module(path), last)
    except (AttributeError, ImportError) as error:
        raise InputError(
            f"there is no constant {name}; name a constant under {PACKAGES[0]}, such as "
            f"slo.cost_model.MIN_SAVING, or a field, such as {POLICY}.drain_s"
        ) from error


def _module(path: list[str]) -> ModuleType:
    """The module of that path under the first of `PACKAGES` that has it."""
    found = (".".join([package, *path]) for package in PACKAGES)
    name = next((each for each in found if _exists(each)), ".".join([PROGRAM, *path]))
    return import_module(name)


def _exists(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of a package that contains it
        return False


def _field(value: Any, path: list[str]) -> Any:
    for name in path:
        value = getattr(value, name)
    return value


@contextmanager
def with_value(name: str, value: Any) -> Iterator[PolicySpec]:
    """The policy `slo` with another value of a constant, in this process and until the end."""
    spec, current = policy_spec("slo"), _current(name)
    *path, last = name.split(".")
    if path[:1] == [POLICY]:
        yield replace(spec, build=_rebuilt(spec, [*path[1:], last], value))
        return
    # Modules that have imported the constant have their own reference to it.
    holders = [
        module
        for each, module in list(sys.modules.items())
        if each.startswith(PROGRAM) and getattr(module, last, None) is current
    ]
    try:
        for module in holders:
            setattr(module, last, value)
        forget_tables()
        yield spec
    finally:
        for module in holders:
            setattr(module, last, current)
        forget_tables()


@contextmanager
def with_values(values: Mapping[str, Any]) -> Iterator[PolicySpec]:
    """The policy `slo` with other values of constants, of which one at most is a field of it."""
    with ExitStack() as stack:
        specs = [stack.enter_context(with_value(*each)) for each in values.items()]
        usual = policy_spec("slo")
        yield next((spec for spec in specs if spec is not usual), usual)


def _rebuilt(spec: PolicySpec, path: list[str], value: Any) -> Callable[..., SloPolicy]:
    build = spec.build
    assert build is not None, "slo can be built"

    def rebuilt(target: float, inputs: Any) -> SloPolicy:
        policy: SloPolicy = _replaced(build(target, inputs), path, value)
        return policy

    return rebuilt


def _replaced(whole: Any, path: list[str], value: Any) -> Any:
    """The struct with another value of a field, or of a field of a field."""
    first, *rest = path
    if rest:
        value = _replaced(getattr(whole, first), rest, value)
    return replace(whole, **{first: value})
