"""From a folder of files to a model that is ready to run.

Whatever is wrong is gathered on the way, and said in one error at the end; what cannot be looked
at, since what it depends on is missing or wrong itself, is passed over.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import init_empty_weights
from transformers import CLIPTokenizer

from worker.engines.lightningdrag.attention import ReferenceAttention
from worker.engines.lightningdrag.checkpoint import (
    FILES,
    ModelFiles,
    ModelFolderError,
    look_for_files,
)
from worker.engines.lightningdrag.config import ModelConfig, SchedulerName
from worker.engines.lightningdrag.device import is_lack_of_memory, keep_float32
from worker.engines.lightningdrag.lora import Lora
from worker.engines.lightningdrag.networks import (
    Networks,
    make_appearance,
    make_image,
    make_image_keys,
    make_image_projection,
    make_point_projections,
    make_text,
    make_unet,
    make_vae,
)
from worker.engines.lightningdrag.points import PointEmbedding
from worker.engines.lightningdrag.sampling import make_sampler
from worker.engines.lightningdrag.text import TextEncoder
from worker.engines.lightningdrag.weights import (
    Named,
    WrongWeights,
    load,
    read_tensors,
    renamed_clip,
    renamed_vae,
)

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded model. `digest` names its weights; the UNet has its processors injected."""

    networks: Networks
    text: TextEncoder
    scheduler: SchedulerName
    scheduler_config: dict[str, Any]
    device: torch.device
    dtype: torch.dtype
    digest: str


def build_model(config: ModelConfig) -> Model:
    """Load a model; `ModelFolderError` names everything that is wrong with its folder."""
    keep_float32()
    device, dtype = torch.device(config.device), DTYPES[config.dtype]
    files, missing = look_for_files(config.folder, config.scheduler)
    folder = Folder(files, missing)
    scheduler_config = folder.try_to("scheduler", lambda: _scheduler_config(config, folder))
    with init_empty_weights(include_buffers=False):
        _make_networks(folder)
    tokenizer = folder.try_to("vocabulary", lambda: _tokenizer(folder))
    is_hopeless = bool(folder.problems)  # then keys and shapes alone are looked at, which is quick
    _fill_networks(folder, torch.device("meta") if is_hopeless else device, dtype)
    folder.raise_problems()
    networks = Networks.of(folder.made)
    for _, network in networks:
        network.to(device)
    ReferenceAttention(networks.unet).inject()
    text = TextEncoder(tokenizer, networks.text)
    return Model(networks, text, config.scheduler, scheduler_config, device, dtype, files.digest())


class Absent(Exception):
    """What is needed here is missing or wrong, which was said already."""


class _Made(dict[str, Any]):
    def __missing__(self, name: str) -> Any:
        raise Absent(name)


class Folder:
    """A model's folder while it is loaded: its files, what was made of them, what is wrong."""

    def __init__(self, files: ModelFiles, missing: list[str]) -> None:
        self.files = files
        self.problems = list(missing)
        self.made = _Made()

    def __getitem__(self, name: str) -> Path:
        """The path of a file, by its name in `FILES`; `Absent` if it is missing."""
        if name not in self.files.paths:
            raise Absent(name)
        return self.files[name]

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Whatever goes wrong in here is wrong with this file, and is written down."""
        try:
            yield
        except Absent:
            pass
        except WrongWeights as wrong:
            self.problems += [_said(name, problem) for problem in wrong.problems]
        except Exception as error:  # a size or a word that no network knows shows in many ways
            if isinstance(error, RuntimeError) and is_lack_of_memory(error):
                raise
            self.problems.append(_said(name, f"{type(error).__name__}: {error}"))

    def try_to(self, name: str, make: Callable[[], V]) -> Any:
        """What `make` gives; None where it fails, which is written down for this file."""
        with self.part(name):
            return make()
        return None

    def read_json(self, name: str) -> dict[str, Any]:
        """A JSON file's object."""
        content = json.loads(self[name].read_text())
        if not isinstance(content, dict):
            raise WrongWeights([f"{self[name].name} is no JSON object"])
        return content

    def raise_problems(self) -> None:
        """`ModelFolderError` if there is any."""
        if self.problems:
            raise ModelFolderError(self.files.folder, dict.fromkeys(self.problems))


def _said(name: str, problem: str) -> str:
    what = problem.partition("\n")[0]
    return f"  {FILES[name].place}: {what}; the public one is at {FILES[name].source}"


def _scheduler_config(config: ModelConfig, folder: Folder) -> dict[str, Any]:
    content = folder.read_json("scheduler")
    make_sampler(config.scheduler, content, steps=1)
    return content


def _tokenizer(folder: Folder) -> CLIPTokenizer:
    """From the two files that the digest covers, and from no other."""
    tokenizer = CLIPTokenizer(vocab=str(folder["vocabulary"]), merges=str(folder["merges"]))
    known = folder.made["text"].config.vocab_size
    if len(tokenizer) > known:
        raise WrongWeights([f"{len(tokenizer)} words, of which the text encoder knows {known}"])
    return tokenizer


def _make_networks(folder: Folder) -> None:
    """Every network, without memory, as large as its file says."""
    made, read = folder.made, folder.read_json
    makers: list[tuple[str, str, Callable[[], Any]]] = [
        ("unet", "unet_config", lambda: make_unet(read("unet_config"))),
        (
            "appearance",
            "appearance_config",
            lambda: make_appearance(read("appearance_config"), made["unet"]),
        ),
        ("vae", "vae_config", lambda: make_vae(read("vae_config"))),
        ("text", "text_config", lambda: make_text(read("text_config"), made["unet"])),
        ("image", "image_config", lambda: make_image(read("image_config"))),
        (
            "image_projection",
            "ip_adapter",
            lambda: make_image_projection(made["image"], made["unet"]),
        ),
        ("image_keys", "ip_adapter", lambda: make_image_keys(made["unet"])),
        ("points", "points", lambda: PointEmbedding(_point_width(folder["points"]))),
        (
            "point_projections",
            "point_projections",
            lambda: make_point_projections(made["points"].width, made["unet"]),
        ),
    ]
    for name, file, make in makers:
        with folder.part(file):
            made[name] = make()


def _point_width(path: Path) -> int:
    """E: half of what the first convolution gives."""
    first = next((tensor for key, tensor in read_tensors(path) if key == "conv_in.weight"), None)
    if first is None or not first.dim():
        raise WrongWeights(["conv_in.weight is missing"])
    return first.shape[0] // 2


def _fill_networks(folder: Folder, device: torch.device, dtype: torch.dtype) -> None:
    """Every file into its network, one after the other."""
    made = folder.made
    lora = folder.try_to("lora", lambda: Lora(read_tensors(folder["lora"]), made["unet"]).fuse)
    contents: list[tuple[str, str, Callable[[], Named]]] = [
        ("unet", "unet", lambda: read_tensors(folder["unet"])),
        ("appearance", "appearance", lambda: read_tensors(folder["appearance"])),
        ("vae", "vae", lambda: renamed_vae(read_tensors(folder["vae"]))),
        ("text", "text", lambda: renamed_clip(read_tensors(folder["text"]), made["text"])),
        ("image", "image", lambda: renamed_clip(read_tensors(folder["image"]), made["image"])),
        ("points", "points", lambda: read_tensors(folder["points"])),
        (
            "point_projections",
            "point_projections",
            lambda: read_tensors(folder["point_projections"]),
        ),
        (
            "image_projection",
            "ip_adapter",
            lambda: read_tensors(folder["ip_adapter"], "image_proj"),
        ),
        ("image_keys", "ip_adapter", lambda: read_tensors(folder["ip_adapter"], "ip_adapter")),
    ]
    for name, file, tensors in contents:
        with folder.part(file):
            load(made[name], tensors(), device, dtype, mend=lora if name == "unet" else None)
