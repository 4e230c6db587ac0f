"""The faults of a seed as data: what happens, when, and for how long."""

import random
from enum import StrEnum

from msgspec import Struct

from tests.chaos.settings import Settings

FAULTS_UNTIL = 0.7
"""Fraction of a run after which no fault begins or lasts, so that it shows the recovery."""


class Traffic(StrEnum):
    """Which requests a disturbance concerns."""

    ALL = "all"
    STATISTICS = "statistics"
    CHANGES = "changes"
    LEASE = "lease"  # of several daemons
    OTHERS = "others"  # nodes, endpoints, privileges


class Disturbance(Struct, frozen=True, kw_only=True):
    """What happens to some requests while it lasts."""

    number: int  # within the schedule; its random numbers follow from it
    kind: str
    traffic: Traffic = Traffic.ALL
    host: str = ""  # "": every one
    probability: float = 1.0
    seconds: float = 0.0
    status: int = 0
    error_type: str = ""


class Event(Struct, frozen=True, kw_only=True):
    """Something that another client, an operator or the hardware does."""

    number: int
    kind: str


class Scheduled(Struct, frozen=True, kw_only=True):
    at: float  # seconds after the start
    lasts_s: float = 0.0  # of a disturbance
    fault: Disturbance | Event

    def __str__(self) -> str:
        fault = self.fault
        if isinstance(fault, Event):
            return f"{self.at:8.1f} s  {fault.kind}"
        text = f"{self.at:8.1f} s  {fault.kind} {fault.traffic} for {self.lasts_s:.1f} s"
        details = [
            f"{name}={value}"
            for name, value in (
                ("host", fault.host),
                ("probability", round(fault.probability, 2)),
                ("seconds", round(fault.seconds, 1)),
                ("status", fault.status),
                ("type", fault.error_type),
            )
            if value not in ("", 0, 1.0, 0.0)
        ]
        return f"{text} {' '.join(details)}".rstrip()


DISTURBANCES = (
    "refused",
    "unreachable",
    "reset_before",
    "reset_after",
    "status",
    "status_after",
    "late",
    "slow",
    "hang",
    "hang_after",
    "truncate",
    "garble",
    "odd",
    "damage",
    "damage",
)
"""Damage twice, as it has the most forms."""

EVENTS = (
    "silence_node",
    "crash_process",
    "lose_node",
    "return_node",
    "shrink_node",
    "restart_cluster",
    "lose_master",
    "upgrade_mode",
    "licence_expires",
    "block_writes",
    "mix_versions",
    "recreate_deployment",
    "delete_deployment",
    "create_deployment",
    "change_allocations",
    "switch_adaptive",
    "own_by_endpoint",
    "change_load",
    "change_load",
    "stop_load",
    "undo_updates",
    "rotate_credentials",
    "change_rules",
    "suspend",
    "suspend_before_change",
    "kill",
    "kill_before_change",
    "resume_stopped",
    "fill_disk",
)

INSTRUCTIONS = ("pause", "pause", "unpause", "override")
"""What operators ask of the daemon."""

RESUMPTION = "resume_rollouts"

FIRST_BLOCK_S = 300.0
"""Seconds after the start within which no rule of a gradual rollout can act yet."""

_STATUSES = (
    (400, "illegal_argument_exception"),
    (401, "security_exception"),
    (403, "security_exception"),
    (404, "resource_not_found_exception"),
    (404, ""),
    (405, ""),
    (408, "process_cluster_event_timeout_exception"),
    (409, "status_exception"),
    (413, ""),
    (429, "es_rejected_execution_exception"),
    (429, "circuit_breaking_exception"),
    (429, "status_exception"),
    (500, "null_pointer_exception"),
    (500, ""),
    (502, ""),
    (503, "master_not_discovered_exception"),
    (503, ""),
    (504, ""),
    (301, ""),
    (204, ""),
)


def schedule_of(seed: int, duration_s: float, settings: Settings) -> list[Scheduled]:
    """The faults of a seed, in the order of their beginnings."""
    hosts = settings.hosts
    rng = random.Random(f"{seed} schedule")
    end = duration_s * FAULTS_UNTIL
    # Some runs have few faults that last, others many.
    count = rng.choice((4, 8, 16, 32, 48))
    found = []
    for number in range(count):
        at = rng.uniform(0.0, end)
        if rng.random() < 0.5:
            fault: Disturbance | Event = disturbance_of(number, rng, hosts)
            lasts_s = min(rng.choice((5.0, 15.0, 60.0, 200.0, 600.0)), end - at)
        else:
            fault, lasts_s = Event(number=number, kind=rng.choice(EVENTS)), 0.0
        found.append(Scheduled(at=at, lasts_s=lasts_s, fault=fault))
    # Drawn apart, so that the other faults of a seed do not depend on them.
    rng = random.Random(f"{seed} operators")
    for number in range(count, count + rng.choice((0, 0, 1, 3, 6))):
        fault = Event(number=number, kind=rng.choice(INSTRUCTIONS))
        found.append(Scheduled(at=rng.uniform(0.0, end), lasts_s=0.0, fault=fault))
    found += resumptions_of(seed, settings, count + len(found), end)
    found += losses_of(seed, settings, count + len(found), end)
    return sorted(found, key=lambda scheduled: scheduled.at)


def resumptions_of(seed: int, settings: Settings, number: int, end: float) -> list[Scheduled]:
    """When an operator resumes the gradual rollouts that wait or have been reverted. Since they
    wait until then, half of the first times are soon after the start, before any rule could act.
    That a rollout waits can be seen in the other half only.

    Args:
        number: of the first.
    """
    if not settings.gradual:
        return []
    rng = random.Random(f"{seed} resumptions")
    until = rng.choice((FIRST_BLOCK_S, end))
    instants = [rng.uniform(0.0, until)] if rng.random() < 0.9 else []
    instants += [rng.uniform(0.0, end) for _ in range(rng.choice((0, 0, 1, 2, 4)))]
    return [
        Scheduled(at=at, fault=Event(number=number + index, kind=RESUMPTION))
        for index, at in enumerate(instants)
    ]


def losses_of(seed: int, settings: Settings, number: int, end: float) -> list[Scheduled]:
    """What keeps the state of gradual rollouts from the next process: where its directory is lost
    with the process, a kill; where it is not, in half of the runs a disk that is full from before
    any rule could act until long after.

    Args:
        number: of the first.
    """
    if not settings.gradual:
        return []
    rng = random.Random(f"{seed} losses")
    if settings.loses:
        return [Scheduled(at=rng.uniform(0.0, end), fault=Event(number=number, kind="kill"))]
    if settings.lasting and rng.random() < 0.5:
        at = rng.uniform(0.0, FIRST_BLOCK_S)
        return [Scheduled(at=at, fault=Event(number=number, kind="fill_disk_for_long"))]
    return []


def disturbance_of(number: int, rng: random.Random, hosts: tuple[str, ...]) -> Disturbance:
    kind = rng.choice(DISTURBANCES)
    status, error_type = rng.choice(_STATUSES)
    if kind == "status_after":
        status = rng.choice((502, 503, 504))
    weights = {Traffic.ALL: 2, Traffic.STATISTICS: 4, Traffic.CHANGES: 4, Traffic.OTHERS: 2}
    traffic = rng.choices(list(weights), list(weights.values()))[0]
    has_status = kind in ("status", "status_after")
    return Disturbance(
        number=number,
        kind=kind,
        traffic=Traffic.STATISTICS if kind == "damage" else traffic,
        host=rng.choice(("", "", *hosts)),
        probability=rng.choice((1.0, 1.0, 0.5, 0.2)),
        seconds=rng.choice((0.5, 4.0, 9.0, 25.0, 60.0)) if kind in ("late", "slow") else 0.0,
        status=status if has_status else 0,
        error_type=error_type if kind == "status" else "",
    )
