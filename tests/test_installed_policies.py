"""Policies that other distributions bring: found, made and checked."""

import itertools

import msgspec
import pytest

from autoscaler.config import ConfigError, load
from autoscaler.core.policies import InstalledPolicy
from tests.plugins import install
from tests.test_config import REACHABLE

MODULE = """
from autoscaler.core.values import Reason, Step

made = []

class Steady:
    name = "steady"
    load_window_s = 30

    def __init__(self, number=1):
        self.number = number

    def __eq__(self, other):
        raise ValueError("not to be compared")

    def begin(self):
        return None

    def recommend(self, situation, memory):
        return Step(Reason.RECOMMENDATION, situation.current, self.number), None

def make(options, poll_s):
    made.append((options, poll_s))
    return Steady(**options)

def none(options, poll_s):
    return Nothing()

class Nothing:
    name = "nothing"
    begin = None

def endless(options, poll_s):
    policy = Steady()
    policy.load_window_s = float("inf")
    return policy

def nameless(options, poll_s):
    policy = Steady()
    policy.name = 3
    return policy

def shadow(options, poll_s):
    raise RuntimeError("nobody asked for this one")
"""

NUMBERS = itertools.count()

POINTS = """
steady = {module}:make
none = {module}:none
endless = {module}:endless
nameless = {module}:nameless
gone = {module}:gone
absent = {module}.absent:make
utilisation = {module}:shadow
"""


@pytest.fixture
def distribution(tmp_path, monkeypatch):
    """Its name, another for each test, for Python keeps what it has imported."""
    name = f"guest-{next(NUMBERS)}"
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
        return sentence.replace(f"{tmp_path}/", "")

    return problem


def rule(policy, rest="", name="all"):
    return f'[[rules]]\nname = "{name}"\nmax_allocations = 4\npolicy = "{policy}"\n{rest}\n'


def module_of(distribution):
    return __import__(distribution.replace("-", "_"))


class TestFound:
    def test_by_the_name_of_its_entry_point_and_made_from_its_options(self, config, distribution):
        settled = config(rule("steady", "options = { number = 3 }"), 'poll_interval = "20s"').rules
        (policy,) = [each.policy for each in settled]
        assert isinstance(policy, InstalledPolicy)
        assert (policy.name, policy.load_window_s, policy.policy.number) == ("steady", 30.0, 3)
        assert policy.source == f"{distribution.replace('-', '_')}:make of {distribution} 1.0"
        assert module_of(distribution).made == [({"number": 3}, 20.0)]

    def test_it_is_made_once_however_often_the_file_is_read(self, config, distribution):
        text = rule("steady", "options = { number = 3 }")
        first, again = config(text), config(f"# the same\n{text}")
        assert first == again
        assert first.fingerprint == again.fingerprint
        assert len(module_of(distribution).made) == 1

    @pytest.mark.parametrize("other", ["4", "3.0"])
    def test_other_options_are_another_policy(self, config, distribution, other):
        first = config(rule("steady", "options = { number = 3 }"))
        second = config(rule("steady", f"options = {{ number = {other} }}"))
        assert first != second
        assert first.fingerprint != second.fingerprint
        assert len(module_of(distribution).made) == 2

    def test_nothing_delays_what_it_takes_down_unless_it_is_written(self, config, distribution):
        rules = rule("steady", 'deployments = "a"', "a") + rule(
            "steady", 'stabilisation_window = "1m"', "b"
        )
        assert [each.stabilisation_window_s for each in config(rules).rules] == [0.0, 60.0]

    def test_it_cannot_take_the_name_of_one_of_ours(self, config, distribution):
        (settled,) = config(rule("utilisation")).rules
        assert not isinstance(settled.policy, InstalledPolicy)

    def test_options_go_with_the_policy_that_they_are_written_for(self, config, distribution):
        rules = """
            [defaults]
            policy = "steady"
            options = { number = 3 }
            """ + (
            '[[rules]]\nname = "a"\nmax_allocations = 4\ndeployments = "a"\n'
            + rule("utilisation", 'deployments = "b"', "b")
            + rule("steady", "options = {}", "c")
        )
        a, b, c = (each.policy for each in config(rules).rules)
        assert (a.options, c.options) == ({"number": 3}, {})
        assert not isinstance(b, InstalledPolicy)


class TestRefused:
    def test_a_name_that_nobody_has(self, problem, distribution):
        assert problem(rule("stedy")) == (
            "config.toml: rules[0].policy: there is no policy 'stedy', only slo, utilisation, "
            "absent, endless, gone, nameless, none and steady; did you mean steady?"
        )

    def test_also_in_the_defaults_and_only_once(self, problem, distribution):
        inherited = '[[rules]]\nname = "{}"\nmax_allocations = 2\ndeployments = "{}"\n'
        text = '[defaults]\npolicy = "magic"\n' + inherited.format("a", "a")
        text += inherited.format("b", "b")
        assert problem(text).startswith("config.toml: defaults.policy: there is no policy 'magic'")

    @pytest.mark.parametrize(
        ("name", "rest", "said"),
        [
            ("gone", "", "cannot be imported: AttributeError: module '{}' has no attribute 'gone'"),
            ("absent", "", ("cannot be imported: ModuleNotFoundError: No module named '{}.absent'; "
             "'{}' is not a package")),
            ("none", "", ("is not fit for use: TypeError: Nothing has no load_window_s and no "
             "recommend")),
            ("endless", "", ("is not fit for use: ValueError: load_window_s of Steady must be "
             "above 0 and at most 3600, not inf")),
            ("nameless", "", ("is not fit for use: TypeError: the name of Steady must be a text, "
             "not 3")),
            ("steady", "options = { speed = 3 }", ("cannot be made from its options (speed): "
             "TypeError: Steady.__init__() got an unexpected keyword argument 'speed'")),
        ],
    )  # fmt: skip
    def test_what_is_no_use_with_entry_point_distribution_and_place(
        self, problem, distribution, name, rest, said
    ):
        module = distribution.replace("-", "_")
        function = {"steady": "make", "absent": ".absent:make"}.get(name, name)
        value = f"{module}{function}" if function.startswith(".") else f"{module}:{function}"
        assert problem(rule(name, rest)) == (
            f"config.toml: rules[0].policy: the policy '{name}', which is {value} of "
            f"{distribution} 1.0, {said.format(module, module)}"
        )

    def test_what_two_distributions_bring(self, problem, distribution, tmp_path, monkeypatch):
        other = f"{distribution}-too"
        points = f"steady = {other.replace('-', '_')}:make"
        install(tmp_path, monkeypatch, MODULE, name=other, points=points)
        said = problem(rule("steady"))
        assert "the policy 'steady' is installed twice, as " in said
        assert f"make of {distribution} 1.0 and " in said
        assert said.endswith(f"make of {other} 1.0; keep one of them")

    @pytest.mark.parametrize(
        ("policy", "key"),
        [("steady", "target_utilisation = 0.5"), ("utilisation", "options = { number = 3 }")],
    )
    def test_keys_that_its_policy_does_not_look_at(self, problem, distribution, policy, key):
        name = key.partition(" ")[0]
        assert problem(rule(policy, key)) == (
            f"config.toml: rules[0].{name}: has no effect, since the policy is {policy}"
        )

    def test_options_that_are_no_table(self, problem):
        said = problem("[defaults]\noptions = 3\n")
        assert said == "config.toml: defaults.options: must be a table"


def test_a_configuration_with_one_is_plain_data_but_for_it(config, distribution):
    """So that whatever it is made of does not matter to logs and metrics."""
    settled = config(rule("steady", "options = { number = 3 }"))
    assert len(settled.fingerprint) == 16
    with pytest.raises(TypeError):
        msgspec.json.encode(settled.rules[0].policy.policy)
