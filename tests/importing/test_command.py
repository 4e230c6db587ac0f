"""`autoscaler import`, as an operator runs it."""

from click.testing import CliRunner

from autoscaler.cli import main
from autoscaler.interval_files import read_intervals
from tests.importing.store import as_json, matrix, served

SINCE, UNTIL = 1_769_860_800, 1_769_861_040
PERIOD = ("--from", str(SINCE), "--to", str(UNTIL))
INSTANTS = range(SINCE, UNTIL + 1, 60)
SOURCE = {"instance": "a", "job": "autoscaler"}


def run(*arguments):
    result = CliRunner().invoke(main, ["import", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def exported(request, **labels):
    """What a store has of one deployment with three requests a second."""
    query = request.query["query"]
    name = query.partition("{")[0]
    own = {**SOURCE, **labels}
    of_deployment = {**own, "deployment": "elser"}
    of_node = {**of_deployment, "node": "ml-1"}
    value = {
        "elasticsearch_ml_deployment_requested_allocations": (of_deployment, 1),
        "elasticsearch_ml_deployment_running_allocations": (of_deployment, 1),
        "elasticsearch_ml_deployment_target_allocations": (of_deployment, 1),
        "elasticsearch_ml_deployment_state": ({**of_deployment, "state": "started"}, 1),
        "elasticsearch_ml_deployment_node_allocations": (of_node, 1),
        "elasticsearch_ml_deployment_node_started_timestamp_seconds": (of_node, 1_000),
        "elasticsearch_ml_deployment_node_pending_requests": (of_node, 0),
        "elasticsearch_ml_node_processors": ({**own, "node": "ml-1"}, 8),
    }.get(name)
    begin, end = float(request.query["start"]), float(request.query["end"])
    instants = [at for at in INSTANTS if begin <= at <= end]
    if value is not None:
        labels, figure = value
        return matrix((labels, [(at, figure) for at in instants]))
    if name == "elasticsearch_ml_deployment_node_inferences_total":
        return matrix((of_node, [(at, 3 * (at - SINCE)) for at in instants]))
    if query.startswith("timestamp("):
        return matrix((own, [(at, at - 2.5) for at in instants]))
    return matrix()


def test_metrics_of_this_program_become_a_file(tmp_path):
    path = tmp_path / "load.jsonl.zst"
    with served(exported) as url:
        code, out, err = run("prometheus", url, *PERIOD, "--to-file", path)
    assert code == 0
    assert out == (
        f"{path}: 4 intervals of 1 deployment with 720 arrivals, from 2026-01-31 11:59 to "
        "2026-01-31 12:03 UTC\n"
    )
    assert "autoscaler: warning: late_requests is unknown: the source does not have" in err
    header, hardware, *lines = read_intervals(path)
    assert (header.source, hardware.nodes[0].processors) == ("prometheus", 8.0)
    assert [(line.at, line.arrivals, line.nodes[0].node) for line in lines] == [
        (at - 2.5, 180, "ml-1") for at in INSTANTS[1:]
    ]


def test_only_the_series_that_are_chosen_are_read(tmp_path):
    queries = set()

    def answer(request):
        queries.add(request.query["query"])
        return exported(request)

    path = tmp_path / "load.jsonl"
    with served(answer) as url:
        chosen = ("--matcher", 'cluster="prod"', "--deployment", "el.ser", "--deployment", 'a"b')
        assert run("prometheus", url, *PERIOD, *chosen, "--to-file", path)[0] == 0
    assert 'elasticsearch_ml_node_processors{cluster="prod"}' in queries
    assert (
        'elasticsearch_ml_deployment_state{cluster="prod",deployment=~"el\\\\.ser|a\\"b"}'
        in queries
    )


def test_a_store_without_timestamps_has_the_instants_of_the_readings(tmp_path):
    refusal = as_json({"status": "error", "errorType": "bad_data", "error": "no timestamp()"}, 400)

    def answer(request):
        return refusal if "timestamp(" in request.query["query"] else exported(request)

    path = tmp_path / "load.jsonl"
    with served(answer) as url:
        code, _, err = run("prometheus", url, *PERIOD, "--to-file", path)
    assert code == 0
    assert "the instants of observations are unknown" in err
    assert [line.at for line in read_intervals(path) if hasattr(line, "arrivals")] == [
        *INSTANTS[1:]
    ]


def test_requests_of_another_metric_are_counted(tmp_path):
    def answer(request):
        label = "pipeline"
        value = {"rate": 0.5, "time": 0.08, "size": 2}[request.query["query"]]
        return matrix(({label: "e5"}, [(at, value) for at in INSTANTS]))

    path = tmp_path / "load.jsonl"
    with served(answer) as url:
        queries = ("--arrivals", "rate", "--service-time", "time", "--allocations", "size")
        code, out, err = run(
            "prometheus", url, *PERIOD, *queries, "--label", "pipeline", "--to-file", path
        )
    assert (code, "with 150 arrivals" in out) == (0, True)
    assert "may count a request more often or less often" in err
    _, first, *_ = read_intervals(path)
    assert (first.deployment, first.arrivals, first.busy_s, first.running) == ("e5", 30, 2.4, 2)


def test_deployments_of_several_clusters_are_not_mixed(tmp_path):
    def answer(request):
        one, other = (exported(request, cluster=name).body[:-3] for name in ("prod", "test"))
        if not one.endswith(b"}"):
            return exported(request)
        series = one + b", " + other.partition(b'"result": [')[2] + b"]}}"
        return as_json({})._replace(body=series)

    with served(answer) as url:
        code, _, err = run("prometheus", url, *PERIOD, "--to-file", tmp_path / "load.jsonl")
    assert code == 1
    assert "there are metrics of several clusters" in err
    assert not (tmp_path / "load.jsonl").exists()


def test_nothing_found_says_what_to_check(tmp_path):
    with served(lambda _: matrix()) as url:
        own = run("prometheus", url, *PERIOD, "--to-file", tmp_path / "load.jsonl")
        other = run(
            "prometheus", url, *PERIOD, "--arrivals", "x", "--to-file", tmp_path / "l.jsonl"
        )
    assert (own[0], other[0]) == (1, 1)
    assert "has no metrics of this program in that time; check --from and --matcher" in own[2]
    assert "has no values of x in that time" in other[2]
    assert list(tmp_path.iterdir()) == []


def test_wrong_usage_is_one_sentence(tmp_path):
    path = ("--to-file", tmp_path / "load.jsonl")
    url = "http://localhost:9090"
    for arguments, reason in (
        (("prometheus", url, "--from", "tomorrow", *path), "must be `now`, a time ago"),
        (("prometheus", url, "--from", "1h", "--to", "2h", *path), "--from must be earlier"),
        (("prometheus", url, "--step", "90", *path), "must be a duration with its unit"),
        (("prometheus", url, "--step", "1500ms", *path), "must be whole seconds"),
        (("prometheus", url, "--user", "ada", *path), "need each other"),
        (("prometheus", url, "--service-time", "x", *path), "need --arrivals"),
        (("prometheus", url, "--arrivals", "x", "--cluster", "a", *path), "select in the query"),
        (("csv", "a.csv", "b.csv", "--deployment", "e5", *path), "needs a single FILE"),
    ):
        code, _, err = run(*arguments)
        assert (code, reason in err) == (2, True), err


def test_a_file_that_cannot_be_written_is_said_before_anything_is_read(tmp_path):
    def answer(_):
        raise AssertionError("nothing is read")

    with served(answer) as url:
        code, _, err = run("prometheus", url, *PERIOD, "--to-file", tmp_path / "load.csv")
    assert code == 1
    assert "its name must end in .jsonl or .jsonl.zst" in err


def test_counts_of_a_file_become_intervals(tmp_path):
    (tmp_path / "day.csv").write_text("t_seconds,requests\n0,30\n60,60\n")
    arguments = ("--starts-at", "2026-01-31", "--service-time", "80ms", "--allocations", 2)
    path = tmp_path / "load.jsonl"
    code, out, _ = run("csv", tmp_path / "day.csv", *arguments, "--to-file", path)
    assert (code, "2 intervals of 1 deployment with 90 arrivals, from 2026-01-31 00:00" in out) == (
        0,
        True,
    )
