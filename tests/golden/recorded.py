"""One recorded edit of the authors' code: section 7 of the golden README."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from worker.engines.lightningdrag.batch import CanvasEdit
from worker.engines.lightningdrag.config import DEFAULTS, SchedulerName
from worker.engines.lightningdrag.points import Pairs
from worker.engines.lightningdrag.randomness import Draws


class RecordedError(Exception):
    """What was recorded cannot be read, or is not whole; one line."""


@dataclass(frozen=True, slots=True)
class Case:
    """Inputs, draws, intermediate tensors and results, by the names of the README."""

    name: str
    about: dict[str, Any]
    tensors: dict[str, Tensor]

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.tensors:
            raise RecordedError(f"{self.name}.safetensors has no {name}")
        return self.tensors[name]

    def said(self, *keys: str) -> Any:
        """What the JSON says under these keys."""
        found: Any = self.about
        for key in keys:
            if not isinstance(found, dict) or key not in found:
                raise RecordedError(f"{self.name}.json has no {'.'.join(keys)}")
            found = found[key]
        return found

    @property
    def scheduler(self) -> SchedulerName:
        found: SchedulerName = self.said("parameters", "scheduler")
        if found not in DEFAULTS:
            raise RecordedError(f"{self.name}.json names no scheduler that there is: {found!r}")
        return found

    @property
    def is_normalised_twice(self) -> bool:
        """Whether the authors' code shows the defect of case 11 (section 5)."""
        return bool(self["input.image_u8"].min() >= 128)

    @property
    def edit(self) -> CanvasEdit:
        """The edit, with the recorded draws."""
        asked = partial(self.said, "parameters")
        return CanvasEdit(
            picture_HWC=self["input.image_u8"].numpy(),
            mask_HW=self["input.mask_u8"].numpy() > 0,
            pairs=Pairs(
                *(
                    tuple((y, x) for y, x in self[f"input.{end}_points"].tolist())
                    for end in ("handle", "target")
                )
            ),
            seeds=(0,) * asked("num_candidates"),
            steps=asked("num_inference_steps"),
            guidance=asked("guidance_scale"),
            guidance_decay=asked("guidance_scale_decay"),
            guidance_steps=asked("num_guidance_steps"),
            prompt=asked("prompt"),
            negative_prompt=asked("negative_prompt"),
            draws=self.draws,
        )

    @property
    def draws(self) -> Draws:
        """The recorded draws; that of the masked picture is one for all candidates."""
        source = self["rng.source_posterior"]
        return Draws(
            masked_N4hw=self["rng.masked_image_posterior"].expand_as(source),
            source_N4hw=source,
            noise_N4hw=self["rng.initial_noise"],
            reference_N4hw=self["rng.reference_posterior"],
            steps_SN4hw=self.tensors.get("rng.step_noise", source[None][:0]),
        )


def read_cases(folder: Path, name: str = "*") -> Iterator[Case]:
    """The cases of a folder, or those that are so named, in the order of their names."""
    if not folder.is_dir():
        raise RecordedError(f"{folder} is no folder")
    names = {
        path.stem for kind in ("json", "safetensors") for path in folder.glob(f"{name}.{kind}")
    }
    if not names:
        raise RecordedError(f"no case is in {folder}: neither NN_name.json nor NN_name.safetensors")
    for each in sorted(names):
        yield Case(each, read_json(folder / f"{each}.json"), read(folder / f"{each}.safetensors"))


def read_json(path: Path) -> Any:
    """What a JSON file says."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise RecordedError(f"{path} cannot be read: {error}") from None


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise RecordedError(f"{path} cannot be read: {error}") from None
