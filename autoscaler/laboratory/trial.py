"""One run: a policy at a setting, on a demand, scored."""

import math
import time

import numpy as np
from msgspec import Struct

from autoscaler.core.values import Mode
from autoscaler.laboratory import scoring
from autoscaler.laboratory.clairvoyant import Foresight
from autoscaler.laboratory.contestants import SHARE, Contestant, Foreseen, Home, contestant
from autoscaler.laboratory.demand import Demand
from autoscaler.laboratory.drivers import Direct, Driver, Native, Planned, as_configured, drive
from autoscaler.laboratory.peers.peer import Peer, Recalls
from autoscaler.laboratory.plant import Plant
from autoscaler.laboratory.results import Row, Trial
from autoscaler.laboratory.scenario import Scenario
from autoscaler.laboratory.steered import Steered
from autoscaler.simulation.native_scaler import SHIPPED, Thresholds

TIMELINE_STEP_S = 300.0

OPENING_S = 600.0
OPENING_UTILISATION = 0.7
"""All but fixed numbers begin with what the load of the first ten minutes keeps so busy."""


class Entry(Struct, frozen=True, kw_only=True):
    """A policy at a setting."""

    policy: str  # a name that `contestant` knows
    value: float | None = None  # of its knob; None: as shipped
    with_timeline: bool = False


class Arena:
    """One demand, on which any number of policies can be tried."""

    def __init__(self, scenario: Scenario, demand: Demand, seed: int) -> None:
        self._scenario = scenario
        self._demand = demand
        self._seed = seed
        self._promise = scoring.Promise(scenario.slo_wait_s, scenario.slo_share)
        self._foresight: Foresight | None = None

    def run(self, entry: Entry) -> Trial:
        """Try one policy."""
        began = time.perf_counter()
        tried = contestant(entry.policy)
        value = self._value(entry)
        if tried.home is Home.FORESIGHT:
            plant, refused = self._clairvoyant(value), 0
        else:
            driver = self.driver(tried, value)
            plant = self.played(driver, version=tried.version)
            refused = driver.refused
        return self._scored(entry, plant, refused, time.perf_counter() - began)

    def played(
        self, driver: Driver, *, version: str | None = None, thresholds: Thresholds = SHIPPED
    ) -> Plant:
        """The plant after the driver has seen the demand through, for `Plant`'s arguments."""
        plant = Plant(
            self._scenario,
            self._demand,
            allocations=self._bounded(driver.opening or self._opening()),
            version=version,
            thresholds=thresholds,
        )
        drive(plant, driver)
        return plant

    def driver(self, tried: Contestant, value: float) -> Driver:
        """Of whoever does not know the future, with its knob at a value."""
        scenario, past = self._scenario, self._demand.past
        minimum, maximum = scenario.minimum, scenario.maximum
        if tried.home is Home.CLUSTER:
            return Native(minimum, maximum)
        assert tried.build is not None, "whoever has a policy can build it"
        policy = tried.build(value, Foreseen(scenario=scenario, demand=self._demand))
        if tried.home is Home.DAEMON:
            configured = as_configured(policy, scenario, tried.mode)
            if tried.mode is Mode.BOUNDS:
                return Steered(configured, scenario.poll_s, minimum=minimum, maximum=maximum)
            return Planned(configured, scenario.poll_s)
        assert isinstance(policy, Peer), "who is at home elsewhere has a rhythm of its own"
        memory = policy.begin()
        if past is not None and isinstance(policy, Recalls):
            memory = policy.recall(past, minimum, maximum)
        return Direct(policy, memory, minimum, maximum)

    def row(
        self,
        plant: Plant,
        policy: str,
        *,
        setting: str = "",
        default: bool = True,
        refused: int = 0,
        took_s: float = 0.0,
    ) -> Row:
        """The score of a policy of that name, which has seen the demand through on the plant."""
        demand, fleet = self._demand, plant.fleet
        met = scoring.met(demand, fleet.waits_s, fleet.fates, self._promise, plant.holdings)
        cost = scoring.cost(plant.holdings, *plant.span)
        return Row(
            trace=demand.trace,
            scenario=self._scenario.name,
            policy=policy,
            setting=setting,
            default=default,
            seed=self._seed,
            requests=met.requests,
            misses=met.misses,
            miss_fraction=met.misses / max(met.requests, 1),
            rejected=met.rejected,
            timed_out=met.timed_out,
            retries=fleet.second_tries,
            violation_minutes=met.violation_minutes,
            wait_p50_s=met.wait_p50_s,
            wait_p95_s=met.wait_p95_s,
            wait_p99_s=met.wait_p99_s,
            allocation_hours=cost.allocation_hours,
            running_allocation_hours=cost.running_allocation_hours,
            changes=cost.changes,
            reversals=cost.reversals,
            refused_updates=refused,
            longest_backlog_s=met.longest_backlog_s,
            seconds=demand.duration_s,
            took_s=took_s,
        )

    def _value(self, entry: Entry) -> float:
        """Of the knob. As shipped, who is told what is promised is told the scenario's promise."""
        if entry.value is not None:
            return entry.value
        tried = contestant(entry.policy)
        return self._scenario.slo_share if tried.knob == SHARE else tried.default

    def _clairvoyant(self, share: float) -> Plant:
        if self._foresight is None:
            self._foresight = Foresight(self._scenario, self._demand)
        plant, _ = self._foresight.best(share)
        return plant

    def _opening(self) -> int:
        """What all begin with: as if somebody had set it by hand, knowing the present load."""
        demand = self._demand
        opening_s = min(OPENING_S, demand.duration_s)
        first = int(np.searchsorted(demand.at, demand.start + opening_s))
        load = float(demand.work_s[:first].sum()) / opening_s
        return math.ceil(load / OPENING_UTILISATION)

    def _bounded(self, allocations: int) -> int:
        return min(max(allocations, self._scenario.minimum), self._scenario.maximum)

    def _scored(self, entry: Entry, plant: Plant, refused: int, took_s: float) -> Trial:
        demand, fleet, tried = self._demand, plant.fleet, contestant(entry.policy)
        value = self._value(entry)
        row = self.row(
            plant,
            entry.policy,
            setting=tried.setting(value),
            default=entry.value is None or value == tried.default,
            refused=refused,
            took_s=took_s,
        )
        if not entry.with_timeline:
            return Trial(row=row)
        timeline = scoring.timeline(
            demand, fleet.waits_s, fleet.fates, self._promise, plant.holdings, TIMELINE_STEP_S
        )
        return Trial(row=row, timeline=timeline)
