"""The totals of dry runs: how long they are kept, and which there are after a state is read."""

import pytest
from msgspec.structs import replace

from autoscaler.core.decision import Setting
from autoscaler.core.flow.shadowing import only_totals, with_shadows, with_totals
from autoscaler.core.shadow import ShadowAccount, ShadowTotals
from autoscaler.core.state import DeploymentState, Shadow, ShadowPath
from tests.observations import deployment, node

NOW = 1_000.0 * 86_400.0
PATH = ShadowPath(at=NOW, requested=3, running=3)


def known(hours=None, *, seen_at=NOW, path=None, setting=None):
    """The state of a deployment with the totals of a dry run of so many hours; None: none."""
    stats = deployment(node(allocations=2))
    found = DeploymentState(seen_at=seen_at, baseline=stats, baseline_at=seen_at, setting=setting)
    if hours is None:
        return found
    account = ShadowAccount().after(seen_at, ShadowTotals(known_s=3600.0 * hours))
    return replace(found, shadow=Shadow(seen_at=seen_at, account=account, path=path))


def test_those_of_a_deployment_that_is_no_dry_run_any_more_are_kept_for_a_year():
    state = {"elser": known(1, seen_at=NOW)}
    year_s = 366.0 * 86_400.0
    assert with_shadows(state, {}, {"elser"}, NOW + year_s)["elser"].shadow is not None
    assert with_shadows(state, {}, {"elser"}, NOW + year_s + 1.0)["elser"].shadow is None


def test_its_path_ends_when_changes_are_sent_and_its_totals_stay():
    state = {"elser": known(1, path=PATH)}
    live = with_shadows(state, {}, {"elser"}, NOW)["elser"].shadow
    assert (live.path, live.account) == (None, state["elser"].shadow.account)
    assert with_shadows(state, {}, set(), NOW)["elser"].shadow.path == PATH


class TestAfterASavedStateIsRead:
    def test_the_longer_totals_are_kept(self):
        for own, stored, kept in ((1, 2, 2), (2, 1, 2), (None, 1, 1), (1, None, 1)):
            found = with_totals({"elser": known(own)}, {"elser": known(stored)})
            assert found["elser"].shadow.account.observed_s == 3600.0 * kept

    def test_the_path_of_this_instance_goes_on(self):
        found = with_totals({"elser": known(1, path=PATH)}, {"elser": known(2)})
        assert found["elser"].shadow.path == PATH

    def test_totals_of_a_deployment_that_is_not_observed_are_kept(self):
        found = with_totals({"own": known(1)}, {"stored": known(2, path=PATH)})
        assert set(found) == {"own", "stored"}
        assert found["stored"].shadow.path is None

    def test_a_deployment_without_totals_is_not_kept_for_them(self):
        assert only_totals({"elser": known(None)}) == {}

    @pytest.mark.parametrize("seen_at", [None, 5.0])
    def test_nothing_else_is_continued(self, seen_at):
        found = only_totals({"elser": known(1, setting=Setting(2))}, seen_at)["elser"]
        at = NOW if seen_at is None else seen_at
        assert (found.seen_at, found.baseline_at, found.setting) == (at, at, None)
        assert found.baseline.allocations is None  # the daemon may have changed them since

    def test_what_the_daemon_has_not_set_shows_another_writer(self):
        found = only_totals({"elser": known(1)})["elser"]
        assert found.baseline.allocations == 2
