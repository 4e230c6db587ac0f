"""One run of a seed with a group of processes over one cluster, of which one acts."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from contextvars import Context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from msgspec.structs import replace

from autoscaler.config import Config, ConfigError
from autoscaler.errors import UserError
from autoscaler.ports import Clock, OperatorRequests, RequestRefused
from autoscaler.simulation.emulator.application import build_application
from autoscaler.wire.lease import decode_lease
from tests.chaos.group_invariants import (
    ACCEPTED_INVARIANTS,
    CYCLE_INVARIANTS,
    MOMENT_INVARIANTS,
    SENT_INVARIANTS,
    acts_with_state,
)
from tests.chaos.group_schedule import (
    GroupSettings,
    ScheduledForSome,
    group_schedule_of,
    group_settings_of,
)
from tests.chaos.invariants import recovered
from tests.chaos.laboratory import (
    POLL_S,
    CycleRecorder,
    Laboratory,
    Result,
    _collected_logs,
)
from tests.chaos.members import (
    Files,
    Member,
    MemberNetwork,
    Place,
    after_power_failure,
    put_files,
)
from tests.chaos.network import Server, SimulatedTransport, without_authorities
from tests.chaos.processes import Host, Process, run_processes
from tests.chaos.rollouts import short_hours
from tests.chaos.schedule import Disturbance, Scheduled
from tests.chaos.settings import KEYS, config_from
from tests.chaos.trace import Request

LEASES, LEASE = "autoscaler-leases", "autoscaler"
LAST_KILL = 0.85
"""Fraction of a run after which the leader is killed once more, when there are no other faults."""

RESTART_S = 10.0
"""Seconds after which a supervisor restarts a process that has ended, or has not been able to
start."""

KILL_AFTER_S = 30.0
"""Seconds after which a supervisor kills a process that it has asked to end."""

MAX_DRIFT = 0.004
"""By which the clocks of processes are fast or slow."""


class Group(Laboratory):
    """Several processes. What happens to the cluster is that of the laboratory."""

    def __init__(
        self,
        settings: GroupSettings,
        seed: int,
        schedule: Sequence[ScheduledForSome],
        directory: Path,
    ) -> None:
        super().__init__(settings.base, seed, schedule, directory)
        self.group_settings = settings
        self._server = Server(build_application(self.emulation), self._silent)
        hosts = [Host() for _ in range(1 if settings.one_host else settings.count)]
        self.places = []
        for number in range(settings.count):
            own = directory / f"process-{number}"
            own.mkdir()
            (own / "config.toml").write_text(settings.text)
            host = number % len(hosts)
            state = directory / f"host-{host}" / "state"
            self.places.append(Place(number, hosts[host], own / "config.toml", state))
        self.versions = [
            config_from(text, directory) for text in (settings.text, settings.changed_text)
        ]
        self.members: dict[int, Member] = {}  # by their places
        self.able_since: dict[int, float] = {}  # by their places; without those that cannot work
        self.led_at = 0.0  # when a process that does not stand still has last led
        self.quiet_since = 0.0  # since when nothing has kept all processes from leading
        self.tampered_at = -1e9  # with the lease
        self.last_kill: float | None = None
        self._disturbed: dict[int, dict[Disturbance, random.Random]] = {
            place.number: {} for place in self.places
        }
        self._networks_of: list[MemberNetwork] = []
        self._processes: list[Process] = []
        self._main: list[asyncio.Task[None]] = []
        self._over = False
        self._rejected: dict[str, ConfigError] = {}  # configurations with errors, by their texts

    def member_of(self, daemon: str) -> Member | None:
        """The process of that name, while it runs."""
        found = (each for each in self.members.values() if each.process.name == daemon)
        return next(found, None)

    @property
    def leaders(self) -> list[Member]:
        """The processes that believe that they may change the cluster."""
        return [each for each in self.members.values() if each.leads()]

    def lease_holder(self) -> str | None:
        """The holder that the lease names; None: there is none, or it cannot be read."""
        index = self.emulation.indices.get(LEASES)
        document = None if index is None else index.documents.get(LEASE)
        if document is None:
            return None
        lease = decode_lease(msgspec.json.encode(document.source))
        return None if lease is None else lease.holder

    # The run

    async def run(self, duration_s: float) -> None:
        with _collected_logs(self.trace):
            for place in self.places:
                self._start(place)
            tasks = [
                asyncio.ensure_future(self._happen(duration_s)),
                asyncio.ensure_future(self._watch()),
                asyncio.ensure_future(self._broken.wait()),
            ]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in tasks:
                    if task.done():
                        task.result()
            finally:
                self._over = True
                for task in (*tasks, *self._background):
                    task.cancel()
                for process in self._processes:
                    await process.bury()
                for network in self._networks_of:
                    await network.close()
                await asyncio.gather(*tasks, *self._background, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            await self.clock.sleep(1.0)
            self._note_quiet()
            self._check(MOMENT_INVARIANTS, self)

    def _note_quiet(self) -> None:
        if any(not each.process.stands_still for each in self.leaders):
            self.led_at = self.now
        works = self.emulation.has_master and not self.emulation.writes_blocked
        security = self.emulation.security
        assert security is not None
        key = (self._directory / "api_key").read_text()
        if not works or key not in security.api_keys:
            self.quiet_since = self.now
        for place in self.places:
            member = self.members.get(place.number)
            disturbed = self._disturbed[place.number]
            if member is None or member.process.stands_still or disturbed:
                self.able_since.pop(place.number, None)
            else:
                self.able_since.setdefault(place.number, self.now)

    def _check(self, invariants: Sequence[Callable[..., str]], *given: Any) -> None:
        if self._over:
            return
        for invariant in invariants:
            if wrong := invariant(*given):
                self.trace.violations.append(f"{invariant.__name__}: {wrong} (at {self.now:.1f} s)")
        if self.trace.violations:
            self._broken.set()

    def cycle_ended(self, daemon: str, **found: Any) -> None:
        member = self.member_of(daemon)
        if self._over or member is None:
            return
        self._see_nodes()
        cycle = self.trace.ended(daemon, member.controller._loop.state, **found)
        self._check(CYCLE_INVARIANTS, self, member, cycle)
        if acts_with_state(self, member, cycle):
            self._check(self.rollouts.invariants, self.trace, cycle)

    def _begin(self, scheduled: Scheduled) -> None:
        assert isinstance(scheduled, ScheduledForSome)
        fault = scheduled.fault
        rng = random.Random(f"{self._seed} {fault.number}")
        if isinstance(fault, Disturbance):
            for number in scheduled.processes:
                self._disturbed[number][fault] = rng
                self._later(
                    scheduled.lasts_s,
                    lambda number=number: self._disturbed[number].pop(fault, None),
                )
        elif fault.kind in PROCESS_HAPPENINGS:
            PROCESS_HAPPENINGS[fault.kind](self, self.places[scheduled.processes[0]], rng)
        else:
            super()._begin(scheduled)

    async def _happen(self, duration_s: float) -> None:
        self._later(duration_s * LAST_KILL, self._kill_last)
        await super()._happen(duration_s)

    def _heal(self) -> None:
        for place in self.places:
            self._disturbed[place.number].clear()
            place.configuration.write_text(self._text())
            if place.number in self.members:
                self.members[place.number].process.wake()
            else:
                self._start(place)
        super()._heal()
        self.quiet_since = self.now

    def _kill_last(self) -> None:
        self.last_kill = self.now
        for member in self.leaders:
            self.kill_process(member.place, down_s=1.0 if len(self.places) == 1 else 1e9)

    def _check_recovery(self) -> None:
        leaders = {member.process.name for member in self.leaders}
        cycles = [
            each for each in self.trace.cycles if each.plan is not None and each.daemon in leaders
        ]
        if not cycles or cycles[-1].at < self.now - 60.0:
            self.trace.violations.append("recovered: no cycle of a leader any more")
        elif wrong := recovered(self.trace, cycles[-1]):
            self.trace.violations.append(f"recovered: {wrong}")

    def _later(self, seconds: float, do: Any) -> None:
        async def wait() -> None:
            await self.clock.sleep(seconds)
            do()

        task = asyncio.get_running_loop().create_task(wait(), context=Context())
        self._background.add(task)
        task.add_done_callback(self._background.discard, context=Context())

    # Processes

    def _start(self, place: Place) -> None:
        if self._over or place.number in self.members:
            return
        self._starts += 1
        name = f"daemon-{self._starts}"
        rng = random.Random(f"{self._seed} {name}")
        process = Process(name, place.host, 1.0 + rng.uniform(-MAX_DRIFT, MAX_DRIFT))
        network = MemberNetwork(
            self._server,
            self.trace,
            name,
            self.clock,
            on_sent=self._sent,
            on_executed=self._executed_for_member,
        )
        network.disturbances = self._disturbed[place.number]
        self._networks_of.append(network)
        self._processes.append(process)

        def connect(config: Config, clock: Clock) -> SimulatedTransport:
            return SimulatedTransport(config.connection, clock, rng, network)

        def load() -> Config:
            text = place.configuration.read_text()
            if (problem := self._rejected.get(text)) is not None:
                raise problem
            try:
                return replace(config_from(text, self._directory), state_dir=place.state)
            except ConfigError as error:  # kept, because reading it takes as long as several cycles
                self._rejected[text] = error
                raise

        def accepted(config: Config) -> None:
            self._check(ACCEPTED_INVARIANTS, self, config)

        def took_over() -> None:
            self.trace.took_over(name)

        async def serve() -> None:
            with suppress(UserError):  # such a process ends, with a message
                recorder = CycleRecorder(self, name)
                member = Member(place, process, load, recorder, connect, rng, accepted, took_over)
                self.members[place.number] = member
                await member.serve()

        task = process.spawn(serve())
        self.trace.interrupted_at = self.now

        def ended(task: asyncio.Task[None]) -> None:
            if self._over or process.killed:
                return
            self.members.pop(place.number, None)
            if not task.cancelled() and (error := task.exception()) is not None:
                self.trace.violations.append(f"alive: the daemon ended: {error!r}")
                self._broken.set()
            self._later(RESTART_S, lambda: self._start(place))

        task.add_done_callback(ended, context=Context())

    def _sent(self, request: Request) -> None:
        self._check(SENT_INVARIANTS, self, request)

    def _executed_for_member(self, request: Request) -> None:
        self._check(MOMENT_INVARIANTS, self)

    def kill_process(self, place: Place, *, down_s: float) -> Files:
        """End a process wherever it is, and start another after some seconds. The files of its
        state."""
        member = self.members.pop(place.number, None)
        if member is None:
            return {}
        member.process.kill()
        self.able_since.pop(place.number, None)
        self._later(down_s, lambda: self._start(place))
        return {} if member.store is None else member.store.abandon()

    def fail_power(self, place: Place, rng: random.Random) -> None:
        """The host of a process fails, and with it all processes on it."""
        self.rollouts.unsaved()
        on_host = [each for each in self.places if each.host is place.host]
        down_s = rng.choice((5.0, 60.0))
        for each in on_host:
            member = self.members.get(each.number)
            store = None if member is None else member.store
            durable = store.durable if store is not None and store.is_open else None
            left = self.kill_process(each, down_s=down_s)
            if durable is not None:
                put_files(each.state, after_power_failure(left, durable, rng))

    def suspend_process(self, place: Place, seconds: float) -> None:
        member = self.members.get(place.number)
        if member is None or member.process.stands_still:
            return
        member.process.suspend()

        def wake() -> None:
            self.trace.interrupted_at = self.now
            self._bounds_changed_at = max(self._bounds_changed_at, self.now)
            member.process.wake()

        self._later(seconds, wake)

    def end_process(self, place: Place) -> None:
        """Ask a process to end, as with SIGTERM."""
        member = self.members.get(place.number)
        if member is None or member.process.stands_still:
            return
        member.stop()

        def kill() -> None:
            if self.members.get(place.number) is member:
                self.kill_process(place, down_s=RESTART_S)

        self._later(KILL_AFTER_S, kill)

    def kill(self, down_s: float) -> None:
        raise AssertionError("a process is killed, and not the group")

    def resume_stopped(self) -> None:
        for member in self.leaders:
            for name in list(member.controller._loop.state.stopped):
                with suppress(Exception):
                    member.controller.resume(name)

    def _ask(self, ask: Callable[[OperatorRequests], Coroutine[Any, Any, None]]) -> None:
        for member in self.leaders:

            async def asked(requests: OperatorRequests = member.controller.operators) -> None:
                with suppress(RequestRefused):
                    await ask(requests)

            member.process.spawn(asked())

    def _use_key(self) -> None:
        (self._directory / "api_key").write_text(KEYS[self._key])
        self.trace.interrupted_at = self.now

    # The configuration

    def _text(self) -> str:
        settings = self.group_settings
        return settings.changed_text if self._changed_rules else settings.text

    def edit_configuration(self, rng: random.Random) -> None:
        """Other bounds, on one host after the other. While a file is written, a reader finds the
        beginning of it."""
        self._changed_rules = not self._changed_rules
        self._bounds_changed_at = self.now
        self.rollouts.rule_changed()
        for place in self.places:
            after_s, takes_s = rng.uniform(0.0, 40.0), rng.uniform(0.05, 0.6)
            self._bounds_changed_at = max(self._bounds_changed_at, self.now + after_s)
            length = self._part(rng)
            self._later(after_s, lambda place=place, length=length: self._write(place, length))
            self._later(after_s + takes_s, lambda place=place: self._write(place))

    def break_configuration(self, place: Place, rng: random.Random) -> None:
        """A file ends in the middle, for a moment if that is valid, and otherwise for longer."""
        length = self._part(rng)
        lasts_s = rng.choice((3.0, 60.0))
        try:
            config_from(self._text()[:length], self._directory)
        except ConfigError:
            pass
        else:
            lasts_s = 0.6
        self._write(place, length)
        self._later(lasts_s, lambda: self._write(place))

    def _part(self, rng: random.Random) -> int:
        """Where a file ends of which only a part is written: often at the end of a line, where it
        may be valid."""
        text = self._text()
        lines = [at + 1 for at, character in enumerate(text[:-1]) if character == "\n"]
        return rng.choice((*lines, *rng.sample(range(len(text)), len(lines) // 2)))

    def _write(self, place: Place, length: int | None = None) -> None:
        place.configuration.write_text(self._text()[:length])

    # The lease

    def tamper_with_lease(self, kind: str, rng: random.Random) -> None:
        """An operator, or another program, changes the document of the lease."""
        self.quiet_since = self.tampered_at = self.now
        if (index := self.emulation.indices.get(LEASES)) is None:
            return
        match kind:
            case "delete_lease_index":
                del self.emulation.indices[LEASES]
            case "delete_lease":
                index.delete(LEASE)
            case "damage_lease":
                index.write(LEASE, {"holder": 7})
            case "take_lease":
                ttl_s = rng.choice((-1.0, 0.0, 0.1, 40.0))
                index.write(LEASE, {"holder": "someone", "ttl_s": ttl_s})


PROCESS_HAPPENINGS: dict[str, Callable[[Group, Place, random.Random], Any]] = {
    "suspend": lambda group, place, rng: group.suspend_process(
        place, rng.choice((3.0, 12.0, 45.0, 400.0))
    ),
    "kill": lambda group, place, rng: group.kill_process(
        place, down_s=rng.choice((0.1, 1.0, 30.0, 300.0))
    ),
    "stop": lambda group, place, rng: group.end_process(place),
    "power_failure": lambda group, place, rng: group.fail_power(place, rng),
    "set_wall_clock": lambda group, place, rng: setattr(
        place.host, "offset_s", rng.choice((-1e5, -7200.0, -90.0, -20.0, 0.0, 20.0, 3600.0, 1e5))
    ),
    "edit_configuration": lambda group, place, rng: group.edit_configuration(rng),
    "break_configuration": lambda group, place, rng: group.break_configuration(place, rng),
    "delete_lease": lambda group, _, rng: group.tamper_with_lease("delete_lease", rng),
    "delete_lease_index": lambda group, _, rng: group.tamper_with_lease("delete_lease_index", rng),
    "damage_lease": lambda group, _, rng: group.tamper_with_lease("damage_lease", rng),
    "take_lease": lambda group, _, rng: group.tamper_with_lease("take_lease", rng),
}


def run_group(
    seed: int, *, cycles: int = 500, schedule: Sequence[ScheduledForSome] | None = None
) -> Result:
    """Run a seed, with its own schedule of faults or another.

    Args:
        cycles: of one process that polls at the usual interval.
    """
    settings = group_settings_of(seed)
    duration_s = cycles * POLL_S
    faults = group_schedule_of(seed, settings, duration_s) if schedule is None else schedule
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as directory:

        async def main() -> Group:
            group = Group(settings, seed, faults, Path(directory))
            await group.run(duration_s)
            return group

        with without_authorities(), short_hours():
            trace = run_processes(main()).trace
    return Result(
        seed=seed,
        cycles=trace.total_cycles,
        violations=tuple(trace.violations),
        digest=tuple(trace.digest),
        schedule=tuple(faults),
    )
