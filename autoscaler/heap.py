"""What a process that runs for months settles once about its memory."""

import gc

_M_ARENA_MAX = -8
"""The parameter of `mallopt` in the C library of GNU (`malloc.h`)."""


def share_one_arena() -> None:
    """Let all threads allocate from one arena; to be called before others have started.

    By default, the C library of GNU gives each of eight threads an arena of its own, which keeps
    what was free in it: 5 MB with a thousand deployments and 50 pages. Threads do not compete for
    the arena, because they compete for the interpreter. Other libraries have no such parameter, and
    an interpreter that was built without libffi has no `ctypes`.
    """
    try:
        import ctypes

        set_parameter = ctypes.CDLL(None).mallopt
    except (ImportError, AttributeError, OSError):
        return
    set_parameter(_M_ARENA_MAX, 1)


def keep_what_is_loaded() -> None:
    """Exempt all objects that exist from the collector of reference cycles.

    They are modules, classes and the configuration, a hundred thousand objects that stay until the
    end. A search of them takes 40 ms, in which no thread runs, the event loop included.
    """
    gc.collect()
    gc.freeze()
