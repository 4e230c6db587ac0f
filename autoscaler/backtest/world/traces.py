"""Traces by what people call them: files, directories of files, and generators."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from autoscaler.backtest.world.generators import GENERATORS, generate
from autoscaler.config.messages import did_you_mean
from autoscaler.errors import InputError
from autoscaler.simulation.traces import Trace, read_trace

SUFFIXES = (".csv", ".csv.gz")


class TraceNotFound(InputError):
    """Nothing, or more than one thing, is meant by a name. The message says what there is."""


class TraceSource(Struct, frozen=True):
    """A trace that has not been read yet."""

    name: str
    file: Path | None = None  # None: a generator of that name

    def read(self) -> Trace:
        """The trace, under the name of the source. What is generated is the same every time.

        Raises:
            TraceError: the file cannot be read or is not a trace.
        """
        if self.file is None:
            return generate(self.name)
        return replace(read_trace(self.file), name=self.name)

    @property
    def place(self) -> str:
        """Where it comes from, for people."""
        return f"generator {self.name}" if self.file is None else str(self.file)


def find_traces(arguments: Iterable[str]) -> list[TraceSource]:
    """What is meant by each argument, in their order.

    Args:
        arguments: names of generators, files, or directories, which stand for the traces in them:
            NAME.csv and NAME.csv.gz, by name. A NAME with a dot is a companion of a trace. What is
            called as a generator means the generator; `./NAME` means the file.

    Raises:
        TraceNotFound: there is nothing of a name, or two traces are called the same.
    """
    found: dict[str, TraceSource] = {}
    for argument in arguments:
        for source in _meant_by(argument):
            if source.name in found:
                raise _confusion(found[source.name], source)
            found[source.name] = source
    return list(found.values())


def _confusion(one: TraceSource, other: TraceSource) -> TraceNotFound:
    if one.place == other.place:
        return TraceNotFound(f"{one.place} is given twice: give it once")
    return TraceNotFound(
        f"two traces are called {one.name}, {one.place} and {other.place}: "
        "give one of them, or rename a file"
    )


def _meant_by(argument: str) -> Iterator[TraceSource]:
    path = Path(argument)
    if argument in GENERATORS:
        yield TraceSource(argument)
    elif os.path.isdir(path):
        yield from _inside(path)
    elif os.path.exists(path):
        yield TraceSource(_name(path), path)
    else:
        raise TraceNotFound(
            f"{argument}: neither a file, nor a directory, nor a generator"
            f"{did_you_mean(argument, GENERATORS)}; the generators are {', '.join(GENERATORS)}"
        )


def _inside(directory: Path) -> Iterator[TraceSource]:
    try:
        files = [path for path in directory.iterdir() if path.is_file()]
    except OSError as error:
        raise TraceNotFound(f"{directory}: cannot be read: {error.strerror}") from None
    sources = [TraceSource(_name(path), path) for path in files if path.name.endswith(SUFFIXES)]
    traces = [source for source in sources if source.name and "." not in source.name]
    if not traces:
        raise TraceNotFound(f"{directory}: has no traces in it, which are NAME.csv or NAME.csv.gz")
    yield from sorted(traces, key=lambda source: (source.name, str(source.file)))


def _name(path: Path) -> str:
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if path.name.endswith(suffix):
            return path.name.removesuffix(suffix)
    return path.stem
