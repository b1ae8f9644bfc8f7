"""The work of one edit at full size, as the issue limits it."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from torch.utils.flop_counter import FlopCounterMode

from tests.unit.lightningdrag.tiny import tiny_model
from worker.engines.lightningdrag.flops import TERA, count, demo_edit, main
from worker.engines.lightningdrag.pipeline import Pipeline


@pytest.mark.slow
def test_one_edit_at_full_size_does_no_more_than_it_must(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main() == 0
    *_, one, four = capsys.readouterr().out.splitlines()
    assert one.startswith("1 candidate: ")
    assert one.endswith(" TFLOP")
    assert four.startswith("4 candidates: ")
    assert float(one.split()[2]) <= 20.7
    assert float(four.split()[2]) <= 74.5


@pytest.mark.slow
def test_what_is_counted_is_what_the_pipeline_does() -> None:
    pipeline = Pipeline(tiny_model())
    edit = demo_edit(2, side_px=64, steps=2)
    pipeline([edit])  # a prompt that was encoded once is kept
    with FlopCounterMode(display=False) as counter:
        pipeline([edit])
    counted = count(pipeline, edit)
    assert sum(counted.values()) * TERA == pytest.approx(counter.get_total_flops())
