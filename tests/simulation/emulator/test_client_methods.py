"""docs/emulator.md lists which methods of the official clients the emulator serves."""

import inspect
import os
import warnings
from pathlib import Path

import elastic_transport
import elasticsearch8
import elasticsearch9
import pytest

from autoscaler.simulation.scenario import SecuritySettings
from tests.simulation.emulator.conftest import client_of, scenario

DOCUMENT = Path(__file__).parents[3] / "docs/emulator.md"
BEGIN, END = "<!-- client methods: begin -->\n", "<!-- client methods: end -->"
NAMESPACES = (
    "ml",
    "inference",
    "ingest",
    "nodes",
    "cluster",
    "license",
    "xpack",
    "security",
    "features",
    "tasks",
    "cat",
)
CLIENTS = {"8.19": elasticsearch8, "9.2": elasticsearch9}


class Sent(Exception):
    """Instead of the request that a client was about to send."""

    def __init__(self, method, path):
        super().__init__(method, path)
        self.method, self.path = method, path


class Recorder(elastic_transport.Transport):
    def perform_request(self, method, target, **options):
        raise Sent(method, target.partition("?")[0])


def requests_of(library):
    """Method and path that each method of a client sends, with `x` for each required argument."""
    client = library.Elasticsearch("http://localhost:9200", transport_class=Recorder)
    for namespace in NAMESPACES:
        part = getattr(client, namespace)
        for name, function in inspect.getmembers(type(part), inspect.isfunction):
            if not name.startswith("_") and name not in ("perform_request", "options"):
                yield f"{namespace}.{name}", request_of(getattr(part, name), function)


def request_of(method, function):
    parameters = inspect.signature(function).parameters
    required = {
        name: "x"
        for name, parameter in parameters.items()
        if parameter.default is inspect.Parameter.empty and name != "self"
    }
    body = {"body": {"x": 1}} if "body" in parameters else {}
    in_path = {
        name: "x"
        for name in ("model_id", "deployment_id", "inference_id", "node_id", "id")
        if name in parameters
    }
    for arguments in (required, body | required, body | in_path, in_path | required | body):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of methods that are private or deprecated
                method(**arguments)
        except Sent as sent:
            return sent.method, sent.path
        except (TypeError, ValueError):
            continue
    raise AssertionError(f"{function} sends nothing")


async def served_by(version):
    """Whether the emulator knows the request, by the name of the client's method.

    Without credentials, what it knows is a 401, and has no effect.
    """
    served = {}
    nobody = SecuritySettings(accounts=[])
    async with client_of(scenario(version=version, security=nobody)) as es:
        for name, (method, path) in requests_of(CLIENTS[version]):
            served[name] = (await es.request(method, path)).status == 401
    return served


@pytest.mark.untraced
async def test_the_documentation_lists_the_methods_that_are_served():
    """`WRITE_EXPECTED=1 pytest` of this test writes the list again."""
    by_version = [await served_by(version) for version in CLIENTS]
    served = {name: found for methods in by_version for name, found in methods.items()}
    for methods in by_version:
        assert methods.items() <= served.items()
    rows = ["| client | served | not served |", "| --- | --- | --- |"]
    for namespace in NAMESPACES:
        of_it = sorted(name for name in served if name.startswith(f"{namespace}."))
        cells = [
            ", ".join(f"`{name.partition('.')[2]}`" for name in of_it if served[name] is wanted)
            for wanted in (True, False)
        ]
        rows.append(f"| `{namespace}` | {cells[0] or 'none'} | {cells[1] or 'none'} |")
    text = DOCUMENT.read_text()
    before, rest = text.split(BEGIN)
    expected = before + BEGIN + "\n".join([*rows, ""]) + END + rest.split(END)[1]
    if os.environ.get("WRITE_EXPECTED"):
        DOCUMENT.write_text(expected)
    assert DOCUMENT.read_text() == expected


NOT_EMULATED = {("ml.get_trained_models", "include_model_definition")}
"""Parameters that are refused, as docs/emulator.md says."""


class Targets(elastic_transport.Transport):
    def perform_request(self, method, target, **options):
        raise Sent(method, target)


def with_parameter(method, function, name):
    """The request that a method sends with one parameter; None if it is not in the query."""
    required = {
        other: "x"
        for other, parameter in inspect.signature(function).parameters.items()
        if parameter.default is inspect.Parameter.empty and other != "self"
    }
    for body in ({}, {"body": {}}):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                method(**{**required, **body, name: "true"})
        except Sent as sent:
            return sent if "?" in sent.path else None
        except (TypeError, ValueError):
            continue
    return None


@pytest.mark.untraced
@pytest.mark.parametrize("version", CLIENTS)
async def test_each_parameter_of_the_served_methods_is_known(version):
    served = [name for name, known in (await served_by(version)).items() if known]
    client = CLIENTS[version].Elasticsearch("http://localhost:9200", transport_class=Targets)
    unknown, known = set(), 0
    async with client_of(scenario(version=version)) as es:
        for name in served:
            if name.startswith("security."):  # without accounts there is no security
                continue
            namespace, _, called = name.partition(".")
            method = getattr(getattr(client, namespace), called)
            function = getattr(type(getattr(client, namespace)), called)
            for parameter in inspect.signature(function).parameters:
                if parameter != "self" and (sent := with_parameter(method, function, parameter)):
                    response = await es(sent.method, sent.path)
                    if "unrecognized parameter" in response.text:
                        unknown.add((name, parameter))
                    known += 1
    assert unknown <= NOT_EMULATED
    assert known > 50
