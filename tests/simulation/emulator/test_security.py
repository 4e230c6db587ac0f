import base64

import pytest

from autoscaler.simulation.emulator.security import Security, User
from autoscaler.simulation.errors import SimulatedApiError

UPDATE = "cluster:admin/xpack/ml/trained_models/deployment/update"
STATS = "cluster:monitor/xpack/ml/inference/stats/get"

VIEWER = User(username="viewer", roles=("machine_learning_user",))
SCALER = User(username="scaler", roles=("scaling",), api_key_id="k1")
SECURITY = Security(
    passwords={"viewer:secret": VIEWER},
    api_keys={"k1:key": SCALER},
    tokens={"t0ken": VIEWER},
    roles={"scaling": ("manage_ml", "monitor")},
)


def encoded(text):
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("authorization", "user"),
    [
        (f"Basic {encoded('viewer:secret')}", VIEWER),
        (f"ApiKey {encoded('k1:key')}", SCALER),
        (f"apikey {encoded('k1:key')}", SCALER),
        ("Bearer t0ken", VIEWER),
    ],
)
def test_each_scheme_finds_its_user(authorization, user):
    assert SECURITY.authenticate(authorization, "/") == user


@pytest.mark.parametrize(
    ("authorization", "fragment"),
    [
        (None, "missing authentication credentials"),
        ("Digest abc", "missing authentication credentials"),
        (f"Basic {encoded('viewer:wrong')}", "unable to authenticate user [viewer]"),
        ("Basic !!!", "unable to authenticate"),
        ("ApiKey k1:key", "unable to authenticate"),
        ("Bearer other", "unable to authenticate"),
    ],
)
def test_invalid_credentials_are_refused_with_the_schemes(authorization, fragment):
    with pytest.raises(SimulatedApiError) as refusal:
        SECURITY.authenticate(authorization, "/_ml/info")
    assert refusal.value.status == 401
    assert fragment in refusal.value.reason
    assert "/_ml/info" in refusal.value.reason
    assert any("ApiKey" in way for way in refusal.value.metadata["header"]["WWW-Authenticate"])


def test_a_role_allows_what_its_privileges_cover():
    SECURITY.authorise(VIEWER, STATS)
    SECURITY.authorise(SCALER, STATS)
    SECURITY.authorise(SCALER, UPDATE)


def test_a_refusal_names_the_action_and_the_privileges_that_grant_it():
    with pytest.raises(SimulatedApiError) as refusal:
        SECURITY.authorise(VIEWER, UPDATE)
    assert refusal.value.status == 403
    assert f"action [{UPDATE}] is unauthorized for user [viewer]" in refusal.value.reason
    assert "[manage_ml,manage,all]" in refusal.value.reason


def test_a_refusal_names_the_api_key():
    with pytest.raises(SimulatedApiError, match=r"for API key id \[k1\] of user \[scaler\]"):
        SECURITY.authorise(SCALER, "cluster:admin/settings/update")


def test_a_privilege_includes_narrower_privileges():
    assert SECURITY.has_privilege(SCALER, "manage_ml")
    assert SECURITY.has_privilege(SCALER, "monitor_ml")
    assert SECURITY.has_privilege(SCALER, "monitor_inference")
    assert not SECURITY.has_privilege(SCALER, "manage")
    assert SECURITY.has_privilege(VIEWER, "monitor_ml")
    assert not SECURITY.has_privilege(VIEWER, "manage_ml")


def test_a_role_that_does_not_exist_grants_nothing():
    unknown = User(username="unknown", roles=("no_such_role",))
    assert not SECURITY.has_privilege(unknown, "monitor_ml")


def test_an_unknown_privilege_is_refused():
    with pytest.raises(SimulatedApiError, match="fly"):
        SECURITY.has_privilege(VIEWER, "fly")
