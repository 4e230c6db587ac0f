"""Traces by name: files, directories of files, and generators."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from autoscaler.backtest.world.generators import GENERATORS, generate
from autoscaler.config.messages import did_you_mean
from autoscaler.errors import InputError
from autoscaler.simulation.trace_files import Gaps, read_trace
from autoscaler.simulation.traces import Trace

SUFFIXES = (".csv", ".csv.gz")
_BY_LENGTH = sorted(SUFFIXES, key=len, reverse=True)


class TraceNotFound(InputError):
    """No trace, or more than one, matches an argument. The message lists what exists."""


class TraceSource(Struct, frozen=True):
    """A trace that has not been read yet."""

    name: str
    file: Path | None = None  # None: a generator of that name

    def read(self, gaps: Gaps = Gaps.ZERO) -> Trace:
        """The trace, under the name of the source. A generator returns the same trace every time.

        Args:
            gaps: what missing bins of a file mean.

        Raises:
            TraceError: the file cannot be read or is not a trace.
        """
        if self.file is None:
            return generate(self.name)
        return replace(read_trace(self.file, gaps=gaps), name=self.name)

    @property
    def place(self) -> str:
        """The origin, for messages."""
        return f"generator {self.name}" if self.file is None else str(self.file)


def find_traces(arguments: Iterable[str]) -> list[TraceSource]:
    """The traces of each argument, in order.

    Args:
        arguments: names of generators, files, or directories. A directory means its traces,
            NAME.csv and NAME.csv.gz, by name; a NAME with a dot is a companion file of a trace. The
            name of a generator means the generator; write `./NAME` for a file of that name.

    Raises:
        TraceNotFound: an argument matches nothing, or two traces have the same name.
    """
    found: dict[str, TraceSource] = {}
    for argument in arguments:
        for source in _sources_of(argument):
            if source.name in found:
                raise _duplicate(found[source.name], source)
            found[source.name] = source
    return list(found.values())


def _duplicate(one: TraceSource, other: TraceSource) -> TraceNotFound:
    if one.place == other.place:
        return TraceNotFound(f"{one.place} is given twice; give it once")
    return TraceNotFound(
        f"two traces have the name {one.name}: {one.place} and {other.place}; "
        "give only one of them, or rename a file"
    )


def _sources_of(argument: str) -> Iterator[TraceSource]:
    path = Path(argument)
    if argument in GENERATORS:
        yield TraceSource(argument)
    elif os.path.isdir(path):
        yield from _sources_in(path)
    elif os.path.exists(path):
        yield TraceSource(_name(path), path)
    else:
        raise TraceNotFound(
            f"{argument}: not a file, a directory or a generator"
            f"{did_you_mean(argument, GENERATORS)}; the generators are {', '.join(GENERATORS)}"
        )


def _sources_in(directory: Path) -> Iterator[TraceSource]:
    try:
        files = [path for path in directory.iterdir() if path.is_file()]
    except OSError as error:
        raise TraceNotFound(f"{directory}: cannot be read: {error.strerror}") from None
    sources = [TraceSource(_name(path), path) for path in files if path.name.endswith(SUFFIXES)]
    traces = [source for source in sources if source.name and "." not in source.name]
    if not traces:
        raise TraceNotFound(f"{directory}: contains no traces (NAME.csv or NAME.csv.gz)")
    yield from sorted(traces, key=lambda source: (source.name, str(source.file)))


def _name(path: Path) -> str:
    """The name of a trace, without characters that act on a terminal or cannot be written."""
    suffix = next((each for each in _BY_LENGTH if path.name.endswith(each)), path.suffix)
    name = path.name.removesuffix(suffix)
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in name)
