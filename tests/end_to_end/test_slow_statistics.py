"""Statistics that take longer than request_timeout: what an operator reads, and how often the
cluster is asked. `test_errors.py` has the other failures of a cycle.

Source: _stats took 30 s with 800 pipelines (elastic/kibana#180988; elastic/elasticsearch#97137).
"""

import io

import pytest
import structlog
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


@pytest.fixture(autouse=True)
def _default_logging():
    structlog.reset_defaults()


async def test_the_log_and_the_probe_state_the_remedy(tmp_path):
    async with running(tmp_path, started=False, **SHORT) as setup:
        setup.emulator.emulation.faults.add(SLOW)
        message = await setup.until_logged("observation.failed")
        assert REMEDY in message
        status, text = await setup.get("/readyz")
        assert status == 503
        assert REMEDY in text


async def test_check_states_the_remedy():
    async with running_emulator(SCENARIO, clock=VirtualClock()) as emulator:
        emulator.emulation.faults.add(SLOW)
        environ = {"AUTOSCALER_ELASTICSEARCH__HOSTS": emulator.url, **SHORT}
        found = await check(load(None, environ))
    assert any(REMEDY in sentence for sentence in found.fatal)
    console = Console(file=io.StringIO(), width=120)
    report(found, console)
    assert "no deployments found" not in console.file.getvalue()
