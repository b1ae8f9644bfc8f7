"""`python -m worker.evaluation run`: what it writes, and what it says when it cannot."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from worker.evaluation.__main__ import main

KEYS = [
    "name",
    "ok",
    "ms",
    "peak_rss_mb",
    "target_error_px",
    "patch_error_px",
    "patch_score",
    "min_jacobian",
    "outside_identical",
    "warnings",
    "error",
]


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    folder = tmp_path / "cases"
    folder.mkdir()
    return folder


def write_case(
    folder: Path, picture: NDArray[np.uint8], mask: NDArray[np.bool_], **told: object
) -> Path:
    folder.mkdir()
    Image.fromarray(picture).save(folder / "image.png")
    Image.fromarray(mask.astype(np.uint8) * np.uint8(255)).save(folder / "mask.png")
    case = {"handles": [[70, 60]], "targets": [[85, 60]], **told}
    (folder / "case.json").write_text(json.dumps(case))
    return folder


def evaluate(cases: Path, *more: str) -> tuple[int, Path]:
    out = cases.parent / "out"
    asked = ["run", "--engine", "warp", "--cases", str(cases), "--out", str(out), *more]
    return main(asked), out


def rows(out: Path) -> list[dict[str, object]]:
    report = json.loads((out / "report.json").read_text())
    assert list(report) == ["engine", "cases"]
    assert report["engine"] == "warp"
    assert all(list(row) == KEYS for row in report["cases"])
    return list(report["cases"])


def test_every_case_has_a_picture_and_a_row_when_all_of_them_run(
    cases: Path, picture: NDArray[np.uint8], mask: NDArray[np.bool_]
) -> None:
    write_case(cases / "01_colour", picture, mask)
    write_case(cases / "02_grey", picture[..., 0], mask, targets=[[110, 60]])
    status, out = evaluate(cases)
    first, second = rows(out)
    assert status == 0
    assert first["ok"] is True
    assert first["outside_identical"] is True
    assert (first["warnings"], first["error"]) == ([], None)
    assert first["patch_error_px"] <= 2  # type: ignore[operator]
    assert [w["code"] for w in second["warnings"]] == ["smeared"]  # type: ignore[union-attr,attr-defined]
    assert (
        Image.open(out / "01_colour.png").size == Image.open(out / "02_grey.png").size == (160, 120)
    )
    assert Image.open(out / "sheet.png").width == 4 * 256


def test_cases_are_scaled_when_a_long_side_is_given(
    cases: Path, picture: NDArray[np.uint8], mask: NDArray[np.bool_]
) -> None:
    write_case(cases / "01_colour", picture, mask)
    status, out = evaluate(cases, "--long-side", "320", "--quality", "preview")
    assert status == 0
    assert Image.open(out / "01_colour.png").size == (320, 240)


def test_a_broken_case_is_a_row_and_the_others_run(
    cases: Path, picture: NDArray[np.uint8], mask: NDArray[np.bool_]
) -> None:
    write_case(cases / "01_sound", picture, mask)
    (write_case(cases / "02_no_mask", picture, mask) / "mask.png").unlink()
    (write_case(cases / "03_no_json", picture, mask) / "case.json").write_text("{")
    write_case(cases / "04_sizes", picture, mask[:50])
    write_case(cases / "05_no_drags", picture, mask, handles=[], targets=[])
    write_case(cases / "06_uneven", picture, mask, handles=[[1, 2], [3, 4]])
    write_case(cases / "07_refused", picture, mask, targets=[[1, 1]])
    (cases / "08_empty").mkdir()
    (write_case(cases / "09_no_picture", picture, mask) / "image.png").write_bytes(b"none")
    status, out = evaluate(cases)
    found = rows(out)
    assert status == 1
    assert [row["ok"] for row in found] == [True] + 8 * [False]
    codes = [row["error"]["code"] for row in found[1:]]  # type: ignore[index]
    assert codes == 5 * ["broken_case"] + ["invalid_request"] + 2 * ["broken_case"]


@pytest.mark.parametrize("folder", ["cases", "nowhere"])
def test_one_line_is_said_when_there_is_nothing_to_run(
    cases: Path, folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _ = evaluate(cases.parent / folder)
    assert status == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
