"""A valid document -> settled values. What holds between keys is checked here."""

import os
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from autoscaler.config.document import ConfigDocument, ElasticsearchTable, ScalingTable
from autoscaler.config.limits import out_of_bounds, schedules_of
from autoscaler.config.messages import ConfigError, KeySources
from autoscaler.config.mode_settings import conflicts, mode_of, safe_allocations_of, zero_of
from autoscaler.config.policies import Registry, stabilisation_window_s
from autoscaler.config.policy_settings import check_table, check_use, inherit, policy_for
from autoscaler.config.values import Config, ConnectionSettings, Logging, Server
from autoscaler.core.policies import AnyPolicy, UtilisationPolicy
from autoscaler.core.selection import OnExit, Rule
from autoscaler.core.values import Mode

MAX_DEFAULT_TIMEOUT_S = 30.0

SECRET_BYTES = 65_536
"""No key, password or token is longer; a file that is was named by mistake."""

_UNUSED_POLICY = UtilisationPolicy(target=1.0, load_window_s=1.0)
"""In place of a policy where none is used: in rules that exclude, or that are refused anyway."""


class Resolver:
    """Settles one document, collecting every problem on the way."""

    def __init__(self, document: ConfigDocument, places: KeySources, directory: Path) -> None:
        self._document = document
        self._places = places
        self._directory = directory
        self._registry = Registry()
        self._problems: list[str] = []

    def resolve(self) -> Config:
        """Raises ConfigError with all that is wrong."""
        document = self._document
        self._check_tables()
        config = Config(
            connection=self._connection(document.elasticsearch),
            poll_interval_s=document.poll_interval,
            dry_run=document.dry_run,
            server=Server(host=document.server.host, port=document.server.port),
            logging=Logging(style=document.logging.format, level=document.logging.level),
            rules=tuple(self._rule(index) for index in range(len(document.rules))),
            state_file=self._state_file(document.state_file),
        )
        self._check_order(config.rules)
        if self._problems:
            raise ConfigError(self._problems)
        return config

    def _add_problem(self, path: tuple[int | str, ...], complaint: str) -> None:
        problem = f"{self._places.of(path)}: {complaint}"
        if problem not in self._problems:  # what is inherited is settled in each rule
            self._problems.append(problem)

    def _connection(self, table: ElasticsearchTable) -> ConnectionSettings:
        hosts = tuple([table.hosts] if isinstance(table.hosts, str) else table.hosts or ())
        if bool(hosts) == bool(table.cloud_id):
            both = "not both" if hosts else "neither is set"
            self._add_problem(("elasticsearch",), f"set hosts or cloud_id; {both}")
        self._check_credentials(table)
        self._check_tls(table, hosts)
        poll_interval_s = self._document.poll_interval
        return ConnectionSettings(
            hosts=hosts,
            cloud_id=table.cloud_id,
            api_key=self._secret("api_key", table.api_key, table.api_key_file),
            username=table.username,
            password=self._secret("password", table.password, table.password_file),
            bearer_token=self._secret("bearer_token", table.bearer_token, table.bearer_token_file),
            ca_certs=self._existing("ca_certs", table.ca_certs),
            ca_fingerprint=table.ca_fingerprint,
            client_certificate=self._existing("client_certificate", table.client_certificate),
            client_key=self._existing("client_key", table.client_key),
            request_timeout_s=table.request_timeout or min(poll_interval_s, MAX_DEFAULT_TIMEOUT_S),
        )

    def _check_credentials(self, table: ElasticsearchTable) -> None:
        given = [
            name
            for name, set_ in (
                ("api_key", table.api_key or table.api_key_file),
                ("username", table.username or table.password or table.password_file),
                ("bearer_token", table.bearer_token or table.bearer_token_file),
            )
            if set_
        ]
        if len(given) > 1:
            self._add_problem(
                ("elasticsearch",), f"{' and '.join(given)} exclude each other; keep one"
            )
        if bool(table.username) != bool(table.password or table.password_file):
            self._add_problem(("elasticsearch",), "username and password belong together; set both")

    def _check_tls(self, table: ElasticsearchTable, hosts: tuple[str, ...]) -> None:
        if table.client_key and not table.client_certificate:
            self._add_problem(
                ("elasticsearch", "client_key"), "is of no use without the certificate"
            )
        plain = hosts and all(urlsplit(host).scheme == "http" for host in hosts)
        for key in ("ca_certs", "ca_fingerprint", "client_certificate"):
            if plain and getattr(table, key):
                self._add_problem(
                    ("elasticsearch", key), "has no effect, since hosts begin http://"
                )

    def _secret(self, key: str, value: SecretStr | None, file: str | None) -> str | Path | None:
        if file is None:
            return value.get_secret_value() if value else None
        if value is not None:
            self._add_problem(
                ("elasticsearch", f"{key}_file"), f"{key} is set as well; keep one of the two"
            )
        elif complaint := _not_a_secret(self._directory / file):
            self._add_problem(("elasticsearch", f"{key}_file"), f"{file} {complaint}")
        return self._directory / file

    def _existing(self, key: str, file: str | None) -> Path | None:
        if file is None:
            return None
        path = self._directory / file
        try:
            path.open("rb").close()
        except OSError as error:
            self._add_problem(("elasticsearch", key), f"{file} cannot be read: {error.strerror}")
        return path

    def _state_file(self, file: str | None) -> Path | None:
        if file is None:
            return None
        path = self._directory / file
        if complaint := _not_writable(path):
            self._add_problem(("state_file",), f"{file} cannot be written: {complaint}")
        return path

    def _check_tables(self) -> None:
        rules = [(("rules", index), rule) for index, rule in enumerate(self._document.rules)]
        for path, table in [(("defaults",), self._document.defaults), *rules]:
            check_table(table, self._registry, partial(self._complain_below, path))

    def _complain_below(self, path: tuple[int | str, ...], key: str, complaint: str) -> None:
        self._add_problem((*path, key), complaint)

    def _rule(self, index: int) -> Rule:
        rule, defaults = self._document.rules[index], self._document.defaults
        scaling = inherit(rule, defaults)
        policy: AnyPolicy | None = None
        if not rule.exclude:
            self._check_bounds(index, scaling)
            self._check_modes(index, scaling)
            complain = partial(self._complain_of, index)
            policy = policy_for(scaling, self._registry, self._document.poll_interval, complain)
            if policy is not None:
                check_use(rule, policy.name, complain)
        window_s = scaling.stabilisation_window
        if window_s is None:
            window_s = stabilisation_window_s(scaling.policy)
        return Rule(
            name=rule.name,
            deployments=_patterns(rule.deployments),
            models=_patterns(rule.models),
            exclude=rule.exclude,
            hidden=scaling.hidden,
            low_priority=scaling.low_priority,
            dry_run=self._document.dry_run or scaling.dry_run or scaling.mode == "observe",
            min_allocations=scaling.min_allocations,
            max_allocations=scaling.max_allocations or scaling.min_allocations,
            policy=policy or _UNUSED_POLICY,
            stabilisation_window_s=window_s,
            growth_factor=scaling.growth_factor,
            shrink_factor=scaling.shrink_factor,
            burst_max_allocations=scaling.burst_max_allocations,
            schedules=schedules_of(scaling),
            mode=mode_of(scaling),
            take_over=scaling.take_over and mode_of(scaling) is Mode.DIRECT,
            zero=zero_of(scaling),
            on_exit=OnExit(scaling.on_exit),
            safe_allocations=safe_allocations_of(scaling),
        )

    def _check_bounds(self, index: int, scaling: ScalingTable) -> None:
        minimum, maximum = scaling.min_allocations, scaling.max_allocations
        if maximum is None:
            self._add_problem(
                self._origin(index, "max_allocations"),
                "is missing; how much hardware may be used is for you to say, here or in defaults",
            )
        elif maximum < minimum:
            self._add_problem(
                self._origin(index, "max_allocations"),
                f"must be at least min_allocations, which is {minimum}, not {maximum}",
            )
        else:
            for (key, *rest), number in out_of_bounds(scaling, minimum, maximum):
                self._add_problem(
                    (*self._origin(index, str(key)), *rest),
                    f"must be within the bounds of the rule {self._document.rules[index].name!r}, "
                    f"{minimum} to {maximum}, not {number}",
                )

    def _check_modes(self, index: int, scaling: ScalingTable) -> None:
        own = frozenset(self._document.rules[index].model_fields_set)
        state_file = self._document.state_file is not None
        for key, complaint in conflicts(scaling, own, state_file=state_file):
            self._complain_of(index, key, complaint)

    def _complain_of(self, index: int, key: str, complaint: str) -> None:
        """Of a key of a rule, wherever it was written."""
        self._add_problem(self._origin(index, key), complaint)

    def _origin(self, index: int, key: str) -> tuple[int | str, ...]:
        inherited = key not in self._document.rules[index].model_fields_set
        if inherited and key in self._document.defaults.model_fields_set:
            return ("defaults", key)
        return ("rules", index, key)

    def _check_order(self, rules: tuple[Rule, ...]) -> None:
        for index, rule in enumerate(rules):
            for earlier in rules[:index]:
                if earlier.name == rule.name:
                    self._add_problem(
                        ("rules", index, "name"), f"{rule.name!r} names an earlier rule"
                    )
                elif _takes_all_of(earlier, rule):
                    self._add_problem(
                        ("rules", index),
                        f"{rule.name!r} never applies, since {earlier.name!r} before it takes all "
                        "deployments; put it first",
                    )
                else:
                    continue
                break


def _not_a_secret(path: Path) -> str | None:
    """What is wrong with a file that should hold a secret."""
    try:
        with path.open("rb") as file:
            content = file.read(SECRET_BYTES + 1)
        secret = content.decode().strip()
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        return "is not text"
    if len(content) <= SECRET_BYTES and secret and secret.isprintable():
        return None
    return "must hold the secret on one line, and nothing else"


def _not_writable(path: Path) -> str | None:
    """Why a file that is replaced as a whole cannot be; it need not be there yet."""
    folder = path.parent
    if not os.path.isdir(folder):  # that of Path raises if it may not look
        return f"there is no directory {folder}"
    if os.path.isdir(path):
        return "it is a directory"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"the directory {folder} is not writable"
    return None


def _patterns(texts: list[str] | str) -> tuple[str, ...]:
    return (texts,) if isinstance(texts, str) else tuple(texts)


def _takes_all_of(earlier: Rule, later: Rule) -> bool:
    """Whether everything that could reach `later` is certain to be taken by `earlier`."""
    if "*" not in earlier.deployments or "*" not in earlier.models:
        return False
    return earlier.exclude or (
        (earlier.hidden or not later.hidden) and (earlier.low_priority or not later.low_priority)
    )
