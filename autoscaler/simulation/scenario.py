"""Scenarios: a cluster to emulate, described in a TOML file or built in code.

version = "8.19.4"
speed = 60.0                       # virtual seconds per second

[[nodes]]
name = "ml-1"
processors = 8
memory = "16gb"

[[models]]
model_id = "e5-small"
size = "120mb"
service_time_s = 0.02

[[deployments]]
model_id = "e5-small"
number_of_allocations = 2
load = {kind = "steady", rate_per_s = 60.0}
"""

import math
import re
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from autoscaler.errors import InputError
from autoscaler.files import read_regular
from autoscaler.simulation.loads import Diurnal, Load, Recorded, Steady, arrivals_of
from autoscaler.simulation.versions import VersionBehaviour, behaviour_of

Positive = Annotated[float, Meta(gt=0.0)]
Size = Annotated[str, Meta(pattern=r"^(0|\d{1,18}(\.\d{1,9})?\s*[kmgt]?b)$")]
Id = Annotated[str, Meta(pattern=r"^[a-z0-9._][a-z0-9_.-]*$")]


MAX_BYTES = 2**20
"""The size limit of a file in bytes. A thousand deployments take a third of it."""


class ClusterScenarioError(InputError):
    """An invalid scenario. The message names the file and the key."""


class _Part(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class ScenarioNode(_Part, frozen=True, kw_only=True):
    """One ML node."""

    name: str
    node_id: str = ""  # "": the name
    processors: Annotated[int, Meta(ge=1)] = 8
    memory: Annotated[str, Meta(pattern=r"^0*[1-9]\d{0,17}(\.\d{1,9})?\s*[kmgt]?b$")] = "16gb"
    zone: str = ""
    hardware_threads: Annotated[int, Meta(ge=1)] | None = None  # seen by native processes


class ScenarioModel(_Part, frozen=True, kw_only=True):
    """A model that has been uploaded."""

    model_id: Id
    size: Size = "100mb"
    service_time_s: Positive = 0.04  # mean, of one thread
    service_cv: Annotated[float, Meta(ge=0.0)] = 0.7  # coefficient of variation
    load_s: Annotated[float, Meta(ge=0.0)] | None = None  # None: follows from the size
    cache_hit_fraction: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.0
    process_memory: Size | None = None  # that a process uses; None: not simulated
    allocation_memory: Size = "0b"  # that each of its allocations uses in addition


class Adaptive(_Part, frozen=True, kw_only=True):
    """Settings of adaptive allocations."""

    enabled: bool
    min_number_of_allocations: Annotated[int, Meta(ge=0)] | None = None
    max_number_of_allocations: Annotated[int, Meta(ge=1)] | None = None


class ScenarioDeployment(_Part, frozen=True, kw_only=True):
    """A deployment that is started with the emulation, and its load."""

    model_id: str
    deployment_id: str = ""  # "": the model's id
    number_of_allocations: Annotated[int, Meta(ge=1)] | None = None
    threads_per_allocation: Annotated[int, Meta(ge=1)] = 1
    queue_capacity: Annotated[int, Meta(ge=1)] | None = None
    cache_size: Size | None = None
    priority: str = "normal"
    adaptive_allocations: Adaptive | None = None
    owned_by_endpoint: bool = False  # an inference endpoint with the same id created it
    load: Load | None = None

    @property
    def id(self) -> str:
        return self.deployment_id or self.model_id


class ScenarioEndpoint(_Part, frozen=True, kw_only=True):
    """An inference endpoint of a deployment that is started with the emulation."""

    inference_id: Id
    deployment_id: str = ""  # attached to it; "": owns the deployment with its id
    task_type: str = "text_embedding"
    service: Literal["elasticsearch", "elser"] = "elasticsearch"
    broken: bool = False  # cannot be read, so that no list with it can

    @property
    def serves(self) -> str:
        return self.deployment_id or self.inference_id


class Account(_Part, frozen=True, kw_only=True):
    """A user: with name and password, an API key `id:key`, or a token."""

    username: str
    roles: list[str] = []
    password: str | None = None
    api_key: str | None = None
    token: str | None = None


class SecuritySettings(_Part, frozen=True, kw_only=True):
    accounts: list[Account]
    roles: dict[
        str, list[str]
    ] = {}  # role -> privileges, in addition to the built-in roles; see `Security`


class ClusterScenario(_Part, frozen=True, kw_only=True):
    """A cluster to emulate."""

    version: str = "9.2"
    name: str = "emulated"
    seed: int = 1
    speed: Positive = 1.0  # virtual seconds per second
    can_grow: bool = False  # nodes can be added under load
    ml_memory_fraction: Annotated[float, Meta(gt=0.0, le=1.0)] = 0.3  # of the memory of a machine
    memory_statistics: Literal["none", "process", "model"] | None = None  # None: by version
    out_of_memory_ends: Literal["process", "node"] = "process"  # the largest, or all of a node
    elser_memory_grows: bool = False  # with the allocations, unlike the planner's estimate
    nodes: list[ScenarioNode]
    models: list[ScenarioModel] = []
    deployments: list[ScenarioDeployment] = []
    endpoints: list[ScenarioEndpoint] = []
    security: SecuritySettings | None = None  # None: security is disabled


def read_scenario(path: Path) -> ClusterScenario:
    """Read a scenario file.

    Raises:
        ClusterScenarioError: it cannot be read, or is invalid.
    """
    try:
        document = msgspec.toml.decode(read_regular(path, MAX_BYTES))
        return scenario_of(document, folder=path.parent)
    except OSError as error:
        raise ClusterScenarioError(f"{path}: cannot be read: {error.strerror}") from error
    except RecursionError as error:
        raise ClusterScenarioError(f"{path}: tables or lists are nested too deeply") from error
    except (msgspec.DecodeError, ValueError, ClusterScenarioError) as error:
        raise ClusterScenarioError(f"{path}: {error}") from error


def scenario_of(document: object, *, folder: Path = Path()) -> ClusterScenario:
    """The scenario that the tables of a TOML document describe.

    Args:
        document: the tables as mappings.
        folder: the paths of traces are relative to it.

    Raises:
        ClusterScenarioError: it is invalid; the message names the key.
    """
    try:
        scenario = _in(folder, msgspec.convert(document, ClusterScenario))
    except msgspec.ValidationError as error:
        raise ClusterScenarioError(_with_key_first(str(error))) from error
    check_scenario(scenario)
    return scenario


def _in(folder: Path, scenario: ClusterScenario) -> ClusterScenario:
    """The scenario with the paths of its traces resolved relative to a folder."""

    def resolved(deployment: ScenarioDeployment) -> ScenarioDeployment:
        if not isinstance(deployment.load, Recorded):
            return deployment
        load = replace(deployment.load, file=str(folder / deployment.load.file))
        return replace(deployment, load=load)

    return replace(scenario, deployments=[resolved(item) for item in scenario.deployments])


def _with_key_first(complaint: str) -> str:
    """A message of msgspec with its location, `- at `$.nodes[0].memory``, in front."""
    found = re.fullmatch(r"(.*) - at `(?:key in )?\$\.?([^`]*)`", complaint)
    return f"{found[2] or 'top level'}: {found[1]}" if found else complaint


def check_scenario(scenario: ClusterScenario) -> None:
    """Check that a scenario is consistent.

    Raises:
        ClusterScenarioError: it is not; the message names the key.
    """
    behaviour = _behaviour(scenario.version)
    if not scenario.nodes:
        raise ClusterScenarioError("nodes: a cluster needs at least one ML node; add [[nodes]]")
    _require_unique("nodes", [node.node_id or node.name for node in scenario.nodes])
    _require_unique("models", [model.model_id for model in scenario.models])
    _require_unique("deployments", [deployment.id for deployment in scenario.deployments])
    known = {model.model_id for model in scenario.models}
    for index, deployment in enumerate(scenario.deployments):
        try:
            _check_deployment(deployment, known, behaviour)
        except ClusterScenarioError as error:
            raise ClusterScenarioError(f"deployments[{index}].{error}") from error
    _check_endpoints(scenario, behaviour)


def _check_endpoints(scenario: ClusterScenario, behaviour: VersionBehaviour) -> None:
    _require_unique("endpoints", [endpoint.inference_id for endpoint in scenario.endpoints])
    deployed = {deployment.id for deployment in scenario.deployments}
    for index, endpoint in enumerate(scenario.endpoints):
        if not behaviour.inference_api:
            raise ClusterScenarioError(
                f"endpoints[{index}]: version {behaviour.number} has no inference API; remove it"
            )
        if endpoint.serves not in deployed:
            raise ClusterScenarioError(
                f"endpoints[{index}]: there is no deployment {endpoint.serves!r}; "
                "add it to [[deployments]]"
            )


def _check_deployment(
    deployment: ScenarioDeployment, models: set[str], behaviour: VersionBehaviour
) -> None:
    if deployment.model_id not in models:
        raise ClusterScenarioError(
            f"model_id: there is no model {deployment.model_id!r}; add it to [[models]]"
        )
    if deployment.adaptive_allocations is not None and not behaviour.adaptive_allocations:
        raise ClusterScenarioError(
            f"adaptive_allocations: version {behaviour.number} has none; remove it"
        )
    if deployment.id != deployment.model_id and not behaviour.deployment_id:
        raise ClusterScenarioError(
            f"deployment_id: in version {behaviour.number} it must be the model id; remove it"
        )
    try:
        if deployment.load is not None:
            arrivals_of(deployment.load, 0.0)
    except ValueError as error:
        raise ClusterScenarioError(f"load: {error}") from error


def adjust(
    scenario: ClusterScenario,
    *,
    version: str | None = None,
    load: bool | None = None,
    speed: float | None = None,
    user: str | None = None,
) -> ClusterScenario:
    """A scenario with some values replaced; None keeps them.

    Args:
        version: settings that it does not have are removed from the deployments.
        load: False removes all loads.
        speed: virtual seconds per second.
        user: `name:password` of a superuser; enables security.

    Raises:
        ClusterScenarioError: an invalid argument; the message names it.
    """
    if version is not None:
        scenario = _in_version(scenario, version)
    if load is False:
        without = [replace(deployment, load=None) for deployment in scenario.deployments]
        scenario = replace(scenario, deployments=without)
    if speed is not None:
        if not 0.0 < speed < math.inf:
            raise ClusterScenarioError(f"speed: must be positive and finite, not {speed:g}")
        scenario = replace(scenario, speed=speed)
    if user is not None:
        scenario = replace(scenario, security=_with_superuser(scenario.security, user))
    check_scenario(scenario)
    return scenario


def _in_version(scenario: ClusterScenario, version: str) -> ClusterScenario:
    behaviour = _behaviour(version)
    deployments = scenario.deployments
    if not behaviour.adaptive_allocations:
        deployments = [replace(item, adaptive_allocations=None) for item in deployments]
    if not behaviour.deployment_id:
        deployments = [replace(item, deployment_id="") for item in deployments]
    endpoints = scenario.endpoints if behaviour.inference_api else []
    return replace(scenario, version=version, deployments=deployments, endpoints=endpoints)


def _with_superuser(settings: SecuritySettings | None, user: str) -> SecuritySettings:
    name, colon, password = user.partition(":")
    if not (name and colon and password):
        raise ClusterScenarioError("user: must be NAME:PASSWORD")
    account = Account(username=name, password=password, roles=["superuser"])
    settings = settings or SecuritySettings(accounts=[])
    return replace(settings, accounts=[*settings.accounts, account])


def _behaviour(version: str) -> VersionBehaviour:
    if not isinstance(version, str):
        raise ClusterScenarioError(f'version: must be a text such as "9.2", not {version!r}')
    try:
        return behaviour_of(version)
    except ValueError as error:
        raise ClusterScenarioError(f"version: {error}") from error


def _require_unique(key: str, ids: list[str]) -> None:
    for index, id_ in enumerate(ids):
        if id_ in ids[:index]:
            raise ClusterScenarioError(f"{key}[{index}]: {id_!r} is defined twice; remove one")


def sample_scenario(
    *, version: str = "9.2", load: bool = True, speed: float = 1.0
) -> ClusterScenario:
    """A small example cluster: three nodes, four models, three of them deployed.

    One deployment has adaptive allocations, if the version has them. With `load`, the requests of
    a day arrive within an hour.
    """
    return adjust(_SAMPLE, version=version, load=load, speed=speed)


_SAMPLE = ClusterScenario(
    name="sample",
    nodes=[ScenarioNode(name=f"ml-{index}", zone=f"zone-{index}") for index in (1, 2, 3)],
    models=[
        ScenarioModel(
            model_id=".elser_model_2_linux-x86_64",
            size="262mb",
            service_time_s=0.09,
            cache_hit_fraction=0.05,
        ),
        ScenarioModel(model_id="e5-small", size="120mb", service_time_s=0.02),
        ScenarioModel(model_id="reranker", size="440mb", service_time_s=0.15, service_cv=0.4),
        ScenarioModel(model_id="sentiment", size="260mb", service_time_s=0.03),
    ],
    deployments=[
        ScenarioDeployment(
            model_id=".elser_model_2_linux-x86_64",
            deployment_id="elser-search",
            number_of_allocations=2,
            load=Diurnal(mean_per_s=30.0, peak_per_s=55.0, period_s=3600.0),
        ),
        ScenarioDeployment(
            model_id="e5-small", number_of_allocations=2, load=Steady(rate_per_s=30.0)
        ),
        ScenarioDeployment(
            model_id="reranker",
            adaptive_allocations=Adaptive(
                enabled=True, min_number_of_allocations=1, max_number_of_allocations=4
            ),
            load=Steady(rate_per_s=4.0),
        ),
    ],
)
