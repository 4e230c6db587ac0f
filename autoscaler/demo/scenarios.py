"""The clusters of the demo and their workloads."""

import math
from pathlib import Path

from msgspec.structs import replace

from autoscaler.errors import InputError
from autoscaler.simulation.loads import Diurnal, Recorded, Spike
from autoscaler.simulation.scenario import (
    Adaptive,
    ClusterScenario,
    ScenarioDeployment,
    ScenarioModel,
    ScenarioNode,
)
from autoscaler.simulation.trace_files import read_trace
from autoscaler.simulation.traces import Trace

TARGET_UTILISATION = 0.7
"""Utilisation at the peak with fixed allocations, and the target of a rule with that policy."""

MAX_ALLOCATIONS = 16
"""The maximum of each deployment. 16, of the 24 threads that the three nodes have."""

_NODES = [ScenarioNode(name=f"ml-{index}", processors=8, memory="32gb") for index in (1, 2, 3)]

_ELSER = ScenarioModel(
    model_id=".elser_model_2_linux-x86_64", size="262mb", service_time_s=0.12, load_s=20.0
)
_E5 = ScenarioModel(
    model_id="multilingual-e5-small", size="120mb", service_time_s=0.03, load_s=15.0
)

_REPLAYED_SERVICE_TIME_S, _REPLAYED_ALLOCATIONS = 0.1, 5.0


def built_in(duration_s: float) -> ClusterScenario:
    """Search traffic in waves, and an ingest job that starts at once."""
    waves = Diurnal(mean_per_s=35.0, peak_per_s=65.0, period_s=duration_s / 1.5)
    job = Spike(base_per_s=15.0, peak_per_s=150.0, after_s=duration_s / 3.0, for_s=duration_s / 8.0)
    return ClusterScenario(
        name="demo",
        nodes=_NODES,
        models=[_ELSER, _E5],
        deployments=[
            ScenarioDeployment(
                model_id=_ELSER.model_id,
                deployment_id="elser-search",
                number_of_allocations=1,
                load=waves,
            ),
            ScenarioDeployment(
                model_id=_E5.model_id,
                deployment_id="e5-ingest",
                number_of_allocations=1,
                load=job,
            ),
        ],
    )


def replayed(path: Path, duration_s: float) -> ClusterScenario:
    """The part of a trace around its peak, scaled to 5 allocations.

    Raises:
        InputError: the file is not a trace, or a trace without requests.
    """
    trace = read_trace(path)
    window = _around_the_peak(trace, duration_s)
    try:
        factor = trace.factor_for(
            allocations=_REPLAYED_ALLOCATIONS,
            service_time_s=_REPLAYED_SERVICE_TIME_S,
            utilisation=TARGET_UTILISATION,
        )
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error
    model = replace(_E5, service_time_s=_REPLAYED_SERVICE_TIME_S)
    load = Recorded(file=str(path), factor=factor, from_s=window[0], to_s=window[1])
    return ClusterScenario(
        name="demo",
        nodes=_NODES,
        models=[model],
        deployments=[
            ScenarioDeployment(
                model_id=model.model_id,
                deployment_id="replayed",
                number_of_allocations=1,
                load=load,
            )
        ],
    )


def _around_the_peak(trace: Trace, duration_s: float) -> tuple[float, float]:
    """A window with the peak after two fifths of it, as far as the trace allows."""
    peak_s = int(trace.counts.argmax()) * trace.bin_s
    begin_s = max(0.0, min(peak_s - 0.4 * duration_s, trace.duration_s - duration_s))
    begin_s -= begin_s % trace.bin_s
    return begin_s, min(begin_s + max(duration_s, trace.bin_s), trace.duration_s)


def fixed_at_the_peak(scenario: ClusterScenario) -> ClusterScenario:
    """The same scenario with the allocations that each deployment needs at its peak, fixed."""
    service_time_s = {model.model_id: model.service_time_s for model in scenario.models}
    return replace(
        scenario,
        deployments=[
            replace(
                deployment,
                number_of_allocations=_allocations_at(
                    _peak_per_s(deployment), service_time_s[deployment.model_id]
                ),
            )
            for deployment in scenario.deployments
        ],
    )


def with_adaptive_allocations(scenario: ClusterScenario) -> ClusterScenario:
    """The same scenario with adaptive allocations enabled, between the same bounds."""
    adaptive = Adaptive(
        enabled=True, min_number_of_allocations=1, max_number_of_allocations=MAX_ALLOCATIONS
    )
    return replace(
        scenario,
        deployments=[
            replace(deployment, number_of_allocations=None, adaptive_allocations=adaptive)
            for deployment in scenario.deployments
        ],
    )


def _allocations_at(rate_per_s: float, service_time_s: float) -> int:
    needed = math.ceil(rate_per_s * service_time_s / TARGET_UTILISATION)
    return max(1, min(needed, MAX_ALLOCATIONS))


def _peak_per_s(deployment: ScenarioDeployment) -> float:
    match deployment.load:
        case Diurnal() | Spike() as load:
            return load.peak_per_s
        case Recorded() as load:
            trace = read_trace(load.file)
            window = trace.between(load.from_s, load.to_s or trace.duration_s)
            return load.factor * window.peak_per_s
    raise AssertionError(deployment.load)
