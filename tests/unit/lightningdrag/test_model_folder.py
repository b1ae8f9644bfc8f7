"""The folder of files. No torch needed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.golden.place import CHECKPOINTS
from worker.engines.lightningdrag.checkpoint import FILES, ModelFolderError, find_files


def test_an_empty_folder_is_refused_with_every_file_and_where_it_is_found(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError) as refused:
        find_files(tmp_path, "lcm")
    assert len(refused.value.problems) == len(FILES)
    for file in FILES.values():
        line = next(
            each for each in refused.value.problems if f"{file.place}/{file.names[0]}" in each
        )
        assert file.holds in line
        assert f"https://huggingface.co/{file.source.split('/')[3]}" in line


def test_a_folder_that_does_not_exist_is_said_to_be_none_and_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match="there is no such folder") as refused:
        find_files(tmp_path / "elsewhere", "lcm")
    assert len(refused.value.problems) == 1 + len(FILES)


def test_without_lcm_the_lora_is_not_needed(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError) as refused:
        find_files(tmp_path, "ddim")
    assert "lcm-lora" not in str(refused.value)


def test_a_file_may_have_any_of_its_names(tmp_path: Path) -> None:
    file = FILES["unet"]
    (tmp_path / file.place).mkdir(parents=True)
    (tmp_path / file.place / "diffusion_pytorch_model.bin").touch()
    assert file.found_in(tmp_path) == tmp_path / file.place / "diffusion_pytorch_model.bin"
    (tmp_path / file.place / "diffusion_pytorch_model.safetensors").touch()
    assert file.found_in(tmp_path) == tmp_path / file.place / "diffusion_pytorch_model.safetensors"


def test_the_digest_is_the_contents_of_what_is_used_and_of_nothing_else(tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(CHECKPOINTS, copy, copy_function=shutil.copyfile)
    for path in (copy, *copy.rglob("*")):
        path.chmod(0o755)
    before = find_files(CHECKPOINTS, "lcm").digest()
    (copy / "README.md").write_text("not a weight")
    shutil.rmtree(copy / "dreamshaper-8-inpainting" / "vae")
    assert find_files(copy, "lcm").digest() == before
    assert find_files(copy, "ddim").digest() != before
    merges = copy / "dreamshaper-8-inpainting" / "tokenizer" / "merges.txt"
    merges.write_text(merges.read_text() + "a b\n")
    assert find_files(copy, "lcm").digest() != before
