"""What a daemon settles about its memory at its start."""

import subprocess
import sys

import pytest

_THREADS_THAT_ALLOCATE = """
import ctypes, os, threading
from autoscaler.heap import share_one_arena

share_one_arena()
together = threading.Barrier(4)

def allocate():
    together.wait()
    kept.append([bytes(1_000 + n) for n in range(100)])
    together.wait()

kept = []
threads = [threading.Thread(target=allocate) for _ in range(4)]
for each in threads:
    each.start()
for each in threads:
    each.join()
library = ctypes.CDLL(None)
library.fdopen.restype = ctypes.c_void_p
out = library.fdopen(1, b"w")
library.malloc_info(0, ctypes.c_void_p(out))
library.fflush(ctypes.c_void_p(out))
"""

_EXEMPTED = """
import gc
from autoscaler.heap import keep_what_is_loaded

keep_what_is_loaded()
print(gc.get_freeze_count())
"""

_WITHOUT_CTYPES = """
import sys
sys.modules["_ctypes"] = None  # as in an interpreter that was built without libffi
from autoscaler.heap import share_one_arena

share_one_arena()
print("begun")
"""


def printed_by(program: str) -> str:
    """By a process of its own: both settings are for all of it."""
    return subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout


@pytest.mark.skipif(sys.platform != "linux", reason="it reads what the GNU C library reports")
def test_all_threads_allocate_from_one_arena():
    report = printed_by(_THREADS_THAT_ALLOCATE)
    assert report.count("<heap nr=") == 1


def test_the_collector_does_not_search_what_was_loaded():
    assert int(printed_by(_EXEMPTED)) > 1_000


def test_a_daemon_begins_where_the_interpreter_has_no_ctypes():
    assert printed_by(_WITHOUT_CTYPES) == "begun\n"
