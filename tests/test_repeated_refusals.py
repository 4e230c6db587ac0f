"""Two hours in which nothing that is sent has the desired result: 720 cycles, and few calls."""

import pytest

from autoscaler.core.decision import OutcomeKind
from tests.refusals import OTHERS, REFUSED, SCENARIOS

pytestmark = pytest.mark.untraced

MAX_CALLS = {
    OutcomeKind.UNKNOWN: 30,  # every five minutes in the end
    OutcomeKind.NOT_STARTED: 30,
    OutcomeKind.FORBIDDEN: 8,  # every 15 minutes, for all deployments together
}


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("kind", REFUSED)
def test_a_change_that_is_always_refused_is_sent_ever_more_rarely(kind, scenario):
    assert 1 <= SCENARIOS[scenario](kind) <= MAX_CALLS.get(kind, 12)


@pytest.mark.parametrize("scenario", OTHERS)
def test_a_change_that_never_has_the_desired_effect_is_sent_ever_more_rarely(scenario):
    assert 1 <= OTHERS[scenario]() <= 12
