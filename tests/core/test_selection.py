"""Which deployments are managed, and by which rule."""

from autoscaler.core.decision import Unmanaged
from autoscaler.core.selection import select
from tests.observations import deployment, rule


def chosen(*rules, **given):
    selected = select(rules, deployment(**given))
    return selected if isinstance(selected, Unmanaged) else selected.name


def test_the_first_match_wins():
    rules = rule(name="search", deployments=("*-search",)), rule(name="rest")
    assert chosen(*rules, deployment_id="elser-search") == "search"
    assert chosen(*rules, deployment_id="elser-ingest") == "rest"


def test_a_rule_may_select_by_model():
    rules = rule(name="elser", models=(".elser_model_2*",)), rule(name="rest")
    assert chosen(*rules, model_id=".elser_model_2_linux-x86_64") == "elser"
    assert chosen(*rules, model_id="e5") == "rest"


def test_both_patterns_must_match():
    only = rule(deployments=("a*",), models=("m*",))
    assert chosen(only, deployment_id="a1", model_id="x") is Unmanaged.NO_RULE


def test_an_excluding_rule_ends_the_search():
    rules = rule(exclude=True, deployments=("keep-*",)), rule(name="rest")
    assert chosen(*rules, deployment_id="keep-this") is Unmanaged.EXCLUDED


def test_hidden_deployments_only_on_request():
    assert chosen(rule(), deployment_id=".elser") is Unmanaged.HIDDEN
    assert chosen(rule(), rule(name="mine", hidden=True), deployment_id=".elser") == "mine"


def test_low_priority_deployments_only_on_request():
    assert chosen(rule(), priority="low") is Unmanaged.LOW_PRIORITY
    assert chosen(rule(name="mine", low_priority=True), priority="low") == "mine"


def test_case_matters_as_it_does_to_the_cluster():
    assert chosen(rule(deployments=("ELSER",)), deployment_id="elser") is Unmanaged.NO_RULE
