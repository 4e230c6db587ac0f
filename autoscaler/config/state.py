"""The directory of the state between cycles, if the configuration names none."""

from collections.abc import Mapping
from pathlib import Path


def default_state_dir(environ: Mapping[str, str]) -> Path | None:
    """That of the service manager, or of the user; None if the environment names neither.

    systemd sets STATE_DIRECTORY (systemd.exec(5)), to several paths with colons between them if the
    unit has several. For users: https://specifications.freedesktop.org/basedir-spec/latest/.
    """
    if first := environ.get("STATE_DIRECTORY", "").split(":")[0]:
        return Path(first)
    if (state_home := environ.get("XDG_STATE_HOME", "")).startswith("/"):
        return Path(state_home, "autoscaler")
    if (home := environ.get("HOME", "")).startswith("/"):
        return Path(home, ".local", "state", "autoscaler")
    return None
