"""The model's folder: which files it needs, what is wrong with it, and its digest.

    dreamshaper-8-inpainting/     unet, scheduler, text_encoder, tokenizer (its own vae is not used)
    sd-vae-ft-mse/                the VAE
    lcm-lora-sdv1-5/              with the LCM scheduler alone
    IP-Adapter/models/            image_encoder, ip-adapter_sd15.bin
    lightning-drag-sd15/          appearance_encoder, point_embedding, lightning-drag-sd15-attn.bin

The layout and the names are those of the public files, as the authors install them. Needs no torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from worker.engines.base import EngineUnusable
from worker.engines.lightningdrag.config import SchedulerName

BASE = "dreamshaper-8-inpainting"
VAE = "sd-vae-ft-mse"
LCM_LORA = "lcm-lora-sdv1-5"
IP_ADAPTER = "IP-Adapter/models"
LIGHTNING_DRAG = "lightning-drag-sd15"

HUGGING_FACE = "https://huggingface.co"
SOURCES = {
    BASE: f"{HUGGING_FACE}/Lykon/dreamshaper-8-inpainting",
    VAE: f"{HUGGING_FACE}/stabilityai/sd-vae-ft-mse",
    LCM_LORA: f"{HUGGING_FACE}/latent-consistency/lcm-lora-sdv1-5",
    IP_ADAPTER: f"{HUGGING_FACE}/h94/IP-Adapter/tree/main/models",
    LIGHTNING_DRAG: f"{HUGGING_FACE}/LightningDrag/lightning-drag-sd15",
}

_DIFFUSERS = tuple(
    f"diffusion_pytorch_model.{kind}" for kind in ("safetensors", "fp16.safetensors", "bin")
)
_TRANSFORMERS = (
    "model.safetensors",
    "model.fp16.safetensors",
    "pytorch_model.bin",
)


class ModelFolderError(EngineUnusable):
    """The folder cannot be used; one line for each thing that is wrong with it."""

    def __init__(self, folder: Path, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join([f"the model folder {folder} cannot be used:", *self.problems]))


@dataclass(frozen=True, slots=True)
class Needed:
    """One file of the folder: where, under which of several names, and what it holds."""

    place: str
    names: tuple[str, ...]
    holds: str
    source: str

    def found_in(self, folder: Path) -> Path | None:
        """The first of its names that is there."""
        paths = (folder / self.place / name for name in self.names)
        return next((path for path in paths if path.is_file()), None)

    def missing(self) -> str:
        """What to say when it is not there."""
        names = " or ".join(self.names)
        return f"  {self.place}/{names} is missing: {self.holds}; public at {self.source}"


def _needed(source: str, inside: str, names: tuple[str, ...] | str, holds: str) -> Needed:
    place = f"{source}/{inside}" if inside else source
    names = (names,) if isinstance(names, str) else names
    return Needed(place, names, holds, SOURCES[source])


FILES: dict[str, Needed] = {
    "unet_config": _needed(BASE, "unet", "config.json", "the sizes of the inpainting UNet"),
    "unet": _needed(BASE, "unet", _DIFFUSERS, "its weights, 9 input channels"),
    "scheduler": _needed(BASE, "scheduler", "scheduler_config.json", "the noise schedule"),
    "text_config": _needed(BASE, "text_encoder", "config.json", "the sizes of the text encoder"),
    "text": _needed(BASE, "text_encoder", _TRANSFORMERS, "its weights"),
    "vocabulary": _needed(BASE, "tokenizer", "vocab.json", "the tokenizer's vocabulary"),
    "merges": _needed(BASE, "tokenizer", "merges.txt", "the tokenizer's merges"),
    "vae_config": _needed(VAE, "", "config.json", "the sizes of the VAE"),
    "vae": _needed(VAE, "", _DIFFUSERS, "its weights"),
    "lora": _needed(LCM_LORA, "", "pytorch_lora_weights.safetensors", "the LCM LoRA, kohya keys"),
    "image_config": _needed(
        IP_ADAPTER, "image_encoder", "config.json", "the sizes of the CLIP image encoder"
    ),
    "image": _needed(IP_ADAPTER, "image_encoder", _TRANSFORMERS, "its weights"),
    "ip_adapter": _needed(
        IP_ADAPTER,
        "",
        ("ip-adapter_sd15.safetensors", "ip-adapter_sd15.bin"),
        "image_proj and ip_adapter",
    ),
    "appearance_config": _needed(
        LIGHTNING_DRAG, "appearance_encoder", "config.json", "the sizes of the appearance encoder"
    ),
    "appearance": _needed(
        LIGHTNING_DRAG, "appearance_encoder", _DIFFUSERS, "its weights, 4 input channels"
    ),
    "points": _needed(
        LIGHTNING_DRAG,
        "point_embedding",
        ("point_embedding.safetensors", "point_embedding.pt"),
        "13 convolutions",
    ),
    "point_projections": _needed(
        LIGHTNING_DRAG,
        "",
        ("lightning-drag-sd15-attn.safetensors", "lightning-drag-sd15-attn.bin"),
        "norm and proj of 16 self-attentions",
    ),
}


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The files of a folder that are used, each by its name in `FILES`."""

    folder: Path
    paths: dict[str, Path]

    def __getitem__(self, name: str) -> Path:
        return self.paths[name]

    def digest(self) -> str:
        """SHA-256 over every file that is used, in hex: the same weights, the same digest."""
        whole = hashlib.sha256()
        for name in sorted(self.paths):
            with self.paths[name].open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            whole.update(f"{name} {content}\n".encode())
        return whole.hexdigest()


def look_for_files(folder: Path, scheduler: SchedulerName) -> tuple[ModelFiles, list[str]]:
    """What there is of what the model needs, and a line for each file that is missing."""
    needed = {name: file for name, file in FILES.items() if name != "lora" or scheduler == "lcm"}
    found = {name: file.found_in(folder) for name, file in needed.items()}
    missing = [needed[name].missing() for name, path in found.items() if path is None]
    if not folder.is_dir():
        missing.insert(0, "  there is no such folder; it needs:")
    paths = {name: path for name, path in found.items() if path is not None}
    return ModelFiles(folder, paths), missing


def find_files(folder: Path, scheduler: SchedulerName) -> ModelFiles:
    """Everything that the model needs; `ModelFolderError` names all that is missing, at once."""
    files, missing = look_for_files(folder, scheduler)
    if missing:
        raise ModelFolderError(folder, missing)
    return files
