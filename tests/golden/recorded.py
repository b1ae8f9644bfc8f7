"""One recorded edit of the authors' code: section 7 of the golden README."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from worker.engines.lightningdrag.batch import CanvasEdit
from worker.engines.lightningdrag.config import SchedulerName
from worker.engines.lightningdrag.points import Pairs
from worker.engines.lightningdrag.randomness import Draws


@dataclass(frozen=True, slots=True)
class Case:
    """Inputs, draws, intermediate tensors and results, by the names of the README."""

    name: str
    about: dict[str, Any]
    tensors: dict[str, Tensor]

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    @property
    def scheduler(self) -> SchedulerName:
        found: SchedulerName = self.about["parameters"]["scheduler"]
        return found

    @property
    def is_normalised_twice(self) -> bool:
        """Whether the authors' code shows the defect of case 11 (section 5)."""
        return bool(self["input.image_u8"].min() >= 128)

    @property
    def edit(self) -> CanvasEdit:
        """The edit, with the recorded draws."""
        asked = self.about["parameters"]
        return CanvasEdit(
            picture_HWC=self["input.image_u8"].numpy(),
            mask_HW=self["input.mask_u8"].numpy() > 0,
            pairs=Pairs(
                *(
                    tuple((y, x) for y, x in self[f"input.{end}_points"].tolist())
                    for end in ("handle", "target")
                )
            ),
            seeds=(0,) * asked["num_candidates"],
            steps=asked["num_inference_steps"],
            guidance=asked["guidance_scale"],
            guidance_decay=asked["guidance_scale_decay"],
            guidance_steps=asked["num_guidance_steps"],
            prompt=asked["prompt"],
            negative_prompt=asked["negative_prompt"],
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


def read_cases(folder: Path, name: str = "*") -> list[Case]:
    """The cases of a folder, or those that are so named, in the order of their names."""
    return [
        Case(path.stem, json.loads(path.read_text()), load_file(path.with_suffix(".safetensors")))
        for path in sorted(folder.glob(f"{name}.json"))
    ]
