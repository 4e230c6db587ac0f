"""Statistics that take longer than request_timeout: what an operator reads, and how often the
cluster is polled. `test_errors.py` has the other failures of a cycle.

Source: _stats took 30 s with 800 pipelines (elastic/kibana#180988; elastic/elasticsearch#97137).
"""

import io

import pytest
from rich.console import Console

from autoscaler.check import check, report
from autoscaler.config import load
from autoscaler.simulation.emulator.faults import Fault
from autoscaler.simulation.emulator.server import running_emulator
from tests.end_to_end.world import STATS
from tests.test_daemon import SCENARIO, running
from tests.virtual_clock import VirtualClock

REMEDY = "raise request_timeout, and poll_interval with it"
SLOW = Fault(path=STATS, calls=None, delay_s=30.0)
SHORT = {"AUTOSCALER_ELASTICSEARCH__REQUEST_TIMEOUT": "100ms"}  # of real time


async def test_the_log_and_the_probe_state_the_remedy(tmp_path):
    async with running(tmp_path, started=False, **SHORT) as setup:
        setup.emulator.emulation.faults.add(SLOW)
        message = await setup.until_logged("observation.failed")
        assert REMEDY in message
        status, text = await setup.get("/readyz")
        assert status == 503
        assert REMEDY in text


PROMPT_FAILURES = {
    "500": {"status": 500, "error_type": "null_pointer_exception", "body": "oops"},
    "503": {"status": 503, "error_type": "master_not_discovered_exception"},
    "proxy": {"status": 502, "body": "<html>Bad gateway</html>"},
    "page": {"status": 200, "body": "<html>Sign in</html>"},
    "json": {"truncate_to": 0, "status": 200, "body": "{"},
}


@pytest.mark.parametrize("failure", PROMPT_FAILURES.values(), ids=PROMPT_FAILURES)
async def test_statistics_that_fail_promptly_are_requested_less_often(tmp_path, failure):
    """Like those that fail slowly; and as before from the first good response on."""
    async with running(tmp_path) as setup:
        await setup.clock.advance(35.0)
        faults = setup.emulator.emulation.faults
        faults.add(Fault(path=STATS, calls=10_000, **failure))
        await setup.clock.advance(120.0)
        before = faults.active[0].calls
        await setup.clock.advance(600.0)
        polls = 10
        assert before - faults.active[0].calls <= 3 * polls, "one a minute, with its repetitions"
        assert "requested every 60 s" in setup.messages("observation.slowed")[-1]
        assert (await setup.get("/readyz"))[0] == 503
        faults.clear()
        await setup.clock.advance(60.0)
        assert setup.messages("observation.recovered")
        assert (await setup.get("/readyz"))[0] == 200
        await setup.clock.advance(45.0)
        assert await setup.metric("autoscaler_observation_age_seconds") <= 10.0


async def test_check_states_the_remedy():
    async with running_emulator(SCENARIO, clock=VirtualClock()) as emulator:
        emulator.emulation.faults.add(SLOW)
        environ = {"AUTOSCALER_ELASTICSEARCH__HOSTS": emulator.url, **SHORT}
        found = await check(load(None, environ))
    assert any(REMEDY in sentence for sentence in found.fatal)
    console = Console(file=io.StringIO(), width=120)
    report(found, console)
    assert "no deployments found" not in console.file.getvalue()
