"""What a seed draws for a group of processes: how they are set up, and their faults."""

import random
from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from tests.chaos.schedule import (
    FAULTS_UNTIL,
    Disturbance,
    Event,
    Scheduled,
    Traffic,
    disturbance_of,
    resumptions_of,
)
from tests.chaos.settings import Settings, config_text, settings_of

INDEX_PRIVILEGES = (
    *(f"autoscaler-leases:{each}" for each in ("read", "index", "auto_configure")),
    *(f"autoscaler-state:{each}" for each in ("read", "index", "delete", "create_index")),
)


class GroupSettings(Struct, frozen=True, kw_only=True):
    """The settings of one run."""

    base: Settings
    count: int  # of processes that should run
    lease: bool  # without it, the lock of a state directory that all share lets one of them run
    one_host: bool  # which has one wall clock, and one state directory
    in_index: bool  # whether the state is in the cluster, where processes on all hosts share it
    request_timeout_s: float
    on_exit: str

    @property
    def shares_state(self) -> bool:
        return self.one_host or self.in_index

    @property
    def text(self) -> str:
        return self._text(changed=False)

    @property
    def changed_text(self) -> str:
        """With other bounds, as after an operator has edited the file."""
        return self._text(changed=True)

    def _text(self, *, changed: bool) -> str:
        timeout = f'[elasticsearch]\nrequest_timeout = "{self.request_timeout_s * 1000.0:.0f}ms"'
        text = config_text(self.base, changed=changed).replace("[elasticsearch]", timeout)
        text += f'on_exit = "{self.on_exit}"\n'
        if self.on_exit == "floor":
            text += "safe_allocations = 2\n"
        if self.in_index:
            text = f'state = "elasticsearch"\n{text}'
        return text + ('[leadership]\nlease = "elasticsearch"\n' if self.lease else "")


def group_settings_of(seed: int) -> GroupSettings:
    rng = random.Random(f"{seed} group")
    base = settings_of(seed)
    count = rng.choice((1, 2, 2, 3, 3))
    in_index = count > 1 and rng.random() < 0.3
    # Of processes with directories of their own, none knows what another has stopped.
    one_host = not in_index and (count == 1 or base.stops or rng.random() < 0.5)
    lease = not one_host or rng.random() < 0.75
    security = base.scenario.security
    assert security is not None
    roles = {role: [*privileges, *INDEX_PRIVILEGES] for role, privileges in security.roles.items()}
    scenario = replace(base.scenario, security=replace(security, roles=roles))
    on_exit = rng.choice(("keep", "keep", "floor", "adaptive"))
    if on_exit == "adaptive" and (base.mode == "direct" or base.stops):
        on_exit = "keep"  # it would be rejected
    general = base.general.replace('state = "none"', "")  # all of them have one
    return GroupSettings(
        base=replace(base, scenario=scenario, general=general),
        count=count,
        lease=lease,
        one_host=one_host,
        in_index=in_index,
        request_timeout_s=rng.choice((2.5, 5.0, 10.0)),
        on_exit=on_exit,
    )


PROCESS_EVENTS = (
    "suspend",
    "suspend",
    "kill",
    "kill",
    "stop",
    "stop",
    "power_failure",
    "set_wall_clock",
    "edit_configuration",
    "break_configuration",
)
LEASE_EVENTS = ("delete_lease", "delete_lease_index", "damage_lease", "take_lease")
CLUSTER_EVENTS = (
    "silence_node",
    "lose_node",
    "return_node",
    "restart_cluster",
    "lose_master",
    "block_writes",
    "recreate_deployment",
    "change_allocations",
    "change_load",
    "stop_load",
    "undo_updates",
    "rotate_credentials",
    "resume_stopped",
)


class ScheduledForSome(Scheduled, frozen=True, kw_only=True):
    """A fault that concerns some of the processes."""

    processes: tuple[int, ...] = ()  # their places in the group

    def __str__(self) -> str:
        return f"{super().__str__()} processes={','.join(map(str, self.processes))}"


def group_schedule_of(
    seed: int, settings: GroupSettings, duration_s: float
) -> list[ScheduledForSome]:
    """The faults of a seed, in the order of their beginnings."""
    rng = random.Random(f"{seed} group schedule")
    end = duration_s * FAULTS_UNTIL
    count = rng.choice((4, 8, 16, 32))
    found = []
    for number in range(count):
        at, lasts_s = rng.uniform(0.0, end), 0.0
        fault: Disturbance | Event
        processes: Sequence[int] = range(settings.count)
        if rng.random() < 0.4:
            fault = disturbance_of(number, rng, settings.base.hosts)
            if settings.lease and rng.random() < 0.5 and fault.kind != "damage":
                fault = replace(fault, traffic=Traffic.LEASE)
            lasts_s = min(rng.choice((5.0, 15.0, 60.0, 200.0)), end - at)
            if rng.random() < 0.7:
                processes = [rng.randrange(settings.count)]
        else:
            events = rng.choice(
                (
                    PROCESS_EVENTS,
                    PROCESS_EVENTS,
                    LEASE_EVENTS if settings.lease else (),
                    CLUSTER_EVENTS,
                )
            )
            fault = Event(number=number, kind=rng.choice(events or PROCESS_EVENTS))
            processes = [rng.randrange(settings.count)]
        found.append(
            ScheduledForSome(at=at, lasts_s=lasts_s, fault=fault, processes=tuple(processes))
        )
    # Whichever process leads then does it.
    resumptions = resumptions_of(seed, settings.base, count, end)
    found += [
        ScheduledForSome(at=each.at, fault=each.fault, processes=(0,)) for each in resumptions
    ]
    return sorted(found, key=lambda scheduled: scheduled.at)
