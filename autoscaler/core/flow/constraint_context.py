"""What the constraints depend on."""

from collections.abc import Callable, Mapping

from autoscaler.core.instructions import Override, Pause
from autoscaler.core.selection import Rule
from autoscaler.core.state import BackOff, DeploymentState
from autoscaler.core.values import DeploymentStats, Sample, Step, Value


class Grant(Value, frozen=True):
    """What a deployment was granted of the free capacity, if less than it claimed."""

    allocations: int  # at most
    inputs: Mapping[str, float | str]  # of the step that says so


class ConstraintContext(Value, frozen=True, kw_only=True):
    """The inputs of a constraint, besides the proposed allocations."""

    at: float
    current: int
    stats: DeploymentStats
    sample: Sample
    rule: Rule  # with the schedules that are open
    known: DeploymentState  # this observation included
    maintenance: str  # why the cluster must not be changed now; empty: it may be
    refused: BackOff | None  # the back-off that ends last
    zero_unsafe: str = ""  # why 0 allocations are not safe; empty: they are
    cold_start_s: float | None = None  # see `State`, with this observation
    usual_soon: bool = False  # whether usage recurs about now, as on past days
    grant: Grant | None = None  # None: granted in full
    pauses: tuple[Pause, ...] = ()  # that hold it
    override: Override | None = None  # None: there is none


Constraint = Callable[[int, ConstraintContext], Step | None]
"""Returns None where the constraint does not apply to the proposed allocations."""
