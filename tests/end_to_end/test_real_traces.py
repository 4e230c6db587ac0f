"""The daemon under recorded loads, scaled to a few allocations, in virtual time."""

import math
from typing import NamedTuple

import pytest

from autoscaler.core.decision import OutcomeKind
from autoscaler.core.policies import AnyPolicy, UtilisationPolicy
from autoscaler.core.slo.policy import SloPolicy
from autoscaler.simulation.loads import Recorded
from autoscaler.simulation.scenario import ScenarioDeployment, ScenarioModel, ScenarioNode
from autoscaler.simulation.trace_files import read_trace
from tests.conftest import shared
from tests.end_to_end.checker import NOT_SENT
from tests.end_to_end.world import scenario, world_of
from tests.observations import policy, rule

pytestmark = pytest.mark.untraced

SERVICE_TIME_S, UTILISATION = 0.1, 0.7
AT_P99, MOST = 5.0, 12
LATE_S = 1.0
HOUR_S = 3600.0


class Replay(NamedTuple):
    """Hours of a trace, and the limits that the daemon has to keep."""

    file: str
    from_s: float
    to_s: float
    late: float  # maximum fraction of requests that wait longer than `LATE_S`
    cost: float  # maximum allocation-seconds, as a fraction of those at the peak allocations
    changes: int  # maximum changes per hour
    policy: AnyPolicy = UtilisationPolicy(target=UTILISATION, load_window_s=60.0)


REPLAYS = {
    # The morning with bursts of minutes, and the peak of the day.
    "azure": Replay("traces/azure_fn_diurnal_bursty.csv", 6 * HOUR_S, 9 * HOUR_S, 0.03, 0.6, 20),
    "azure-slo": Replay(
        "traces/azure_fn_diurnal_bursty.csv", 6 * HOUR_S, 9 * HOUR_S, 0.03, 0.75, 20, SloPolicy()
    ),
    # The visitors of a launch, second by second.
    "nasa": Replay("traces/nasa_http_launch_1s.csv.gz", 12 * HOUR_S, 15 * HOUR_S, 0.03, 0.6, 20),
}


@pytest.mark.deep
@pytest.mark.parametrize("replay", REPLAYS.values(), ids=REPLAYS)
async def test_a_recorded_load(replay):
    file = shared(replay.file)
    trace = read_trace(file)
    factor = trace.factor_for(
        allocations=AT_P99, service_time_s=SERVICE_TIME_S, utilisation=UTILISATION
    )
    load = Recorded(file=str(file), factor=factor, from_s=replay.from_s, to_s=replay.to_s)
    model = ScenarioModel(model_id="a", service_time_s=SERVICE_TIME_S, load_s=15.0)
    simulated = scenario(
        ScenarioDeployment(model_id="a", number_of_allocations=1, load=load),
        models=[model],
        nodes=[ScenarioNode(name="ml-1", processors=6), ScenarioNode(name="ml-2", processors=6)],
    )
    async with world_of(
        simulated, policy(rule(max_allocations=MOST, policy=replay.policy))
    ) as world:
        cycles = await world.run_for(replay.to_s - replay.from_s)
        ledger, hours = world.deployment("a").ledger, world.now / HOUR_S

        sent = [o.kind for c in cycles for o in c.outcomes if o.kind not in NOT_SENT]
        assert set(sent) == {OutcomeKind.ACCEPTED}
        assert all(cycle.failure is None for cycle in cycles)
        assert all(1 <= cycle.decision("a").desired <= MOST for cycle in cycles)
        assert ledger.changes <= replay.changes * hours

        assert ledger.requests > 10_000
        assert ledger.rejected == 0
        late = ledger.waited_longer_than(LATE_S) + ledger.failed
        assert late <= replay.late * ledger.requests

        window = trace.between(replay.from_s, replay.to_s)
        most = needed(factor * window.peak_per_s)
        assert world.allocation_s("a") <= replay.cost * most * world.now
        if trace.bin_s >= 60.0:
            assert follows(cycles, window, factor) > 0.95


def needed(rate_per_s):
    return max(1, min(MOST, math.ceil(rate_per_s * SERVICE_TIME_S / UTILISATION)))


def follows(cycles, trace, factor):
    """The fraction of cycles with at least the allocations that the previous minute needed."""
    enough = [
        cycle.decision("a").desired >= needed(factor * trace.counts[minute - 1] / trace.bin_s) - 1
        for cycle in cycles
        if 1 <= (minute := int(cycle.at // trace.bin_s)) < len(trace.counts)
    ]
    return sum(enough) / len(enough)
