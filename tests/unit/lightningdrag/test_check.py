"""`python -m worker model check DIR`, as it is called."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.golden.place import CHECKPOINTS
from worker.__main__ import main
from worker.engines.lightningdrag.checkpoint import FILES, find_files

REPOSITORY = Path(__file__).parents[3]


def check(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it with a setting that no process would start with."""
    command = [sys.executable, "-m", "worker", "model", "check", *map(str, arguments)]
    environment = os.environ | {"TOWLINE_NO_SUCH_SETTING": "1"} | environment
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_without_the_models_libraries_the_check_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError('gone', name='torch')")
    done = check(CHECKPOINTS, PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("torch is not installed")
    assert line.endswith("pip install -c constraints.txt -e '.[gpu]'")


@pytest.mark.slow
def test_a_usable_folder_is_named_with_its_digest() -> None:
    pytest.importorskip("diffusers")
    done = check(CHECKPOINTS)
    digest = find_files(CHECKPOINTS, "lcm").digest()
    assert done.stdout == f"{CHECKPOINTS} is usable with lcm\nsha256 {digest}\n"
    assert (done.returncode, done.stderr) == (0, "")


def test_without_lcm_the_folder_is_another(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("diffusers")
    assert main(["model", "check", str(CHECKPOINTS), "--scheduler", "ddim"]) == 0
    digest = find_files(CHECKPOINTS, "ddim").digest()
    said = capsys.readouterr().out
    assert said == f"{CHECKPOINTS} is usable with ddim\nsha256 {digest}\n"
    assert digest != find_files(CHECKPOINTS, "lcm").digest()


def test_a_folder_that_cannot_be_used_is_named_with_everything_that_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("diffusers")
    assert main(["model", "check", str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1 + len(FILES)
    copy = tmp_path / "model"
    shutil.copytree(CHECKPOINTS, copy)
    (copy / FILES["vae"].place / FILES["vae"].names[0]).unlink()
    assert main(["model", "check", str(copy)]) == 1
    assert capsys.readouterr().err.splitlines()[1:] == [FILES["vae"].missing()]
