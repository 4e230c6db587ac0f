"""Values of the core never change, so one object may stand in many states and decisions."""

import importlib
import pkgutil
from collections.abc import Iterator

import autoscaler.core
from autoscaler.core.values import Value


def values(base: type[Value]) -> Iterator[type[Value]]:
    for each in base.__subclasses__():
        yield each
        yield from values(each)


def test_no_value_of_the_core_can_be_changed() -> None:
    for module in pkgutil.walk_packages(autoscaler.core.__path__, "autoscaler.core."):
        importlib.import_module(module.name)
    found = [each for each in values(Value) if each.__module__.startswith("autoscaler.core.")]
    assert len(found) > 50
    assert [each for each in found if not each.__struct_config__.frozen] == []
