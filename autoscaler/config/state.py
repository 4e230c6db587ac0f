"""The directory of the state between cycles, if the configuration names none."""

import re
from collections.abc import Mapping
from pathlib import Path

from autoscaler.connection import Connection

MAX_NAME_CHARACTERS = 128
"""Characters of the name of a directory. 128, so that it is complete for most addresses, and a file
system accepts it."""


def default_state_dir(environ: Mapping[str, str], connection: Connection) -> Path | None:
    """That of the service manager, or one of the user for this cluster; None if the environment
    names neither.

    systemd sets STATE_DIRECTORY (systemd.exec(5)), to several paths with colons between them if the
    unit has several. For users: https://specifications.freedesktop.org/basedir-spec/latest/.
    """
    if first := environ.get("STATE_DIRECTORY", "").split(":")[0]:
        return Path(first)
    name = _name_of(connection)
    if (state_home := environ.get("XDG_STATE_HOME", "")).startswith("/"):
        return Path(state_home, "autoscaler", name)
    if (home := environ.get("HOME", "")).startswith("/"):
        return Path(home, ".local", "state", "autoscaler", name)
    return None


def _name_of(connection: Connection) -> str:
    """The first address, such as es-1-9200, as the name of a directory: a user may scale several
    clusters."""
    address = connection.cloud_id or next(iter(connection.hosts), "")
    without_scheme = address.rpartition("//")[2].rpartition("@")[2]
    name = re.sub(r"[^A-Za-z0-9.]+", "-", without_scheme).strip("-.")
    return name[:MAX_NAME_CHARACTERS] or "cluster"
