"""Executors: a real Dask scheduler with workers on the loopback interface."""

import gc
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme
from click.testing import CliRunner
from msgspec import Struct

from autoscaler.backtest.batch import run_all
from autoscaler.backtest.executors.chosen import ExecutorError, chosen_executors
from autoscaler.cli import main
from autoscaler.errors import UserError
from benchmarks.loopback_dask import loopback_cluster

pytest.importorskip("distributed")

ROOT = Path(__file__).parents[2]


class Product(Struct, frozen=True):
    """A task that ends its process as long as there is a file of its name."""

    name: str
    factor: int
    deadly: str = ""  # the file; "always": each time


def multiply(task):
    """The work of these tests."""
    if task.deadly == "always":
        os._exit(9)
    if task.deadly and Path(task.deadly).exists():
        Path(task.deadly).unlink()
        os._exit(9)
    if task.factor < 0:
        raise UserError("the factor is negative")
    return task.factor * 7


def warm_up():
    """Nothing is compiled for these tasks."""


def products(number, **others):
    return [Product(name=f"product {n}", factor=n, **others) for n in range(number)]


@pytest.fixture(autouse=True)
def no_client_is_left():
    """Dask closes a client that could not connect when it is collected. If that happens while a
    lock is held that this needs, it waits for ever."""
    gc.collect()
    yield
    gc.collect()


@pytest.fixture
def cluster(tmp_path):
    """A scheduler with two workers, which are not restarted when they die."""
    with loopback_cluster(tmp_path) as started:
        for _ in range(2):
            started.add_worker("--no-nanny")
        yield started


@contextmanager
def executors_of(cluster):
    with chosen_executors(cluster.option, None, warm_up) as executors:
        yield executors


WITHOUT = """
import importlib.metadata as metadata

version = metadata.version

def version_of_others(name):
    if name == "{}":
        raise metadata.PackageNotFoundError(name)
    return version(name)

metadata.version = version_of_others
"""


def fail():
    raise UserError("the compiler is broken")


def connect(option, workers=None, compiling=warm_up):
    with chosen_executors(option, workers, compiling):
        pass


def refused(sentence, error=UserError):
    return pytest.raises(error, match=re.escape(sentence))


def copy_with_another_module(folder):
    """This program with a difference, to be imported from the folder."""
    copy = shutil.copytree(ROOT / "autoscaler", folder / "autoscaler")
    with (copy / "text.py").open("a") as module:
        module.write("# another version\n")


class TestOptions:
    @pytest.mark.parametrize(
        "text", ["", "dask", "dask://", "tls://", "http://host:8786", "remote"]
    )
    def test_other_texts_are_refused_with_an_example(self, text):
        with refused("such as dask://host:8786", ExecutorError):
            connect(text)

    def test_a_number_of_workers_is_for_this_machine(self):
        with refused("--workers is for --executor local", ExecutorError):
            connect("dask://127.0.0.1:1", 3)


@pytest.mark.deep
@pytest.mark.timeout(600)  # each test starts three interpreters
class TestDask:
    def test_the_results_are_in_the_order_of_the_tasks(self, cluster):
        with executors_of(cluster) as executors:
            batch = run_all(products(50), multiply, executors=executors)
        assert batch.results == tuple(range(0, 350, 7))
        assert (batch.failures, batch.missing, batch.stopped) == ((), 0, None)

    def test_a_task_that_raises_is_named_and_the_others_finish(self, cluster):
        tasks = [*products(2), Product(name="odd", factor=-1), *products(1)]
        with executors_of(cluster) as executors:
            batch = run_all(tasks, multiply, executors=executors)
        assert batch.results == (0, 7, 0)
        assert [each.message for each in batch.failures] == ["odd: the factor is negative"]

    def test_the_tasks_of_a_worker_that_is_killed_run_elsewhere(self, cluster):
        def kill_one(done, total):
            if done == 5:
                cluster.workers[0].kill()

        with executors_of(cluster) as executors:
            batch = run_all(products(60), multiply, executors=executors, progress=kill_one)
        assert batch.results == tuple(range(0, 420, 7))
        assert cluster.workers[0].wait() < 0

    def test_a_task_during_which_a_worker_dies_once_is_run_again(self, cluster, tmp_path):
        (tmp_path / "once").touch()
        tasks = [*products(3), Product("deadly", 9, str(tmp_path / "once"))]
        with executors_of(cluster) as executors:
            batch = run_all(tasks, multiply, executors=executors)
        assert batch.results == (0, 7, 14, 63)

    def test_a_task_that_kills_each_worker_is_named_and_the_others_finish(self, tmp_path):
        tasks = [*products(6), Product("deadly", 9, "always"), *products(6)]
        with loopback_cluster(tmp_path) as cluster:
            for _ in range(2):
                cluster.add_worker("--nanny")  # starts a worker again
            with executors_of(cluster) as executors:
                batch = run_all(tasks, multiply, executors=executors)
            for worker in cluster.workers:
                worker.terminate()  # a nanny that is killed leaves its worker
            for worker in cluster.workers:
                worker.wait()
        assert batch.results == tuple(range(0, 42, 7)) * 2
        assert [each.message for each in batch.failures] == [
            "deadly: the worker process died, possibly out of memory"
        ]

    def test_a_scheduler_that_goes_away_ends_the_batch_with_a_sentence(self, cluster):
        def kill(done, total):
            if done == 5:
                cluster.scheduler.kill()
                cluster.scheduler.wait()

        with executors_of(cluster) as executors:
            batch = run_all(products(500), multiply, executors=executors, progress=kill)
        assert batch.results[:5] == (0, 7, 14, 21, 28)
        assert batch.missing > 0
        assert f"connection to the Dask scheduler at {cluster.address} was lost" in batch.stopped
        assert "\n" not in batch.stopped

    def test_an_interrupt_cancels_the_tasks_and_keeps_finished_results(self, cluster):
        def interrupt(done, total):
            raise KeyboardInterrupt

        with executors_of(cluster) as executors:
            batch = run_all(products(500), multiply, executors=executors, progress=interrupt)
            assert (batch.interrupted, len(batch.results)) == (True, 1)
            again = run_all(products(3), multiply, executors=executors)
        assert again.results == (0, 7, 14)

    def test_a_scheduler_that_cannot_be_reached_is_a_sentence(self):
        with refused("the Dask scheduler at tcp://127.0.0.1:9 cannot be reached"):
            connect("dask://127.0.0.1:9")

    def test_a_worker_with_other_modules_of_the_program_is_refused(self, cluster, tmp_path):
        copy_with_another_module(tmp_path)
        cluster.add_worker("--no-nanny", PYTHONPATH=str(tmp_path))
        with refused("other modules of autoscaler") as found:
            connect(cluster.option)
        assert "install the same version" in str(found.value)

    @pytest.mark.parametrize("package", ["numba", "autoscaler"])
    def test_a_worker_without_a_package_is_refused(self, cluster, tmp_path, package):
        (tmp_path / "sitecustomize.py").write_text(WITHOUT.format(package))
        cluster.add_worker("--no-nanny", PYTHONPATH=f"{tmp_path}:{ROOT}")
        with refused(f"{package} is not installed there"):
            connect(cluster.option)

    def test_a_worker_that_cannot_import_the_program_is_refused(self, cluster, tmp_path):
        (tmp_path / "autoscaler").mkdir()
        (tmp_path / "autoscaler" / "__init__.py").write_text("raise ImportError('a broken file')")
        cluster.add_worker("--no-nanny", PYTHONPATH=str(tmp_path))
        with refused("autoscaler cannot be imported there") as found:
            connect(cluster.option)
        assert "a broken file" in str(found.value)

    def test_a_worker_whose_first_run_fails_is_refused(self, cluster):
        with refused("a first run failed there: the compiler is broken"):
            connect(cluster.option, compiling=fail)

    def test_a_worker_of_another_version_that_joins_ends_the_batch(self, cluster, tmp_path):
        copy_with_another_module(tmp_path)

        def replace_workers(done, total):
            if done == 1:
                cluster.add_worker("--no-nanny", PYTHONPATH=f"{tmp_path}:{ROOT}")
                for worker in cluster.workers[:2]:
                    worker.kill()

        with executors_of(cluster) as executors:
            batch = run_all(products(50), multiply, executors=executors, progress=replace_workers)
        assert "a worker that joined cannot be used" in batch.stopped

    def test_the_rows_are_the_same_to_the_byte_wherever_they_were_computed(
        self, cluster, tmp_path, monkeypatch
    ):
        monkeypatch.chdir(tmp_path)
        arguments = ["backtest", "steps", "random-walk", "--scenario", "short-three-nodes"]
        arguments += ["--policy", "utilisation,hpa,adaptive-9,rate-follower,oracle"]
        where = {"local": ["--workers", "2"], "dask": ["--executor", cluster.option]}
        for name, options in where.items():
            result = CliRunner().invoke(main, [*arguments, *options, "--json", f"{name}.json"])
            assert result.exit_code == 0, result.stderr
        local, dask = ((tmp_path / f"{name}.json").read_bytes() for name in where)
        assert local[local.index(b'"rows"') :] == dask[dask.index(b'"rows"') :]
        assert local.count(b'"policy": "oracle"') == 2

    def test_runs_that_one_executor_finished_are_not_run_by_another(
        self, cluster, tmp_path, monkeypatch
    ):
        monkeypatch.chdir(tmp_path)
        arguments = ["backtest", "steps", "--scenario", "short-three-nodes", "--policy", "hpa,keda"]
        arguments += ["--resume", "finished.runs"]
        CliRunner().invoke(main, [*arguments, "--executor", cluster.option])
        result = CliRunner().invoke(main, [*arguments, "--workers", "1"])
        assert result.exit_code == 0
        assert result.stderr == "2 of 2 runs are finished already\n"

    def test_a_connection_may_be_encrypted(self, tmp_path, monkeypatch):
        authority = trustme.CA()
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
            tmp_path / "node.pem"
        )
        prefix = "DASK_DISTRIBUTED__COMM__TLS"
        environ = {f"{prefix}__CA_FILE": str(tmp_path / "ca.pem")}
        for role in ("CLIENT", "SCHEDULER", "WORKER"):
            environ[f"{prefix}__{role}__CERT"] = str(tmp_path / "node.pem")
        script = (
            "from tests.backtest.test_executors import *\n"
            "with chosen_executors({!r}, None, warm_up) as executors:\n"
            "    print(run_all(products(5), multiply, executors=executors).results)\n"
        )
        with loopback_cluster(tmp_path, scheme="tls", environ=environ) as cluster:
            cluster.add_worker("--no-nanny")
            assert cluster.option.startswith("tls://")
            ran = subprocess.run(
                [sys.executable, "-c", script.format(cluster.option)],
                env={**os.environ, **environ, "PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
                check=False,
            )
            assert (ran.stdout, ran.stderr) == ("(0, 7, 14, 21, 28)\n", "")
            with refused("DASK_DISTRIBUTED__COMM__TLS__CA_FILE"):
                connect(cluster.option)
