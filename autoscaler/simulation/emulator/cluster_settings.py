"""`_cluster/settings`: the settings that are known, and the values that they take.

Only settings with an effect on the emulated cluster are known; any other name is refused, as
Elasticsearch refuses unknown names.

Source: elastic/elasticsearch, ml/MachineLearning.java and
server/…/common/settings/AbstractScopedSettings.java.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from msgspec import Struct

from autoscaler.simulation.dynamic_settings import DynamicSettings
from autoscaler.simulation.emulator.parameters import (
    illegal_argument,
    parse_bytes,
    parse_duration_s,
)
from autoscaler.simulation.errors import invalid_request
from autoscaler.simulation.versions import VersionBehaviour

LAZY_NODES = "xpack.ml.max_lazy_ml_nodes"
NODE_SIZE = "xpack.ml.max_ml_node_size"
MEMORY_PERCENT = "xpack.ml.max_machine_memory_percent"
AUTOMATIC_MEMORY = "xpack.ml.use_auto_machine_memory_percent"
_ADAPTIVE = "xpack.ml.trained_models.adaptive_allocations"
SCALE_TO_ZERO = f"{_ADAPTIVE}.scale_to_zero_time"
COOL_DOWN = f"{_ADAPTIVE}.scale_up_cooldown_time"


class KnownSetting(Struct, frozen=True, kw_only=True):
    """A setting: its default, and how its text is read."""

    default: str
    read: Callable[[str, str], Any]  # name, text; raises the 400


def _integer(least: int, most: int | None = None) -> Callable[[str, str], int]:
    def read(name: str, text: str) -> int:
        if re.fullmatch(r"[+-]?\d{1,10}", text) is None:
            raise illegal_argument(f"Failed to parse value [{text}] for setting [{name}]")
        value = int(text)
        _require_least(name, text, value >= least, str(least))
        if most is not None and value > most:
            raise illegal_argument(
                f"Failed to parse value [{text}] for setting [{name}] must be <= {most}"
            )
        return value

    return read


def _boolean(name: str, text: str) -> bool:
    if text not in ("true", "false"):
        raise illegal_argument(
            f"Failed to parse value [{text}] as only [true] or [false] are allowed."
        )
    return text == "true"


def _at_least_a_minute(name: str, text: str) -> float:
    seconds = parse_duration_s(name, text)
    _require_least(name, text, seconds >= 60.0, "1m")
    return seconds


def _require_least(name: str, text: str, holds: bool, least: str) -> None:
    if not holds:
        raise illegal_argument(
            f"Failed to parse value [{text}] for setting [{name}] must be >= {least}"
        )


_ALWAYS = {
    LAZY_NODES: KnownSetting(default="0", read=_integer(0)),
    NODE_SIZE: KnownSetting(default="0b", read=parse_bytes),
    MEMORY_PERCENT: KnownSetting(default="30", read=_integer(5, 200)),
    AUTOMATIC_MEMORY: KnownSetting(default="false", read=_boolean),
}
_OF_ADAPTIVE_ALLOCATIONS = {
    SCALE_TO_ZERO: KnownSetting(default="24h", read=_at_least_a_minute),
    COOL_DOWN: KnownSetting(default="5m", read=_at_least_a_minute),
}


class ClusterSettings:
    """The settings that were made, and their effect."""

    def __init__(self, base: DynamicSettings) -> None:
        self._base = base  # without any of them, as if from the nodes' own configuration
        self._made: dict[str, dict[str, str]] = {"persistent": {}, "transient": {}}

    def update(
        self,
        behaviour: VersionBehaviour,
        persistent: Mapping[str, Any],
        transient: Mapping[str, Any],
    ) -> Mapping[str, Mapping[str, str]]:
        """Make and reset settings; all or none. Returns those that were made, by kind.

        Raises:
            SimulatedApiError: 400, naming the setting.
        """
        changes = {"persistent": dict(_flat(persistent)), "transient": dict(_flat(transient))}
        if not any(changes.values()):
            raise invalid_request("no settings to update")
        made, new = {}, {}
        for kind, texts in changes.items():
            made[kind] = {name: text for name, text in texts.items() if text is not None}
            for name, text in made[kind].items():
                _setting(behaviour, kind, name).read(name, text)
            resets = [name for name, text in texts.items() if text is None]
            for name in resets:
                if "*" not in name:
                    _setting(behaviour, kind, name)
            kept = {
                name: text
                for name, text in self._made[kind].items()
                if not any(fnmatchcase(name, pattern) for pattern in resets)
            }
            new[kind] = kept | made[kind]
        self._made = new
        return made

    def shown(self, behaviour: VersionBehaviour, *, defaults: bool) -> dict[str, dict[str, str]]:
        """The settings by kind; with `defaults`, also those that were not made."""
        shown = {kind: dict(settings) for kind, settings in self._made.items()}
        if defaults:
            made = self._in_force()
            shown["defaults"] = {
                name: self._default(name, setting)
                for name, setting in known_settings(behaviour).items()
                if name not in made
            }
        return shown

    def effect(self, behaviour: VersionBehaviour) -> DynamicSettings:
        """The settings in force, only those that exist in the version."""
        made, known = self._in_force(), known_settings(behaviour)

        def value(name: str, default: Any) -> Any:
            return known[name].read(name, made[name]) if name in made and name in known else default

        base = self._base
        percent = value(MEMORY_PERCENT, None)
        return DynamicSettings(
            ml_memory_fraction=base.ml_memory_fraction if percent is None else percent / 100.0,
            automatic_memory=value(AUTOMATIC_MEMORY, base.automatic_memory),
            max_lazy_nodes=value(LAZY_NODES, base.max_lazy_nodes),
            max_node_bytes=value(NODE_SIZE, base.max_node_bytes),
            scale_to_zero_s=value(SCALE_TO_ZERO, base.scale_to_zero_s),
            scale_up_cool_down_s=value(COOL_DOWN, base.scale_up_cool_down_s),
        )

    def _in_force(self) -> Mapping[str, str]:
        return self._made["persistent"] | self._made["transient"]

    def _default(self, name: str, setting: KnownSetting) -> str:
        if name == MEMORY_PERCENT:
            return str(round(self._base.ml_memory_fraction * 100.0))
        return setting.default


def known_settings(behaviour: VersionBehaviour) -> Mapping[str, KnownSetting]:
    """The settings that exist in a version, by name."""
    return _ALWAYS | (_OF_ADAPTIVE_ALLOCATIONS if behaviour.adaptive_times_are_settings else {})


def nested(settings: Mapping[str, str]) -> dict[str, Any]:
    """The same settings as objects in objects, by the parts of their names."""
    tree: dict[str, Any] = {}
    for name, text in settings.items():
        *parents, last = name.split(".")
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[last] = text
    return tree


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str | None]]:
    """Names and texts, of settings written in either way."""
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")
        elif isinstance(value, bool):
            yield name, str(value).lower()
        else:
            yield name, None if value is None else str(value)


def _setting(behaviour: VersionBehaviour, kind: str, name: str) -> KnownSetting:
    known = known_settings(behaviour)
    if name not in known:
        raise illegal_argument(f"{kind} setting [{name}], not recognized")
    return known[name]
