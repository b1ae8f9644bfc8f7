"""The command that measures the model on a GPU, on a CPU: it must not crash where time costs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

import torch

from worker.engines.lightningdrag.bench import TITLES, Outputs, main, report
from worker.engines.lightningdrag.timing import FULL, TINY, WORK, Bench, Variant, variants


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def not_compiled(function: Callable[..., Any], **_: object) -> Callable[..., Any]:
    """The compiler has a test of its own, in `test_speed.py`, and takes minutes."""
    return function


@pytest.mark.slow
def test_the_whole_command_writes_down_every_variant_command_and_hardware(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch, "compile", not_compiled)
    out = tmp_path / "results" / "bench.md"
    skipped = ["--skip", "float16", "--skip", "flash"]  # slow on a CPU; as any other
    given = ["--tiny", "--device", "cpu", "--repeats", "1", *skipped, "--out", str(out)]
    assert main(given) == 0
    text = out.read_text()
    assert capsys.readouterr().out == text
    assert f"    python -m worker.engines.lightningdrag.bench {' '.join(given)}\n" in text
    assert f"torch {torch.__version__}" in text
    rows = [cells(line) for line in text.splitlines() if line.startswith("|")]
    assert tuple(rows[0]) == TITLES
    measured = {(row[0], row[1]): row for row in rows[2:] if len(row) == len(TITLES)}
    for variant in variants(TINY, "bfloat16"):
        if variant.speed.cuda_graphs:
            (failed,) = [row for row in rows if row[0] == variant.name]
            assert failed[1] == "ValueError: CUDA graphs need a CUDA device, not cpu"
        elif variant.name not in ("float16", "bfloat16, flash"):
            assert {work for name, work in measured if name == variant.name} == set(variant.works)
    for (name, work), row in measured.items():
        assert float(row[2]) == pytest.approx(float(row[3]) * len(WORK[work]), abs=1)
        if name != "float32" and row[7]:
            assert 0 < float(row[7]) < 0.1
    assert measured["float32", "4 candidates"][7] == "0.0e+00"


def test_every_switch_is_timed_alone_and_all_together() -> None:
    speeds = [variant.speed for variant in variants(FULL)]
    switches = [
        (each.channels_last, bool(each.kernels), each.compile, each.cuda_graphs) for each in speeds
    ]
    for alone in range(4):
        assert tuple(number == alone for number in range(4)) in switches
    assert (True, False, True, True) in switches
    assert [variant.dtype for variant in variants(FULL)[:3]] == ["float32", "float16", "bfloat16"]


class Failing(Bench):
    """One whose variants take more than there is, and tell what is still held of the last."""

    def counted(self) -> dict[str, float]:
        return dict.fromkeys(WORK, 1.0)

    def times(self, variant: Variant, counted: dict[str, float]) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory | of it\nmore")


def test_a_variant_that_fails_or_has_no_time_left_says_so_in_one_row() -> None:
    chosen = variants(TINY)[:2]
    for left_s, said in ((60, "OutOfMemoryError: CUDA out of memory / of it"), (-1, "not begun")):
        rows = list(report(Failing("cpu", TINY), chosen, time.monotonic() + left_s))[2:]
        assert [cells(row)[0] for row in rows] == ["float32", "float16"]
        assert all(said in cells(row)[1] for row in rows)


def test_without_a_gpu_the_command_says_how_to_try_it(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert main([]) == 2
    assert "--tiny --device cpu" in capsys.readouterr().err


def test_what_was_measured_is_written_down_when_the_time_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    outputs = Outputs(tmp_path / "bench.md")
    outputs.line("| float32 | 1 candidate |")
    outputs.end_process()
    assert ended == [1]
    first, *_, last = (tmp_path / "bench.md").read_text().splitlines()
    assert (first, last) == ("| float32 | 1 candidate |", "Ended before all was done: out of time.")
