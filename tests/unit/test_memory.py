"""What the C library is told of freed memory, and who may say otherwise."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from typing import Any

import pytest

from tests.crew import REPOSITORY
from worker.memory import KEPT, keep_freed_memory

#: Threads make heaps of their own, unless glibc was told not to; `malloc_info` names each.
HEAPS = """
import ctypes, sys, threading
from worker.memory import keep_freed_memory
libc = ctypes.CDLL(None)
if not hasattr(libc, "mallopt"):
    sys.exit(77)
if sys.argv[1] == "keep":
    keep_freed_memory()
all_here = threading.Barrier(5)
def hold():
    [bytearray(2000) for _ in range(2000)]
    all_here.wait()
    all_here.wait()
threads = [threading.Thread(target=hold) for _ in range(4)]
for thread in threads: thread.start()
all_here.wait()
libc.fdopen.restype = ctypes.c_void_p
libc.malloc_info(0, ctypes.c_void_p(libc.fdopen(1, b"w")))
libc.fflush(None)
all_here.wait()
"""


def heaps(what: str) -> int:
    ran = subprocess.run(
        [sys.executable, "-c", HEAPS, what], cwd=REPOSITORY, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    if ran.returncode == 77:
        pytest.skip("this C library has no mallopt")
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.count("<heap ")


def test_threads_share_one_heap_when_freed_memory_is_kept() -> None:
    assert heaps("keep") == 1
    assert heaps("leave") > 1


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("MALLOC_ARENA_MAX", "4", 2),
        ("GLIBC_TUNABLES", "glibc.malloc.arena_max=4", 0),
        ("GLIBC_TUNABLES", "glibc.elision.enable=1", 3),
    ],
)
def test_the_environment_has_the_last_word(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, told: int
) -> None:
    for (_, name), _ in KEPT.items():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    monkeypatch.setenv(variable, value)
    said: list[tuple[int, int]] = []

    class Library:
        def mallopt(self, parameter: int, value: int) -> int:
            said.append((parameter, value))
            return 1

    monkeypatch.setattr(ctypes, "CDLL", lambda _: Library())
    keep_freed_memory()
    assert len(said) == told


def test_a_library_without_mallopt_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_: Any) -> object:
        return object()

    monkeypatch.setattr(ctypes, "CDLL", none)
    keep_freed_memory()
