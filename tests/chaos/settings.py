"""What a seed draws before anything happens: the cluster, the rules and the loads."""

import random
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec import Struct
from msgspec.structs import replace

from autoscaler.config import Config, load
from autoscaler.connection import ApiKey
from autoscaler.simulation.loads import Steady
from autoscaler.simulation.scenario import (
    Account,
    Adaptive,
    ClusterScenario,
    ScenarioDeployment,
    ScenarioModel,
    ScenarioNode,
    SecuritySettings,
)

MAX_ALLOCATIONS = 6
KEYS = ("autoscaler:first", "autoscaler:second", "autoscaler:third")
"""The API keys that are valid one after the other."""

HOSTS = ("es-1", "es-2", "es-3")

_MODES = {
    "direct": "",
    "take over": "take_over = true",
    "bounds": 'mode = "bounds"',
    "stop": 'scale_to_zero = { after = "2m", via = "stop" }',
    "take over and stop": 'take_over = true\nscale_to_zero = { after = "2m", via = "stop" }',
    "bounds to zero": 'mode = "bounds"\nscale_to_zero = { after = "2m", via = "adaptive" }',
    "bounds and stop": 'mode = "bounds"\nscale_to_zero = { after = "2m", via = "stop" }',
}


class Settings(Struct, frozen=True, kw_only=True):
    """The settings of one run."""

    mode: str
    policy: str
    hosts: tuple[str, ...]
    min_allocations: int
    stabilisation: str
    max_allocations: int
    further: str  # lines of the rule
    general: str  # lines before the first table
    gradual: bool  # whether the rule has a gradual rollout
    lasting: bool  # whether the directory of the state is known to outlive the process
    loses: bool  # whether the next process finds an empty one
    scenario: ClusterScenario

    @property
    def stops(self) -> bool:
        return "stop" in self.mode

    @property
    def to_zero(self) -> bool:
        return "zero" in self.mode


def settings_of(seed: int) -> Settings:
    rng = random.Random(f"{seed} settings")
    mode = rng.choice(tuple(_MODES))
    zero = "zero" in mode
    # Where zero allocations are not safe, nothing is scaled to zero.
    version = rng.choice(("9.5",) if zero else ("8.12", "8.16", "8.19", "9.0", "9.2", "9.5"))
    if version == "8.12":
        mode = "direct"
    names = [f"model-{letter}" for letter in "abc"[: rng.randint(1, 3)]]
    adaptive = rng.random() < 0.5 and version != "8.12"
    models = [
        ScenarioModel(
            model_id=name,
            service_time_s=rng.choice((0.1, 0.3, 0.8)),
            load_s=rng.choice((2.0, 8.0, 40.0)),
        )
        for name in names
    ]
    nodes = [
        # The first has room for one allocation of every deployment.
        ScenarioNode(
            name=f"ml-{number}", processors=rng.choice((4, 5, 8) if number == 1 else (2, 3, 5))
        )
        for number in range(1, rng.randint(2, 4))
    ]
    deployments = [
        ScenarioDeployment(
            model_id=model.model_id,
            number_of_allocations=None if adaptive and number == 0 else 1,
            threads_per_allocation=1 if number else rng.choice((1, 1, 2)),
            adaptive_allocations=(
                Adaptive(enabled=True, min_number_of_allocations=1, max_number_of_allocations=3)
                if adaptive and number == 0
                else None
            ),
            # Where idle deployments are scaled to zero, some are idle from the start.
            load=(
                None
                if "stop" in mode and rng.random() < 0.3
                else load_of(model.service_time_s, rng)
            ),
        )
        for number, model in enumerate(models)
    ]
    scenario = ClusterScenario(
        version=version,
        seed=rng.randrange(1_000_000),
        nodes=nodes,
        models=models,
        deployments=deployments,
        can_grow=rng.random() < 0.2,
        security=SecuritySettings(
            accounts=[
                Account(username="autoscaler", roles=["autoscaler"], api_key=key) for key in KEYS
            ],
            roles={"autoscaler": list(_privileges(rng))},
        ),
    )
    policy = rng.choice(("slo", "slo", "utilisation"))
    settings = Settings(
        mode=mode,
        policy=policy,
        hosts=HOSTS[: rng.randint(1, 3)],
        min_allocations=rng.choice((1, 1, 2)),
        max_allocations=MAX_ALLOCATIONS,
        stabilisation=rng.choice(("0s", "30s", "2m")),
        further=_further_of(random.Random(f"{seed} rule"), policy),
        general=_general_of(random.Random(f"{seed} general"), stops="stop" in mode),
        gradual=False,
        lasting=random.Random(f"{seed} first start").random() < 0.5,
        loses=False,
        scenario=scenario,
    )
    # Drawn apart, so that the other seeds do not depend on it.
    rng = random.Random(f"{seed} rollout")
    is_possible = policy == "slo" and "stop" not in mode
    return _gradual(settings, rng) if is_possible and rng.random() < 0.4 else settings


def _further_of(rng: random.Random, policy: str) -> str:
    """What most rules do not have."""
    found = [line for line in _FURTHER if rng.random() < 0.2]
    found += [rng.choice(lines) for lines in _SELDOM if rng.random() < 0.1]
    found += [rng.choice(lines) for lines in _OF_POLICY[policy] if rng.random() < 0.15]
    return "\n".join(found)


def _general_of(rng: random.Random, *, stops: bool) -> str:
    """The same of the keys for all rules."""
    found = [rng.choice(lines) for lines in _GENERAL if rng.random() < 0.1]
    if not stops and rng.random() < 0.05:
        found.append('state = "none"')
    return "\n".join(found)


def _gradual(settings: Settings, rng: random.Random) -> Settings:
    """The settings with a rule that acts in some hours only."""
    hours = rng.choice(('"00:00-24:00"', '"00:00-24:00"', '"06:00-18:00"', '"22:00-05:00"'))
    zone, share = rng.choice(("UTC", "Asia/Kolkata")), rng.choice((0.5, 0.75, 0.9))
    rollout = f'rollout = {{ hours = [{hours}], timezone = "{zone}", share = {share} }}'
    scenario = settings.scenario
    *others, last = scenario.deployments
    free = scenario.nodes[0].processors - sum(d.threads_per_allocation for d in others)
    if last.number_of_allocations is not None:
        most = free // last.threads_per_allocation
        last = replace(last, number_of_allocations=min(most, rng.choice((1, 2, 4))))
    max_allocations = rng.choice((3, 4, MAX_ALLOCATIONS))
    nodes = scenario.nodes
    if rng.random() < 0.7 and last.number_of_allocations is not None:
        # With this maximum, many more requests are late than before, so that the rule is reverted.
        max_allocations = 3
        nodes = [replace(nodes[0], processors=8), *nodes[1:]]
        rate = 4.2 / scenario.models[-1].service_time_s
        last = replace(
            last,
            number_of_allocations=5,
            threads_per_allocation=1,
            load=Steady(rate_per_s=rate, seed=rng.randrange(1_000_000)),
        )
    return replace(
        settings,
        max_allocations=max_allocations,
        further=f"{settings.further}\n{rollout}",
        general=settings.general.replace('state = "none"', ""),
        gradual=True,
        loses=not settings.lasting and rng.random() < 0.5,
        scenario=replace(scenario, nodes=nodes, deployments=[*others, last]),
    )


def load_of(service_time_s: float, rng: random.Random) -> Steady:
    """A load of up to five erlangs, and of no more than twenty requests per second."""
    erlangs = rng.choice((0.2, 0.8, 1.5, 3.0, 5.0))
    rate = min(20.0, erlangs / service_time_s)
    return Steady(rate_per_s=rate, seed=rng.randrange(1_000_000))


_ALL = ("monitor_ml", "manage_ml", "monitor", "monitor_inference", "manage_inference")


def _privileges(rng: random.Random) -> tuple[str, ...]:
    if rng.random() < 0.8:
        return (*_ALL, "read_pipeline")
    return ("monitor_ml", "manage_ml", *(each for each in _ALL[2:] if rng.random() < 0.5))


def config_of(settings: Settings, directory: Path, *, changed: bool = False) -> Config:
    """The daemon's configuration, with an API key and a state of its own in a directory.

    Args:
        changed: with other bounds, as after an operator has edited it.
    """
    return config_from(config_text(settings, changed=changed), directory)


def config_from(text: str, directory: Path) -> Config:
    """
    Raises:
        ConfigError: the text is no valid configuration.
    """
    config = _loaded(text)
    key = ApiKey(directory / "api_key")
    connection = replace(config.connection, auth=key)
    return replace(config, connection=connection, state_dir=directory / "state", state_file=None)


def config_text(settings: Settings, *, changed: bool = False) -> str:
    """The file of the configuration."""
    return _CONFIG.format(
        hosts=", ".join(f'"http://{host}:9200"' for host in settings.hosts),
        policy=settings.policy,
        minimum=settings.min_allocations,
        maximum=highest_of(settings, changed=changed),
        general=settings.general,
        stabilisation=settings.stabilisation,
        mode=_MODES[settings.mode],
        further=settings.further,
    )


def highest_of(settings: Settings, *, changed: bool) -> int:
    """The maximum of the rule, before or after an operator has edited it."""
    return max(3, settings.max_allocations - 2) if changed else settings.max_allocations


_CONFIG = """
{general}
[elasticsearch]
hosts = [{hosts}]
[[rules]]
name = "excluded"
deployments = ["excluded-*"]
exclude = true
[[rules]]
name = "all"
policy = "{policy}"
min_allocations = {minimum}
max_allocations = {maximum}
stabilisation_window = "{stabilisation}"
{mode}
{further}
"""

_SCHEDULE = (
    'schedules = [{ name = "every ten minutes", cron = "*/10 * * * *", timezone = "UTC", '
    'length = "3m", min_allocations = 3 }]'
)


_FURTHER = (
    'blind_allocations = 3\nblind_after = "1m"',
    "burst_max_allocations = 3",
    _SCHEDULE,
)

_SELDOM = (
    ('external_change_hold = "0s"', 'external_change_hold = "1m"', 'external_change_hold = "1h"'),
    ("growth_factor = 1.5", "growth_factor = 3.0"),
    ("shrink_factor = 1.2", "shrink_factor = 5.0"),
    ('load_window = "20s"', 'load_window = "2m"'),
    ("dry_run = true",),
)

_OF_POLICY = {
    "slo": (
        ('slo = { wait = "200ms" }', 'slo = { latency = "3s", target = 0.9 }'),
        ('drain = "10s"', 'drain = "2m"'),
        ('caller_timeout = "5s"', 'caller_timeout = "2m"'),
    ),
    "utilisation": (("target_utilisation = 0.5", "target_utilisation = 0.9"),),
}

_GENERAL = (
    ('min_poll_interval = "5s"', 'min_poll_interval = "10s"'),
    ('history_max_age = "1h"',),
)


@lru_cache(maxsize=512)  # reading it takes as long as several cycles
def _loaded(text: str) -> Config:
    with TemporaryDirectory() as directory:
        path = Path(directory, "config.toml")
        path.write_text(f'state_dir = "state"\n{text}')
        return load(path, {})
