"""From a folder of files to a model that is ready to run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import Tensor, nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from worker.engines.lightningdrag.appearance import cut_off
from worker.engines.lightningdrag.attention import ReferenceAttention
from worker.engines.lightningdrag.checkpoint import (
    BASE,
    FILES,
    ModelFiles,
    ModelFolderError,
    find_files,
)
from worker.engines.lightningdrag.conditioning import Projections
from worker.engines.lightningdrag.config import (
    BLOCKS,
    LATENT_CHANNELS,
    LAYERS_PER_BLOCK,
    ModelConfig,
    SchedulerName,
)
from worker.engines.lightningdrag.image_prompt import ImageProjection, ImagePromptKeys
from worker.engines.lightningdrag.lora import Lora
from worker.engines.lightningdrag.points import PointEmbedding, PointProjection
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
DEFAULT_VAE_SCALING = 0.18215


@dataclass(frozen=True, slots=True)
class Networks:
    """Every network of the model; where they are and in what precision is their own business."""

    unet: UNet2DConditionModel
    appearance: UNet2DConditionModel
    vae: AutoencoderKL
    text: CLIPTextModel
    image: CLIPVisionModelWithProjection
    image_projection: ImageProjection
    points: PointEmbedding
    projections: Projections

    def __iter__(self) -> Iterator[tuple[str, nn.Module]]:
        yield "unet", self.unet
        yield "appearance", self.appearance
        yield "vae", self.vae
        yield "text", self.text
        yield "image", self.image
        yield "image_projection", self.image_projection
        yield "points", self.points
        yield "point_projections", self.projections.points
        yield "image_keys", self.projections.image


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


@dataclass(frozen=True, slots=True)
class Configs:
    """The JSON files that say how large each network is; E is in the point embedding's weights."""

    unet: dict[str, Any]
    appearance: dict[str, Any]
    vae: dict[str, Any]
    text: dict[str, Any]
    image: dict[str, Any]
    point_width: int


class WrongPart(Exception):
    """A file, by its name in `FILES`, and what is wrong with it."""

    def __init__(self, name: str, problems: list[str]) -> None:
        self.name, self.problems = name, problems
        super().__init__(name, *problems)


def build_model(config: ModelConfig) -> Model:
    """Load a model; `ModelFolderError` names everything that is wrong with its folder."""
    files = find_files(config.folder, config.scheduler)
    try:
        return _build(config, files)
    except WrongPart as wrong:
        problems = [_said(wrong.name, problem) for problem in wrong.problems]
        raise ModelFolderError(files.folder, problems) from wrong


def _build(config: ModelConfig, files: ModelFiles) -> Model:
    device, dtype = torch.device(config.device), DTYPES[config.dtype]
    with _part("scheduler"):
        scheduler_config = _read_json(files["scheduler"])
        make_sampler(config.scheduler, scheduler_config, steps=1)
    configs = _read_configs(files)
    with init_empty_weights(include_buffers=False):
        networks = make_networks(configs)
    _fill(networks, files, device, dtype)
    for _, network in networks:
        network.to(device)
    ReferenceAttention(networks.unet).inject()
    with _part("vocabulary"):
        tokenizer = CLIPTokenizer.from_pretrained(files.folder / BASE / "tokenizer")
    return Model(
        networks,
        TextEncoder(tokenizer, networks.text),
        config.scheduler,
        scheduler_config,
        device,
        dtype,
        files.digest(),
    )


def make_networks(configs: Configs) -> Networks:
    """Networks of these sizes, wherever torch makes tensors now; not one weight has its value."""
    with _part("unet_config"):
        unet = UNet2DConditionModel.from_config(configs.unet)
        _check_blocks(unet, 2 * LATENT_CHANNELS + 1)
        width = unet.config["cross_attention_dim"]
    with _part("appearance_config"):
        appearance = UNet2DConditionModel.from_config(configs.appearance)
        _check_blocks(appearance, LATENT_CHANNELS)
    with _part("vae_config"):
        vae = AutoencoderKL.from_config({"scaling_factor": DEFAULT_VAE_SCALING, **configs.vae})
    with _part("text_config"):
        text = CLIPTextModel(CLIPTextConfig.from_dict(configs.text))
    with _part("image_config"):
        vision = CLIPVisionConfig.from_dict(configs.image)
        image = CLIPVisionModelWithProjection(vision)
    channels = {block.name: _channels(unet, block.name) for block in BLOCKS}
    return Networks(
        unet=unet,
        appearance=cut_off(appearance),
        vae=vae,
        text=text,
        image=image,
        image_projection=ImageProjection(vision.projection_dim, width),
        points=PointEmbedding(configs.point_width),
        projections=Projections(
            points=nn.ModuleDict(
                {
                    str(2 * j): PointProjection(
                        8 * configs.point_width << block.level, channels[block.name]
                    )
                    for j, block in enumerate(BLOCKS)
                }
            ),
            image=nn.ModuleDict(
                {
                    str(2 * j + 1): ImagePromptKeys(width, channels[block.name])
                    for j, block in enumerate(BLOCKS)
                }
            ),
        ),
    )


def _channels(unet: UNet2DConditionModel, block: str) -> int:
    inner: Any = unet.get_submodule(f"{block}.transformer_blocks.0")
    width: int = inner.attn1.to_q.out_features
    return width


def _check_blocks(unet: UNet2DConditionModel, channels: int) -> None:
    """`WrongWeights` unless the UNet is built like Stable Diffusion 1.5's."""
    found = {name for name, part in unet.named_modules() if isinstance(part, Transformer2DModel)}
    problems = []
    if found != {block.name for block in BLOCKS}:
        problems.append(f"the UNet's transformers are {sorted(found)}, not the sixteen of SD 1.5")
    if unet.config["layers_per_block"] != LAYERS_PER_BLOCK:
        problems.append(f"layers_per_block must be {LAYERS_PER_BLOCK}")
    if unet.config["in_channels"] != channels:
        problems.append(f"in_channels must be {channels}")
    if problems:
        raise WrongWeights(problems)


def _read_json(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text())
    if not isinstance(content, dict):
        raise WrongWeights([f"{path.name} is no JSON object"])
    return content


def _read_configs(files: ModelFiles) -> Configs:
    names = ("unet", "appearance", "vae", "text", "image")
    found = {}
    for name in names:
        with _part(f"{name}_config"):
            found[name] = _read_json(files[f"{name}_config"])
    with _part("points"):
        tensors = read_tensors(files["points"])
        first = next((tensor for key, tensor in tensors if key == "conv_in.weight"), None)
        if first is None or not first.dim():
            raise WrongWeights(["conv_in.weight is missing"])
    return Configs(**found, point_width=first.shape[0] // 2)


def _fill(networks: Networks, files: ModelFiles, device: torch.device, dtype: torch.dtype) -> None:
    """Read every file into its network; one error for all of them."""
    lora: Callable[[str, Tensor], Tensor] | None = None
    problems: list[str] = []

    def fill(name: str, module: nn.Module, tensors: Named, **options: Any) -> None:
        try:
            load(module, tensors, device, dtype, **options)
        except WrongWeights as wrong:
            problems.extend(_said(name, problem) for problem in wrong.problems)

    if "lora" in files.paths:
        try:
            lora = Lora(read_tensors(files["lora"]), networks.unet).fuse
        except WrongWeights as wrong:
            problems.extend(_said("lora", problem) for problem in wrong.problems)
    fill("unet", networks.unet, read_tensors(files["unet"]), mend=lora)
    fill("appearance", networks.appearance, read_tensors(files["appearance"]))
    fill("vae", networks.vae, renamed_vae(read_tensors(files["vae"])))
    fill("text", networks.text, renamed_clip(read_tensors(files["text"]), networks.text))
    fill("image", networks.image, renamed_clip(read_tensors(files["image"]), networks.image))
    fill("points", networks.points, read_tensors(files["points"]))
    fill("point_projections", networks.projections.points, read_tensors(files["point_projections"]))
    adapter = files["ip_adapter"]
    fill("ip_adapter", networks.image_projection, read_tensors(adapter, "image_proj"))
    fill("ip_adapter", networks.projections.image, read_tensors(adapter, "ip_adapter"))
    if problems:
        raise ModelFolderError(files.folder, problems)


def _said(name: str, problem: str) -> str:
    what = problem.partition("\n")[0]
    return f"  {FILES[name].place}: {what}; the public one is at {FILES[name].source}"


@contextmanager
def _part(name: str) -> Iterator[None]:
    """Say in which file something was wrong."""
    try:
        yield
    except WrongWeights as wrong:
        raise WrongPart(name, wrong.problems) from None
    except Exception as error:  # a size or a word that no network knows shows in many ways
        raise WrongPart(name, [f"{type(error).__name__}: {error}"]) from error
