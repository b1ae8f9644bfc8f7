"""What `make golden` says of folders that are not what they should be, and of wrong numbers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

import torch
from safetensors.torch import load_file, save_file

from tests.golden.__main__ import main, report
from tests.golden.limits import FLOAT32, close
from tests.golden.place import CASES
from tests.golden.report import rows_of_stages
from tests.golden.stages import Stage

NAME = "11_quirk_bright_image"


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    """A folder of one case that may be written to."""
    folder = tmp_path / "cases"
    folder.mkdir()
    for kind in ("json", "safetensors"):
        shutil.copyfile(CASES / f"{NAME}.{kind}", folder / f"{NAME}.{kind}")
    return folder


def remove(kind: str) -> Callable[[Path], None]:
    return lambda folder: (folder / f"{NAME}.{kind}").unlink()


def write(kind: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / f"{NAME}.{kind}").write_text(text) and None


def change_json(folder: Path) -> None:
    about = json.loads((folder / f"{NAME}.json").read_text())
    del about["parameters"]["num_candidates"]
    (folder / f"{NAME}.json").write_text(json.dumps(about))


def drop_tensor(folder: Path) -> None:
    tensors = load_file(folder / f"{NAME}.safetensors")
    del tensors["mask.latent"]
    save_file(tensors, folder / f"{NAME}.safetensors")


def cut_picture(folder: Path) -> None:
    tensors = load_file(folder / f"{NAME}.safetensors")
    tensors["input.image_u8"] = tensors["input.image_u8"][:64].clone()
    save_file(tensors, folder / f"{NAME}.safetensors")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (shutil.rmtree, "is no folder"),
        (lambda folder: (remove("json")(folder), remove("safetensors")(folder)), "no case is in"),
        (remove("json"), f"{NAME}.json cannot be read"),
        (remove("safetensors"), f"{NAME}.safetensors cannot be read"),
        (write("json", "<html>"), f"{NAME}.json cannot be read"),
        (write("json", "[]"), "has no parameters.scheduler"),
        (write("safetensors", "?"), f"{NAME}.safetensors cannot be read"),
        (change_json, "has no parameters.num_candidates"),
        (drop_tensor, f"{NAME}.safetensors has no mask.latent"),
        (cut_picture, f"{NAME} cannot be run"),
    ],
)
def test_cases_that_cannot_be_compared_are_an_error_in_one_line(
    cases: Path,
    spoil: Callable[[Path], object],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil(cases)
    assert main(["--cases", str(cases)]) == 2
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert said in line
    assert "passed," not in printed.out


def test_checkpoints_that_cannot_be_used_are_an_error_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder, said in ((tmp_path / "none", "is no folder"), (tmp_path, "16 more")):
        assert main(["--checkpoints", str(folder)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line


def test_one_case_alone_is_counted_in_the_last_line(
    cases: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--cases", str(cases)]) == 0
    *rows, last = capsys.readouterr().out.splitlines()
    assert last == f"{len(rows)} passed, 0 failed"


def test_one_wrong_number_of_one_stage_fails_its_row_alone_and_the_whole(
    cases: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = load_file(cases / f"{NAME}.safetensors")
    tensors["points.target_embedding_16"][0, 0, 0, 0] += 1e-3
    save_file(tensors, cases / f"{NAME}.safetensors")
    assert main(["--cases", str(cases)]) == 1
    *rows, last = capsys.readouterr().out.splitlines()
    (failed,) = [row for row in rows if row.endswith("FAILED")]
    assert failed.split()[:3] == [NAME, "point", "embeddings"]
    assert last == f"{len(rows) - 1} passed, 1 failed"


def test_every_stage_of_a_case_has_one_row(capsys: pytest.CaptureFixture[str], cases: Path) -> None:
    main(["--cases", str(cases)])
    stages = [row[43:66].strip() for row in capsys.readouterr().out.splitlines()[:-1]]
    assert len(stages) == len(set(stages)) > 10


def test_what_is_shown_is_the_deviation_that_is_worst_for_its_value() -> None:
    wanted = torch.tensor([100.0, 0.0], dtype=torch.float64)
    found = close(rtol=1e-4, atol=1e-4)(wanted + torch.tensor([1e-3, 5e-4]), wanted)
    assert (found.deviation, found.at_most) == (pytest.approx(5e-4), pytest.approx(1e-4))
    assert not found.holds


NAN = float("nan")


@pytest.mark.parametrize("stage", FLOAT32)
@pytest.mark.parametrize("wrong", [[NAN, 0.0], [0.0, NAN], [9.0, 0.0]])
def test_no_number_and_a_wrong_number_fail_in_every_stage(stage: str, wrong: list[float]) -> None:
    right = torch.zeros(2, dtype=torch.float64)
    found = [Stage(stage, torch.tensor(wrong).double(), right), Stage(stage, right, right)]
    for stages in (found, found[::-1]):
        assert not all(row.holds for row in rows_of_stages("case", stages))
        assert report(rows_of_stages("case", stages)) > 0


@pytest.mark.parametrize("stage", FLOAT32)
def test_another_shape_fails_in_every_stage(stage: str) -> None:
    one, four = torch.zeros(1, 3), torch.zeros(4, 3)
    assert not any(row.holds for row in rows_of_stages("case", [Stage(stage, one, four)]))
