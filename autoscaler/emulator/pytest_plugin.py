"""A pytest fixture that serves emulated clusters: `pytest_plugins` of a conftest.py names this."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from autoscaler.emulator.serving import EmulatedCluster, serve


class ServeCluster(Protocol):
    """What the fixture gives; the arguments are those of `autoscaler.emulator.serve`."""

    def __call__(
        self,
        scenario: str | Path | Mapping[str, Any] | None = None,
        *,
        version: str | None = None,
        load: bool | None = None,
        user: str | None = None,
    ) -> EmulatedCluster: ...


@pytest.fixture
def emulated_elasticsearch() -> Iterator[ServeCluster]:
    """Serves a cluster at each call, until the end of the test."""
    with ExitStack() as clusters:

        def serve_cluster(
            scenario: str | Path | Mapping[str, Any] | None = None,
            *,
            version: str | None = None,
            load: bool | None = None,
            user: str | None = None,
        ) -> EmulatedCluster:
            return clusters.enter_context(serve(scenario, version=version, load=load, user=user))

        yield serve_cluster
