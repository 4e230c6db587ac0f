import pytest

from autoscaler.wire.intervals import (
    Hardware,
    HardwareNode,
    IntervalsError,
    IntervalsHeader,
    LoadInterval,
    NodeInterval,
    decoded,
    encoded,
)

HEADER = IntervalsHeader(source="recording", program="autoscaler 1")
INTERVAL = LoadInterval(
    deployment="elser",
    at=10.0,
    interval_s=10.0,
    completed=0,
    nodes=(NodeInterval(node="n1", busy_s=0.5),),
)


def test_lines_are_read_as_they_were_written():
    lines = [
        HEADER,
        Hardware(at=0.0, nodes=(HardwareNode(id="n1", processors=8.0),), version="9.1.0"),
        INTERVAL,
    ]
    assert list(decoded(encoded(lines))) == lines


def test_an_unknown_figure_is_left_out_and_zero_is_not():
    (line,) = encoded([INTERVAL])
    assert b'"completed":0' in line
    assert b"arrivals" not in line


def test_keys_of_a_later_release_are_ignored():
    header, interval = encoded([HEADER, INTERVAL])
    assert list(decoded([header, interval.replace(b'"at"', b'"colour":"blue","at"')])) == [
        HEADER,
        INTERVAL,
    ]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "the file is empty"),
        (encoded([INTERVAL]), "line 1: a file has one header"),
        (encoded([HEADER, HEADER]), "line 2: a file has one header"),
        ([*encoded([HEADER]), b"{"], "line 2: "),
        ([b'{"type":"header","format":"other","source":"csv","program":""}'], "line 1: "),
        (
            encoded([IntervalsHeader(version=2, source="csv", program="later")]),
            "version 2 of the format is later than 1",
        ),
    ],
)
def test_a_line_of_no_interval_is_refused(lines, message):
    with pytest.raises(IntervalsError, match=message):
        list(decoded(lines))


@pytest.mark.parametrize("at", [b"1e17", b"-1.0"])
def test_an_instant_without_a_date_is_refused(at):
    header, interval = encoded([HEADER, INTERVAL])
    with pytest.raises(IntervalsError, match="line 2"):
        list(decoded([header, interval.replace(b'"at":10.0', b'"at":' + at)]))
