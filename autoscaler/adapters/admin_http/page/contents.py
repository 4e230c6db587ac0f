"""What the pages show, made of the views of the API."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote, urlencode

from autoscaler.adapters.admin_http.decisions import DecisionRecorder, NoObservationYet
from autoscaler.adapters.admin_http.health import Health
from autoscaler.adapters.admin_http.series import Points, Series, series_of
from autoscaler.core.condition import Level
from autoscaler.core.shadow import ShadowStatus
from autoscaler.core.shadow_text import shadow_text
from autoscaler.core.units import duration_text
from autoscaler.wire.decision_views import DeploymentResponse, ManagedView, ResponseHeader
from autoscaler.wire.history import HistoryEntry, HistoryQuery, view_of
from autoscaler.wire.history_views import HistoryEntryView
from autoscaler.wire.input_rows import input_rows
from autoscaler.wire.shadow_views import period_views, together_view

LEVEL_NAMES = {
    Level.TROUBLE: "in trouble",
    Level.ATTENTION: "needs attention",
    Level.FINE: "fine",
    Level.UNMANAGED: "not managed",
}

MAX_EVENTS, MAX_FIGURES = 40, 30
"""Events, and points, that the page of a deployment has as text."""

MAX_RECENT, MAX_READ = 12, 100
"""Events of all deployments that the overview has, and how many are read for them: decisions that
request nothing are left out."""

_FIGURES = {
    "arrival_rate_per_s": "arrivals/s",
    "offered_load": "load, erlangs",
    "forecast_load": "forecast, erlangs",
    "running": "running",
    "requested": "requested",
    "recommended": "recommended",
    "in_flight": "in flight",
    "backlog_requests": "backlog",
    "queue_wait_s": "expected wait, s",
}
"""Headings of the figures."""


ReadHistory = Callable[[HistoryQuery], tuple[list[HistoryEntry], str]]
"""The entries that a query finds, and where they are kept. May wait for a disk."""


class SavedStatus(Protocol):
    @property
    def saved(self) -> bool | None:
        """Whether the state is saved; None: it does not have to be."""


class OverviewQuery(NamedTuple):
    """Which deployments the overview shows."""

    q: str = ""  # a part of their ids
    level: str = ""  # of their conditions; empty: all
    n: int = 1  # the page

    def path_query(self, **changed: Any) -> str:
        """As the query of a path, without what is as by default."""
        given = self._replace(**changed)
        fields = {
            name: value
            for name, value in given._asdict().items()
            if value != self._field_defaults[name]
        }
        return f"?{urlencode(fields, errors='replace')}" if fields else ""


class PageContents:
    """Makes the contexts of the templates. May be called from any thread.

    Args:
        read_history: reads what happened.
        prefix: of the paths of the cluster.
    """

    def __init__(
        self,
        decisions: DecisionRecorder,
        health: Health,
        read_history: ReadHistory,
        prefix: str,
    ) -> None:
        self._decisions = decisions
        self._health = health
        self._read_history = read_history
        self._prefix = prefix
        self.configuration = ""  # in force, in a few words
        self.state: SavedStatus | None = None  # None: it is not known whether it is saved

    def state_saved(self) -> bool | None:
        """Whether the state is saved; None: it does not have to be, or that is not known."""
        return None if self.state is None else self.state.saved

    def overview(self, query: OverviewQuery) -> dict[str, Any]:
        """All deployments."""
        try:
            found = self._decisions.overview(query.q, query.level, query.n)
        except NoObservationYet:
            found = None
        return {
            **self._common(found, "Deployments", f"{self._prefix}/live{query.path_query()}"),
            "query": query,
            "recent": self._recent(),
            "overview": found,
            "link": lambda **changed: f"{self._prefix}/{query.path_query(**changed)}",
        }

    def deployment(self, deployment_id: str, points: Points) -> dict[str, Any]:
        """One deployment.

        Raises:
            NoObservationYet: the cluster has not been observed yet.
            NoSuchDeployment: the cluster has none with this id.
        """
        found = self._decisions.get_deployment(deployment_id)
        view, path = found.deployment, self._path(deployment_id)
        entries = self._events(HistoryQuery(deployment_id, limit=MAX_EVENTS))
        return {
            **self._common(found, deployment_id, f"{self._prefix}/live{path}"),
            "charts": isinstance(view, ManagedView),
            "series_url": f"{self._prefix}/api/v1{path}/series",
            "deployment_id": deployment_id,
            "row": self._decisions.row(deployment_id),
            "events_of_it": [(each, _sentence(each, deployment_id)) for each in entries],
            **_shadow(self._decisions.shadow(deployment_id)),
            **_managed(found, series_of(points)),
        }

    def error(self, title: str, error: str) -> dict[str, Any]:
        """A page that cannot be shown."""
        return {**self._common(None, title, ""), "error": error}

    def _recent(self) -> list[tuple[HistoryEntryView, str]]:
        """The latest events, with their sentences."""
        found = self._events(HistoryQuery(limit=MAX_READ))
        events = [each for each in found if each.kind != "decision"][:MAX_RECENT]
        return [(each, _sentence(each, each.deployment)) for each in events]

    def _events(self, query: HistoryQuery) -> list[HistoryEntryView]:
        return [view_of(each, whole=False) for each in self._read_history(query)[0]]

    def _path(self, deployment_id: str) -> str:
        return f"/deployments/{quote(deployment_id, safe='', errors='replace')}"

    def _common(self, found: ResponseHeader | None, title: str, events: str) -> dict[str, Any]:
        not_ready = self._health.why_not_ready()
        leadership = self._decisions.leadership_view()
        return {
            "title": title,
            "events": events,
            "charts": False,
            "prefix": self._prefix,
            "cluster": "",
            "refresh": not events,
            "version": self._decisions.version,
            "level_names": LEVEL_NAMES,
            "deployment_url": lambda name: f"{self._prefix}{self._path(name)}",
            "ready": not_ready is None,
            "observed_at": None if found is None else found.at,
            "age_s": None if found is None else found.age_s,
            "next_poll": None if found is None else found.next_poll,
            "leadership": leadership,
            "configuration": self.configuration,
            "alerts": [
                {"level": level, "title": heading, "text": text}
                for level, heading, text in (
                    ("trouble", "The daemon does not work:", self._health.why_not_alive()),
                    ("trouble", "Nothing is scaled now:", not_ready),
                    (
                        "attention",
                        "The changed configuration is refused, and the previous one in force:",
                        self._decisions.reload_failure,
                    ),
                    (
                        "attention",
                        "The state is not saved:",
                        "what is learnt now is lost if the daemon ends; the log says why."
                        if self.state_saved() is False
                        else "",
                    ),
                    (
                        "attention",
                        "The lease cannot be read or renewed:",
                        leadership.failure if leadership is not None else "",
                    ),
                    *(
                        ("attention", "An operator has instructed:", each.message)
                        for each in self._decisions.instruction_views()
                        if each.deployment is None
                    ),
                )
                if text
            ],
        }


def _sentence(entry: HistoryEntryView, deployment_id: str) -> str:
    """What happened, without the id that the page is about."""
    return entry.message.removeprefix(f"{deployment_id} ").removeprefix(f"{deployment_id}: ")


def _shadow(shadow: ShadowStatus | None) -> dict[str, Any]:
    """What a dry run would have done, the present day first."""
    if shadow is None:
        return {"shadow": None}
    days = period_views(shadow)
    return {
        "shadow": shadow_text(shadow),
        "shadow_days": days[::-1],
        "shadow_together": together_view(shadow) if len(days) > 1 else None,
    }


def _managed(found: DeploymentResponse, series: Series) -> dict[str, Any]:
    view = found.deployment
    if not isinstance(view, ManagedView):
        return {"managed": False, "view": view}
    return {
        "managed": True,
        "view": view,
        "slo": view.slo,
        "unchanged": view.unchanged_because not in view.message and view.unchanged_because,
        "figure_headings": list(_FIGURES.values()),
        "figures": [
            {"at": series.at[i], "row": [series.values[name][i] for name in _FIGURES]}
            for i in reversed(range(max(0, len(series.at) - MAX_FIGURES), len(series.at)))
        ],
        "candidates": [
            {
                "allocations": each.allocations,
                "queue_wait_s": each.queue_wait_s,
                "violation_fraction": each.violation_fraction,
                "cost": each.cost,
                "recommended": each.allocations == view.recommended,
                "marks": _marks(view, each.allocations),
            }
            for each in view.steps[0].candidates
        ],
        "measured": list(_measured(view)),
    }


def _marks(view: ManagedView, allocations: int) -> list[str]:
    counts: Mapping[str, int | None] = {
        "recommended": view.recommended,
        "current": view.current,
        "running": view.running,
        "desired": view.desired,
    }
    return [name for name, count in counts.items() if count == allocations]


def _measured(view: ManagedView) -> list[tuple[str, str]]:
    sample, load = view.sample, view.load
    rows = [
        ("latest interval", f"{sample.arrivals} arrivals in {duration_text(sample.interval_s)}"),
        ("failed requests", f"{sample.failed}, of which {sample.timeouts} timed out"),
    ]
    if load is not None and load.service_time_s is not None:
        rows.append(("service time", duration_text(load.service_time_s)))
    if sample.issues:
        rows.append(("data-quality issues", ", ".join(sample.issues).replace("_", " ")))
    return [*rows, *input_rows(view.steps[0].inputs)]
