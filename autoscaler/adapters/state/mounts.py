"""Whether a directory outlives the process, by what Linux says about its mount.

Source: https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html; the path of an emptyDir on
its node: https://kubernetes.io/docs/concepts/storage/volumes/#emptydir.
"""

import os
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")

_PASSING_TYPES = frozenset({"overlay", "aufs", "tmpfs", "ramfs"})
"""Types of file systems whose content ends with the container, or with the host's uptime."""

_EMPTY_DIR = "/kubernetes.io~empty-dir/"
"""Part of the path of a volume that ends with its pod."""


def outlives_the_process(directory: Path) -> bool:
    """Whether the content of a directory is certain to be there for the next process. False: it is
    not, or that is unknown."""
    try:
        mounts = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return False
    return is_lasting(os.path.realpath(directory), mounts)


def is_lasting(directory: str, mounts: str) -> bool:
    """
    >>> disk = "36 35 98:0 / / rw shared:1 - ext4 /dev/sda1 rw"
    >>> is_lasting("/var/lib/autoscaler", disk)
    True
    >>> is_lasting("/run/x", disk + "\\n37 36 0:25 / /run rw shared:2 - tmpfs tmpfs rw")
    False
    >>> volumes = "/var/lib/kubelet/pods/0/volumes/kubernetes.io~empty-dir"
    >>> pod = f"40 39 98:0 {volumes}/state /state rw - ext4 /dev/sda1 rw"
    >>> is_lasting("/state", pod), is_lasting("/state", "unreadable")
    (False, False)

    Args:
        directory: its absolute path, without links.
        mounts: the text of mountinfo; spaces in its paths are octal.
    """
    found, longest = False, -1
    for line in mounts.splitlines():
        mounted, _, kind = line.partition(" - ")
        fields, types = mounted.split(" "), kind.split(" ")
        if len(fields) < 5:
            continue
        root, point = fields[3], fields[4].replace("\\040", " ")
        within = directory == point or directory.startswith(point.rstrip("/") + "/")
        if within and len(point) >= longest:  # the last of several on the same point is in force
            longest = len(point)
            found = types[0] not in _PASSING_TYPES and _EMPTY_DIR not in f"{root}/"
    return found
