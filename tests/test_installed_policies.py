"""Policies of other distributions: found, built and checked."""

import itertools

import msgspec
import pytest

from autoscaler.config import ConfigError, load
from autoscaler.core.installed_policy import InstalledPolicy
from tests.messages import without_lines
from tests.plugins import install
from tests.test_config import REACHABLE

MODULE = """
from autoscaler.core.policies import MemoryFormat
from autoscaler.core.values import Reason, Step

made = []

class Steady:
    name = "steady"
    load_window_s = 30

    def __init__(self, allocations=1):
        self.allocations = allocations

    def __eq__(self, other):
        raise ValueError("not to be compared")

    def begin(self):
        return None

    def recommend(self, situation, memory):
        return Step(Reason.RECOMMENDATION, situation.current, self.allocations), None

def make(options, poll_interval_s):
    made.append((options, poll_interval_s))
    return Steady(**options)

def none(options, poll_interval_s):
    return Nothing()

class Nothing:
    name = "nothing"
    begin = None

def endless(options, poll_interval_s):
    policy = Steady()
    policy.load_window_s = float("inf")
    return policy

def formless(options, poll_interval_s):
    policy = Steady()
    policy.memory_format = int
    return policy

def versionless(options, poll_interval_s):
    policy = Steady()
    policy.memory_format = MemoryFormat(int, 0)
    return policy

def typeless(options, poll_interval_s):
    policy = Steady()
    policy.memory_format = MemoryFormat(3, 1)
    return policy

def stored(options, poll_interval_s):
    policy = Steady()
    policy.memory_format = MemoryFormat(int, 2)
    return policy

def costless(options, poll_interval_s):
    policy = Steady()
    policy.cost_curve = 3.0
    return policy

def tireless(options, poll_interval_s):
    policy = Steady()
    policy.next_poll = 3.0
    return policy

def nameless(options, poll_interval_s):
    policy = Steady()
    policy.name = 3
    return policy

def shadow(options, poll_interval_s):
    raise RuntimeError("a built-in policy has this name")
"""

SERIAL = itertools.count()

POINTS = """
steady = {module}:make
none = {module}:none
endless = {module}:endless
nameless = {module}:nameless
costless = {module}:costless
tireless = {module}:tireless
formless = {module}:formless
versionless = {module}:versionless
typeless = {module}:typeless
stored = {module}:stored
gone = {module}:gone
absent = {module}.absent:make
utilisation = {module}:shadow
"""


@pytest.fixture
def distribution(tmp_path, monkeypatch):
    """Its name; a new one for each test, because Python caches imported modules."""
    name = f"installed-{next(SERIAL)}"
    points = POINTS.format(module=name.replace("-", "_"))
    install(tmp_path, monkeypatch, MODULE, name=name, points=points)
    return name


@pytest.fixture
def config(tmp_path):
    def config(rules: str, before: str = ""):
        path = tmp_path / "config.toml"
        path.write_text(f"{before}\n{REACHABLE}\n{rules}")
        return load(path, {})

    return config


@pytest.fixture
def problem(config, tmp_path):
    def problem(rules: str) -> str:
        with pytest.raises(ConfigError) as refused:
            config(rules)
        (sentence,) = refused.value.problems
        return without_lines(sentence.replace(f"{tmp_path}/", ""))

    return problem


def rule(policy, rest="", name="all"):
    return f'[[rules]]\nname = "{name}"\nmax_allocations = 4\npolicy = "{policy}"\n{rest}\n'


def module_of(distribution):
    return __import__(distribution.replace("-", "_"))


class TestFound:
    def test_by_the_name_of_its_entry_point_and_built_from_its_options(self, config, distribution):
        resolved = config(
            rule("steady", "options = { allocations = 3 }"), 'poll_interval = "20s"'
        ).rules
        (policy,) = [each.policy for each in resolved]
        assert isinstance(policy, InstalledPolicy)
        assert (policy.name, policy.load_window_s, policy.policy.allocations) == ("steady", 30.0, 3)
        assert policy.source == f"{distribution.replace('-', '_')}:make of {distribution} 1.0"
        assert module_of(distribution).made == [({"allocations": 3}, 20.0)]

    def test_it_is_built_once_although_the_file_is_read_again(self, config, distribution):
        text = rule("steady", "options = { allocations = 3 }")
        first, again = config(text), config(f"# the same\n{text}")
        assert first == again
        assert first.fingerprint == again.fingerprint
        assert len(module_of(distribution).made) == 1

    @pytest.mark.parametrize("other", ["4", "3.0"])
    def test_other_options_are_another_policy(self, config, distribution, other):
        first = config(rule("steady", "options = { allocations = 3 }"))
        second = config(rule("steady", f"options = {{ allocations = {other} }}"))
        assert first != second
        assert first.fingerprint != second.fingerprint
        assert len(module_of(distribution).made) == 2

    def test_it_has_no_stabilisation_window_unless_one_is_set(self, config, distribution):
        rules = rule("steady", 'deployments = "a"', "a") + rule(
            "steady", 'stabilisation_window = "1m"', "b"
        )
        assert [each.stabilisation_window_s for each in config(rules).rules] == [0.0, 60.0]

    def test_its_memory_is_stored_if_it_has_a_format(self, config, distribution):
        (a, b) = config(rule("steady", 'deployments = "a"', "a") + rule("stored", "", "b")).rules
        assert a.policy.memory_format is None
        assert (b.policy.memory_format.type, b.policy.memory_format.version) == (int, 2)

    def test_it_cannot_replace_a_built_in_policy(self, config, distribution):
        (resolved,) = config(rule("utilisation")).rules
        assert not isinstance(resolved.policy, InstalledPolicy)

    def test_options_are_inherited_by_rules_with_the_same_policy(self, config, distribution):
        rules = """
            [defaults]
            policy = "steady"
            options = { allocations = 3 }
            """ + (
            '[[rules]]\nname = "a"\nmax_allocations = 4\ndeployments = "a"\n'
            + rule("utilisation", 'deployments = "b"', "b")
            + rule("steady", "options = {}", "c")
        )
        a, b, c = (each.policy for each in config(rules).rules)
        assert (a.options, c.options) == ({"allocations": 3}, {})
        assert not isinstance(b, InstalledPolicy)


class TestRefused:
    def test_an_unknown_name(self, problem, distribution):
        assert problem(rule("stedy")) == (
            "config.toml: rule 'all': policy: there is no policy 'stedy', only slo, utilisation, "
            "absent, costless, endless, formless, gone, nameless, none, steady, stored, tireless, "
            "typeless and versionless; did you mean steady?"
        )

    def test_in_the_defaults_it_is_reported_once(self, problem, distribution):
        inherited = '[[rules]]\nname = "{}"\nmax_allocations = 2\ndeployments = "{}"\n'
        text = '[defaults]\npolicy = "magic"\n' + inherited.format("a", "a")
        text += inherited.format("b", "b")
        assert problem(text).startswith("config.toml: defaults.policy: there is no policy 'magic'")

    @pytest.mark.parametrize(
        ("name", "rest", "message"),
        [
            ("gone", "", "cannot be imported: AttributeError: module '{}' has no attribute 'gone'"),
            ("absent", "", ("cannot be imported: ModuleNotFoundError: No module named '{}.absent'; "
             "'{}' is not a package")),
            ("none", "", ("is not a policy: TypeError: Nothing has no load_window_s and no "
             "recommend")),
            ("endless", "", ("is not a policy: ValueError: load_window_s of Steady must be "
             "above 0 and at most 3600, not inf")),
            ("nameless", "", ("is not a policy: TypeError: the name of Steady must be a text, "
             "not 3")),
            ("costless", "", "is not a policy: TypeError: cost_curve of Steady must be a method"),
            ("tireless", "", "is not a policy: TypeError: next_poll of Steady must be a method"),
            ("formless", "", ("is not a policy: TypeError: memory_format of Steady must be a "
             "MemoryFormat, not <class 'int'>")),
            ("versionless", "", ("is not a policy: ValueError: the version in memory_format of "
             "Steady must be an integer of at least 1, not 0")),
            ("typeless", "", ("is not a policy: TypeError: msgspec cannot decode the type in "
             "memory_format of Steady: Type '3' is not supported")),
            ("steady", "options = { speed = 3 }", ("cannot be made from its options (speed): "
             "TypeError: Steady.__init__() got an unexpected keyword argument 'speed'")),
        ],
    )  # fmt: skip
    def test_an_unusable_policy_with_entry_point_distribution_and_place(
        self, problem, distribution, name, rest, message
    ):
        module = distribution.replace("-", "_")
        function = {"steady": "make", "absent": ".absent:make"}.get(name, name)
        value = f"{module}{function}" if function.startswith(".") else f"{module}:{function}"
        assert problem(rule(name, rest)) == (
            f"config.toml: rule 'all': policy: the policy '{name}', which is {value} of "
            f"{distribution} 1.0, {message.format(module, module)}"
        )

    def test_a_name_that_two_distributions_provide(
        self, problem, distribution, tmp_path, monkeypatch
    ):
        other = f"{distribution}-too"
        points = f"steady = {other.replace('-', '_')}:make"
        install(tmp_path, monkeypatch, MODULE, name=other, points=points)
        message = problem(rule("steady"))
        assert "the policy 'steady' is installed twice, as " in message
        assert f"make of {distribution} 1.0 and " in message
        assert message.endswith(f"make of {other} 1.0; keep one of them")

    @pytest.mark.parametrize(
        ("policy", "key"),
        [("steady", "target_utilisation = 0.5"), ("utilisation", "options = { allocations = 3 }")],
    )
    def test_keys_without_effect_on_the_policy(self, problem, distribution, policy, key):
        name = key.partition(" ")[0]
        assert problem(rule(policy, key)) == (
            f"config.toml: rule 'all': {name}: has no effect with policy {policy}; remove it"
        )

    def test_options_that_are_not_a_table(self, problem):
        message = problem("[defaults]\noptions = 3\n")
        assert message == "config.toml: defaults.options: must be a table"


def test_the_fingerprint_does_not_depend_on_the_policy_object(config, distribution):
    """Which may contain anything, and must not get into logs and metrics."""
    resolved = config(rule("steady", "options = { allocations = 3 }"))
    assert len(resolved.fingerprint) == 16
    with pytest.raises(TypeError):
        msgspec.json.encode(resolved.rules[0].policy.policy)
