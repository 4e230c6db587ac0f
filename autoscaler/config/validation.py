"""Plain data -> a valid document, and everything that is wrong with the data.

Invalid keys are left out, so that relations between the valid ones can be checked as well, and all
problems are reported at once.
"""

from collections.abc import Mapping
from copy import deepcopy
from difflib import get_close_matches
from itertools import takewhile
from typing import Any, NamedTuple

from pydantic import ValidationError

from autoscaler.config.document import ConfigDocument
from autoscaler.config.messages import KeyPath, Problems, describe, siblings

_MAX_PASSES = 5
"""Passes until only valid keys are left. A pass removes all invalid keys of one level."""

_COMPARED = (
    {
        "min_allocations",
        "max_allocations",
        "burst_max_allocations",
        "blind_allocations",
        "safe_allocations",
        "schedules",
    },
    {"policy", "slo", "caller_timeout", "drain", "load_window", "target_utilisation", "options"},
    {"poll_interval", "load_window", "drain", "policy"},
    {"mode", "take_over", "on_exit", "safe_allocations", "scale_to_zero", "state", "rollout"},
    {"name", "deployments", "models", "hidden", "low_priority", ""},
)
"""Keys of rules, and of the top level, whose relations are checked. "" is the rule as a whole."""


_COMPARED_IN_CONNECTION: Mapping[str, frozenset[str]] = {
    "client_key": frozenset({"client_certificate"}),
    "ca_fingerprint": frozenset({"ca_certs", "hosts"}),
    "hosts": frozenset({"cloud_id"}),
    "cloud_id": frozenset({"hosts"}),
    "password": frozenset({"username", "password_file"}),
}
"""Keys of [elasticsearch], and the other keys that a problem of them may come from. Problems of all
others, such as a file that cannot be read, come from the key alone."""


_COMPARED_AT_TOP: Mapping[str, frozenset[str]] = {
    "min_poll_interval": frozenset({"poll_interval"}),
    "leadership": frozenset({"poll_interval", "elasticsearch"}),
}
"""The same of keys outside any table."""


class Validated(NamedTuple):
    """A valid document, and the keys that were left out of it."""

    document: ConfigDocument
    omitted: frozenset[KeyPath]

    def may_cause(self, path: KeyPath) -> bool:
        """Whether a problem of a key may only be a consequence of a key that was left out."""
        return any(_concerns(omitted, path) for omitted in self.omitted)


def validate(
    tables: Mapping[str, Any], unread: frozenset[KeyPath], problems: Problems
) -> Validated | None:
    """None if nothing valid can be made of the data. `problems` has the reasons then.

    Args:
        unread: keys that are missing in the data for a reason that is reported already.
    """
    left = deepcopy(dict(tables))
    omitted = set(unread)
    for _ in range(_MAX_PASSES):
        try:
            return Validated(ConfigDocument(**left), frozenset(omitted))
        except ValidationError as error:
            found = list(describe(error, ConfigDocument))
        known = frozenset(omitted)
        for path, text in found:
            if not any(_concerns(earlier, path) for earlier in known):
                problems.add(path, text)
            omitted.add(path)
            omitted.update(_meant_by(path))
            _leave_out(left, path)
    return None


def _concerns(omitted: KeyPath, path: KeyPath) -> bool:
    """Whether a key that is left out has to do with the key at `path`."""
    if path[0] == "elasticsearch" == omitted[0] and len(path) > 1 and len(omitted) > 1:
        key, left_out = str(path[1]), str(omitted[1])
        return left_out == key or left_out in _COMPARED_IN_CONNECTION.get(key, frozenset())
    if path[0] not in {"rules", "defaults"}:
        others = _COMPARED_AT_TOP.get(str(path[0]), frozenset())
        return omitted[0] == path[0] or omitted[0] in others
    if omitted[0] == "rules" and len(omitted) > 1 and omitted[:2] != path[:2]:
        return False
    left_out, key = _scaling_key(omitted), _scaling_key(path)
    return left_out in {"", "exclude"} or any({left_out, key} <= keys for keys in _COMPARED)


def _scaling_key(path: KeyPath) -> str:
    match path:
        case ("rules", int(), str() as key, *_) | ("defaults", str() as key, *_):
            return key
        case ("rules" | "defaults", *_):
            return ""
    return str(path[0])


def _meant_by(path: KeyPath) -> set[KeyPath]:
    """The known key that is most similar to the last one of a path: itself, if that is known."""
    close = get_close_matches(str(path[-1]), list(siblings(path, ConfigDocument)), n=1)
    return {(*path[:-1], name) for name in close}


def _leave_out(tables: dict[str, Any], path: KeyPath) -> None:
    match path:
        case ("rules", int() as index):
            tables["rules"][index] = {"name": _stand_in(index), "exclude": True, "deployments": []}
        case ("rules", int() as index, "name"):
            tables["rules"][index]["name"] = _stand_in(index)
        case ("rules", int() as index, *rest):
            _delete(tables["rules"][index], tuple(rest))
        case _:
            _delete(tables, path)


def _stand_in(index: int) -> str:
    """The name of a rule that has no valid one. Different from all valid names."""
    return f"rules[{index}] without a name"


def _delete(table: dict[str, Any], path: KeyPath) -> None:
    """Delete a key. An element of a list is deleted with the list, whose indexes would change, and
    a required key that is absent with its table."""
    keys = list(takewhile(lambda part: isinstance(part, str), path))
    tables = [table]
    for key in keys[:-1]:
        inner = tables[-1].get(str(key))
        if not isinstance(inner, dict):
            break
        tables.append(inner)
    for inner, key in reversed(list(zip(tables, keys, strict=False))):
        if key in inner:
            del inner[str(key)]
            return
