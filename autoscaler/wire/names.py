"""Names that Elasticsearch takes for several deployments."""

_PATTERN = frozenset("*,")


def names_several(name: str) -> bool:
    """Whether a name in a path is a pattern or a list. No id is (elastic/elasticsearch,
    `MlStrings.java` and `ExpandedIdsMatcher.java`)."""
    return name == "_all" or not _PATTERN.isdisjoint(name)
