"""Records of policies on the simulated plant, as the daemon would export them."""

import numpy as np

from autoscaler.backtest.baselines.static import Static
from autoscaler.backtest.drivers import AdaptiveDriver, BaselineDriver, drive
from autoscaler.backtest.world.plant import Plant
from autoscaler.backtest.world.scenario import Scale
from autoscaler.backtest.world.workload import workload_of
from autoscaler.config.loader import read
from autoscaler.simulation.traces import Trace
from benchmarks.rehearsal_record import RecordingDriver, recorded_lines
from tests.backtest.workloads import scenario

CONFIG = """
poll_interval = "10s"
[defaults]
min_allocations = 1
max_allocations = 12
slo = { target = 0.99, wait = "200ms" }
[[rules]]
name = "all"
deployments = ["*"]
"""


def configuration(tmp_path, text=CONFIG):
    path = tmp_path / "config.toml"
    path.write_text(text)
    return read(path, {})


def trace(hours=3, mean_per_minute=900, seed=1):
    """Minutes whose mean goes up and down by a half each hour."""
    minutes = np.arange(round(60 * hours))
    expected = mean_per_minute * (1.0 + 0.5 * np.sin(minutes / 60.0 * 2.0 * np.pi))
    counts = np.random.default_rng(seed).poisson(expected)
    return Trace(name="waves", bin_s=60.0, counts=counts)


def cluster(**given):
    fields = {
        "nodes": 3,
        "processors": 4,
        "max_allocations": 12,
        "scale": Scale(factor=1.0),
        "hours": None,
    }
    return scenario(**(fields | given))


def fixed(allocations, where, minutes, seed=1):
    """The lines of fixed allocations, and the plant at the end."""
    baseline = Static(allocations=allocations)
    driver = BaselineDriver(baseline, baseline.begin(), 1, where.max_allocations)
    return _recorded(driver, allocations, where, minutes, seed)


def adaptive(where, minutes, seed=1):
    return _recorded(AdaptiveDriver(1, where.max_allocations), 3, where, minutes, seed)


def _recorded(driver, initial, where, minutes, seed):
    recording = RecordingDriver(driver, decides=False)
    plant = Plant(where, workload_of(minutes, where, seed), allocations=initial, version="9.3.0")
    drive(plant, recording)
    return recorded_lines(where, recording.intervals), plant
