"""The composition root: what the daemon consists of, and how it starts, reloads and stops."""

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog
from prometheus_client import CollectorRegistry

from autoscaler import __version__
from autoscaler.adapters.admin_http import (
    AdminServer,
    CannotListen,
    Guard,
    Tokens,
    reload_endpoint,
)
from autoscaler.adapters.clock import HostClock, wait_for_any
from autoscaler.adapters.prometheus import DaemonMetrics
from autoscaler.adapters.systemd import ServiceManager, ServiceRecorder
from autoscaler.cluster_controller import ClusterController
from autoscaler.config import Config, ConfigError, exposures, what_needs_restart
from autoscaler.leadership_loop import instance_name
from autoscaler.ports import Clock, Recorder, RefusalKind, RequestRefused
from autoscaler.state_stores import cycle_recorder_of

if TYPE_CHECKING:
    from autoscaler.adapters.otlp import DecisionQueue, Exporters

STOP_TIMEOUT_S = 2.5
"""Seconds that the current update may take to complete after SIGTERM. 2.5 s, so that the process
ends within five seconds even if a scrape hangs as well."""

RELOAD_INTERVAL_S = 4.0
"""Seconds between two reads of the configuration file, and of the file with the credentials, and
between two reloads that signals request.

Reading is the only way to notice a change that works on every mount, ConfigMaps included.
"""

RELOAD_PATIENCE_S = 20.0
"""Seconds for which a request waits for the reload that it asks for. 20 s: one interval after an
earlier reload, and a file that changes for some seconds."""

SETTLE_S = 1.0
"""Seconds for which a changed configuration must stay the same before it counts. 1 s, which is far
more than an editor or `cp` takes: a file of which a part is written may be valid."""

NO_SERVICE = ServiceManager({})
"""For a process that no service manager has started."""

LoadConfig = Callable[[], Config]
"""Reads the configuration.

Raises:
    ConfigError: it is not valid.
"""


class _Invalid(NamedTuple):
    """A configuration with errors."""

    problems: tuple[str, ...]  # a sentence each
    warnings: tuple[str, ...]


class Daemon:
    """Everything that exists once for each process, and the controller of its cluster.

    Args:
        load: called at once and at every reload.
        clock: of the control loop; the host's unless the cluster lives in another time.
        recorders: record every cycle, besides the logs, the metrics and the probes.
        log_lines_dropped: the count of log lines that were not written, by reason.
        service: the service manager that has started this process.

    Raises:
        ConfigError: `load` finds the configuration not valid.
        ConnectionSettingsError: the connection settings are not usable.
        CannotListen: the certificates of the server are not usable.
    """

    def __init__(
        self,
        load: LoadConfig,
        *,
        clock: Clock | None = None,
        recorders: tuple[Recorder, ...] = (),
        log_lines_dropped: Callable[[], Mapping[str, int]] = dict,
        service: ServiceManager = NO_SERVICE,
    ) -> None:
        self._load = load
        self._log = structlog.get_logger("autoscaler")
        # The connection, the server and the logging of the first configuration stay in effect.
        self._config = self._config_at_start = config = load()
        self._reload_problems: tuple[str, ...] = ()
        self.started = asyncio.Event()
        self._stopping = asyncio.Event()
        self._reload_now = asyncio.Event()
        # Of requests for a reload: whether it has failed, and what came of it.
        self._awaited_reloads: list[asyncio.Future[tuple[bool, str]]] = []
        self._opening: asyncio.Task[None] | None = None  # the task that opens the state
        self._former_names_warned: set[str] = set()
        self._exposures_warned: set[str] = set()
        self._clock = clock = clock or HostClock()
        self._service = service
        alive = ServiceRecorder(service, lambda: self._cluster.health.limit_s)
        self._decisions = _queue_of(config)
        recording = cycle_recorder_of(
            config,
            clock,
            self._log,
            poll_interval_s=lambda: self._config.polling.interval_s,
            cluster_uuid=lambda: self._cluster.known_uuid(),  # noqa: PLW0108 - created below
        )
        self._recording: AbstractAsyncContextManager[Any] = recording or nullcontext()
        optional = [each for each in (self._decisions, recording) if each is not None]
        recorders = (*recorders, *optional, alive)
        self._cluster = ClusterController(config, clock, recorders=recorders)
        self._metrics = DaemonMetrics(clock, __version__, log_lines_dropped)
        self._metrics.recording = recording
        self._metrics.config_accepted(config.fingerprint, config.polling.interval_s)
        self._cluster.pages.note_configuration(_in_force(config))
        registry = CollectorRegistry()
        registry.register(self._cluster.metrics)
        self._metrics.register(registry)
        self._export = self._exporters(config, registry)
        self._tokens = Tokens(config.server.token, config.server.tokens)
        self.server = AdminServer(
            registry,
            self._cluster.pages,
            host=config.server.host,
            port=config.server.port,
            version=__version__,
            guard=Guard(
                self._tokens,
                open_reads=config.server.open_reads,
                allowed_hosts=(
                    *config.server.allowed_hosts,
                    config.server.host,
                    socket.gethostname(),
                ),
            ),
            on_refused=self._metrics.http_refused,
            endpoints=(reload_endpoint(self.reload_and_report, __version__),),
        )
        self.server.replace_access(config.server.access)

    def _exporters(self, config: Config, registry: CollectorRegistry) -> "Exporters | None":
        """What sends metrics and decisions by OTLP; None: nothing does."""
        if config.otlp is None:
            return None
        from autoscaler.adapters.otlp import Collector, Exporters  # noqa: PLC0415 - an extra

        exporters = Exporters(
            registry,
            self._decisions,
            Collector(config.otlp, self._clock)
            if config.otlp.endpoint
            else self._cluster.otlp_endpoint(),
            self._clock,
            self._log,
            interval_s=config.otlp.interval_s,
            resource={
                "service.name": "autoscaler",
                "service.version": __version__,
                "service.instance.id": instance_name(),
            },
        )
        self._metrics.exports = exporters.deliveries
        return exporters

    async def run(self) -> None:
        """Run until `stop` is called or a signal arrives; then complete the current update,
        release the deployments and close all connections.

        Raises:
            CannotListen: the address or port for metrics and probes is not available.
            StateInUse: another process has the state.
            FormerFileUnreadable: the file of an earlier release cannot be read.
        """
        with self._signals_handled():
            self._opening = serving = asyncio.ensure_future(self._serve())
            try:
                await serving
            except asyncio.CancelledError:
                if self._opening is None or not self._stopping.is_set():
                    raise
                self._log.info("daemon.stopped", message="autoscaler has stopped before it began")

    async def _serve(self) -> None:
        async with self.server, self._recording, self._cluster:
            self._opening = None
            self._log.info(
                "daemon.started",
                message=f"autoscaler {__version__} is running; metrics on port {self.server.port}",
                version=__version__,
                port=self.server.port,
                dry_run=self._config.dry_run,
                rules=len(self._config.rules),
            )
            self._warn_of_former_names(self._config.warnings)
            self._warn_of_exposures()
            self.started.set()
            await self._run_until_stopped()
            await self._cluster.release()
        self._log.info("daemon.stopped", message="autoscaler has stopped")

    def stop(self) -> None:
        """Stop soon: the current update is completed, and no other begins. What opens the state may
        wait for a disk, and is abandoned."""
        self._stopping.set()
        self._service.stopping()
        if self._opening is not None:
            self._opening.cancel()
        self._cluster.stop()

    def reload(self) -> None:
        """Read the configuration again, changed or not."""
        self._reload_now.set()

    async def reload_and_report(self) -> str:
        """Read the configuration again, and say what came of it.

        Raises:
            RequestRefused: it is not valid, and the previous one stays in effect.
        """
        result: asyncio.Future[tuple[bool, str]] = asyncio.get_running_loop().create_future()
        self._awaited_reloads.append(result)
        self.reload()
        try:
            async with asyncio.timeout(RELOAD_PATIENCE_S):
                failure, message = await result
        except TimeoutError:
            return "the configuration is still being read; the log will have the result"
        if failure:
            raise RequestRefused(RefusalKind.CONFLICT, message)
        return message

    async def _run_until_stopped(self) -> None:
        """If one task fails, all end, and so does the process; its supervisor starts another."""
        functions = (self._cluster.run, self._reload_when_changed, self._stopping.wait)
        tasks = [asyncio.ensure_future(function()) for function in functions]
        if self._export is not None:
            tasks += [asyncio.ensure_future(each.run()) for each in self._export.all]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            self._cluster.stop()
            await asyncio.wait(tasks[:1], timeout=STOP_TIMEOUT_S)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    @contextmanager
    def _signals_handled(self) -> Iterator[None]:
        """Handle signals until the end of the block; then restore the handlers found before."""
        handlers = {
            signal.SIGTERM: self.stop,
            signal.SIGINT: self.stop,
            signal.SIGHUP: self.reload,
        }
        running = asyncio.get_running_loop()
        before = {signum: signal.getsignal(signum) for signum in handlers}
        for signum, handler in handlers.items():
            running.add_signal_handler(signum, handler)
        try:
            yield
        finally:
            for signum, previous in before.items():
                running.remove_signal_handler(signum)
                signal.signal(signum, previous)

    async def _reload_when_changed(self) -> None:
        while True:
            requested = await wait_for_any(self._clock, RELOAD_INTERVAL_S, self._reload_now)
            if requested:
                self._service.reload_began()
            found = self._read()
            while requested or self._is_new(found):
                await self._clock.sleep(SETTLE_S)
                before, found = found, self._read()
                if found == before:
                    break
                self._cluster.renew_credentials()
            if self._tokens.renew():
                self._cluster.pages.reconnect_streams()
            self._reload_now.clear()  # all signals so far
            if isinstance(found, Config):
                self._accept(found, requested=requested)
                self._report_reload(failed=False, message=_reloaded(self._config_at_start, found))
            else:
                self._refuse(found, requested=requested)
                self._report_reload(failed=True, message=_not_reloaded(found))
            self._cluster.renew_credentials()
            if requested:
                self._service.reload_ended()
                await self._clock.sleep(RELOAD_INTERVAL_S)

    def _read(self) -> Config | _Invalid:
        try:
            return self._load()
        except ConfigError as error:
            return _Invalid(error.problems, error.warnings)

    def _is_new(self, found: Config | _Invalid) -> bool:
        """Whether the configuration is neither in effect nor reported as invalid."""
        if isinstance(found, _Invalid):
            return found.problems != self._reload_problems
        return found != self._config or bool(self._reload_problems)

    def _report_reload(self, *, failed: bool, message: str) -> None:
        """Answer the requests that wait for it."""
        awaited, self._awaited_reloads = self._awaited_reloads, []
        for each in awaited:
            if not each.done():
                each.set_result((failed, message))

    def _refuse(self, found: _Invalid, *, requested: bool) -> None:
        self._warn_of_former_names(found.warnings)
        if requested or self._is_new(found):
            message = _not_reloaded(found)
            self._log.error("config.reload_failed", message=message, problems=found.problems)
            self._cluster.history.note("config_refused", message)
        self._reload_problems = found.problems
        self._metrics.config_refused()
        self._cluster.pages.note_reload("\n".join(found.problems))

    def _accept(self, config: Config, *, requested: bool) -> None:
        if not requested and not self._is_new(config):
            return
        self._reload_problems = ()
        self._cluster.pages.note_reload("")
        self._metrics.config_accepted(config.fingerprint, config.polling.interval_s)
        self._cluster.pages.note_configuration(_in_force(config))
        self._config = config
        self._cluster.apply(config)
        self._tokens.replace(config.server.token, config.server.tokens)
        with suppress(CannotListen):  # files that have changed since are read again soon
            self.server.replace_access(config.server.access)
        self._cluster.pages.reconnect_streams()
        message = _reloaded(self._config_at_start, config)
        self._log.info("config.reloaded", message=message, fingerprint=config.fingerprint)
        self._cluster.history.note("config_reloaded", message)
        self._warn_of_former_names(self._config.warnings)
        self._warn_of_exposures()

    def _warn_of_exposures(self) -> None:
        found = set(exposures(self._config))
        for exposure in sorted(found - self._exposures_warned):
            self._log.warning("credentials.exposed", message=exposure)
        self._exposures_warned = found

    def _warn_of_former_names(self, warnings: tuple[str, ...]) -> None:
        for warning in warnings:
            if warning not in self._former_names_warned:
                self._former_names_warned.add(warning)
                self._log.warning("config.deprecated", message=warning)


def _queue_of(config: Config) -> "DecisionQueue | None":
    """What keeps the decisions until they are sent by OTLP; None: they are not."""
    if config.otlp is None or not config.otlp.decisions:
        return None
    from autoscaler.adapters.otlp import DecisionQueue  # noqa: PLC0415 - an extra

    return DecisionQueue()


def _in_force(config: Config) -> str:
    """Which configuration is in force, as a metric and the log name it."""
    count = len(config.rules)
    dry_run = ", dry run" if config.dry_run else ""
    return f"Configuration {config.fingerprint}: {count} rule{'' if count == 1 else 's'}{dry_run}"


def _not_reloaded(found: _Invalid) -> str:
    """That a configuration has errors."""
    count = len(found.problems)
    what = found.problems[0] if count == 1 else f"the new one has {count} problems"
    return f"the previous configuration stays in effect: {what}"


def _reloaded(at_start: Config, config: Config) -> str:
    """That a configuration is in effect, apart from what takes effect at the next start only."""
    return f"configuration reloaded{_except(at_start, config)}"


def _except(at_start: Config, config: Config) -> str:
    """The settings that take effect at the next start only."""
    names = what_needs_restart(at_start, config)
    if not names:
        return ""
    return f", except {', '.join(names)}, which need{'s' if len(names) == 1 else ''} a restart"
