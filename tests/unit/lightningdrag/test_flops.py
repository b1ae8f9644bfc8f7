"""The work of one edit at full size, as the issue limits it."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from worker.engines.lightningdrag.flops import main


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
