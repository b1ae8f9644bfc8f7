"""Memory that one edit frees is kept for the next one, as far as the C library lets us say so.

An edit makes and frees arrays of megabytes by the hundred. glibc gives such memory back to the
system at once, and each thread has a heap of its own to do that with; then every page is asked
for, and zeroed, anew: 6 % of an edit by `warp` (`benchmarks/results/batches.md`).
"""

from __future__ import annotations

import ctypes
import os
from types import MappingProxyType

#: Of `mallopt(3)`: the number of a parameter, and what sets it from outside.
_TRIM_THRESHOLD = (-1, "MALLOC_TRIM_THRESHOLD_")
_MMAP_THRESHOLD = (-3, "MALLOC_MMAP_THRESHOLD_")
_ARENA_MAX = (-8, "MALLOC_ARENA_MAX")

KEPT = MappingProxyType({
    _TRIM_THRESHOLD: 128 * 2**20,  # bytes at the end of the heap that may stay unused
    _MMAP_THRESHOLD: 32 * 2**20,  # bytes; larger ones come and go alone (the most that it takes)
    _ARENA_MAX: 1,  # one heap for all threads
})  # fmt: skip


def keep_freed_memory() -> None:
    """Tell glibc, before threads begin; another C library is left as it is.

    What the environment says of it (`MALLOC_ARENA_MAX` and its like, `GLIBC_TUNABLES`) has the
    last word.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    for (parameter, variable), value in KEPT.items():
        if variable not in os.environ and "glibc.malloc" not in os.environ.get(
            "GLIBC_TUNABLES", ""
        ):
            mallopt(parameter, value)
