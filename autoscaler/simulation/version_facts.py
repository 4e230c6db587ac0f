"""What changed between versions of Elasticsearch: facts, each with its versions and its source."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeVar, overload

_T = TypeVar("_T")


class Release(NamedTuple):
    major: int
    minor: int
    patch: int = 0

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


class HasRelease(Protocol):
    @property
    def release(self) -> Release: ...


class First:
    """The first releases with a change that was merged into several minor versions.

    For example "8.19.5, 9.1.5, 9.2". A minor version that is not listed has the change if it is
    later than all that are.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.releases = [release_of(part) for part in text.split(",")]
        self._patches = {release[:2]: release.patch for release in self.releases}
        self._last = max(self._patches)

    def reached(self, release: Release) -> bool:
        """Whether a release has the change."""
        if release[:2] in self._patches:
            return release.patch >= self._patches[release[:2]]
        return release[:2] > self._last


class Fact(Generic[_T]):
    """Something that versions do differently, read as an attribute of a version.

    Args:
        says: what differs, for the documentation.
        before: what holds in the first versions.
        changes: what holds from some releases on, in order.
        source: where it is known from; "#…" are pull requests and issues of
            elastic/elasticsearch.
        note: what else is to be said of the versions.
    """

    def __init__(
        self, says: str, before: _T, changes: Mapping[str, _T], *, source: str = "", note: str = ""
    ) -> None:
        self.says = says
        self.before = before
        self.changes = [(First(text), value) for text, value in changes.items()]
        self.source = source
        self.note = note
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, version: None, owner: type) -> Self: ...
    @overload
    def __get__(self, version: HasRelease, owner: type) -> _T: ...
    def __get__(self, version: HasRelease | None, owner: type) -> Self | _T:
        if version is None:
            return self
        value = self.of(version.release)
        vars(version)[self.name] = value  # the next access does not come here
        return value

    def of(self, release: Release) -> _T:
        """What holds in a release."""
        value = self.before
        for first, changed in self.changes:
            if first.reached(release):
                value = changed
        return value

    @property
    def versions(self) -> str:
        """The versions, for the documentation."""
        return f"{self.before}" + "".join(f"; {first.text}: {v}" for first, v in self.changes)


class Since(Fact[bool]):
    """Something that began with some releases, and may have ended with others."""

    def __init__(
        self, since: str, says: str, *, until: str = "", source: str = "", note: str = ""
    ) -> None:
        changes = {since: True} | ({until: False} if until else {})
        super().__init__(says, before=False, changes=changes, source=source, note=note)

    @property
    def versions(self) -> str:
        began, *ended = [first.text for first, _ in self.changes]
        return f"{began} until {ended[0]}" if ended else began


def facts_of(version: type) -> Sequence[Fact[Any]]:
    """The facts that are attributes of a class, in the order of the listing."""
    return [fact for fact in vars(version).values() if isinstance(fact, Fact)]


def release_of(text: str) -> Release:
    """The release that "8.19" (its first patch) or "8.19.4" stands for.

    Raises:
        ValueError: the text is no version.
    """
    found = re.fullmatch(r"(\d{1,2})\.(\d{1,3})(?:\.(\d{1,3}))?", text.strip())
    if found is None:
        raise ValueError(
            f"{text!r} is not a version of Elasticsearch: write it like 8.19 or 8.19.4"
        )
    return Release(int(found[1]), int(found[2]), int(found[3] or 0))
