"""Differences between two preflight checks of one address, as sentences."""

from collections.abc import Iterator

from msgspec import Struct

from autoscaler.adapters.elasticsearch.preflight_report import PreflightReport
from autoscaler.adapters.elasticsearch.server_version import SERVERLESS
from autoscaler.core.decision import Mode
from autoscaler.ports import ClusterChangeKind


class ClusterChange(Struct, frozen=True):
    """One difference."""

    kind: ClusterChangeKind
    sentence: str
    improvement: bool = False  # whether it only permits more than before


def changes(before: PreflightReport, now: PreflightReport) -> Iterator[ClusterChange]:
    """The differences. A value that is unknown to either check is not compared."""
    if before.cluster_uuid and now.cluster_uuid and before.cluster_uuid != now.cluster_uuid:
        yield ClusterChange(
            ClusterChangeKind.CLUSTER,
            f"another cluster responds at this address: {now.cluster_name} ({now.cluster_uuid}), "
            f"before {before.cluster_name} ({before.cluster_uuid})",
        )
    was, is_ = _version(before), _version(now)
    if was and is_ and was != is_:
        yield ClusterChange(ClusterChangeKind.VERSION, f"the cluster is now {is_}, was {was}")
    was, is_ = _licence(before), _licence(now)
    if was and is_ and was != is_:
        regained_licence = before.licence_ok is False and now.licence_ok is True
        yield ClusterChange(
            ClusterChangeKind.LICENCE, f"the licence is now {is_}, was {was}", regained_licence
        )
    if before.security_enabled is not None and now.security_enabled is not None:
        if before.security_enabled != now.security_enabled:
            state = "enabled" if now.security_enabled else "disabled"
            yield ClusterChange(ClusterChangeKind.SECURITY, f"security is now {state}")
        elif before.user != now.user and now.user:
            yield ClusterChange(
                ClusterChangeKind.USER, f"the user is now {now.user}, was {before.user}"
            )
    for name, granted in now.privileges.items():
        if name in before.privileges and before.privileges[name] != granted:
            has = "has" if granted else "no longer has"
            sentence = f"{now.user} {has} the cluster privilege {name}{' now' if granted else ''}"
            yield ClusterChange(ClusterChangeKind.PRIVILEGE, sentence, improvement=granted)
    if before.upgrade_mode and now.upgrade_mode is False:
        yield ClusterChange(
            ClusterChangeKind.UPGRADE_MODE,
            "machine learning is no longer in upgrade mode",
            improvement=True,
        )


def regained(before: PreflightReport, now: PreflightReport) -> bool:
    """Whether the cluster may accept now what it has refused before."""
    if before == PreflightReport():
        return False
    differs = any(
        getattr(before, name) != getattr(now, name)
        for name in ("cluster_uuid", "version", "build_flavor", "user", "security_enabled")
    )
    granted = any(is_ and not before.privileges.get(name) for name, is_ in now.privileges.items())
    accepted = any(before.rejection_of(mode) and not now.rejection_of(mode) for mode in Mode)
    licensed = now.licence_ok is True and before.licence_ok is False
    return differs or granted or accepted or licensed


def _version(found: PreflightReport) -> str:
    return SERVERLESS if found.build_flavor == SERVERLESS else found.version


def _licence(found: PreflightReport) -> str:
    kind, status = found.licence_type, found.licence_status
    return f"{kind} and {status}" if kind and status else ""
