"""The networks of the model, and the sizes that each must have to go with the others.

They are made wherever torch makes tensors now (on the meta device: without memory); not one weight
has its value yet. What cannot go together is `WrongWeights`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from shared.canvas import LATENT_PX
from worker.engines.lightningdrag.appearance import cut_off
from worker.engines.lightningdrag.conditioning import Projections
from worker.engines.lightningdrag.config import BLOCKS, LATENT_CHANNELS, LAYERS_PER_BLOCK
from worker.engines.lightningdrag.image_prompt import (
    CLIP_SIDE_PX,
    ImageProjection,
    ImagePromptKeys,
)
from worker.engines.lightningdrag.points import PointEmbedding, PointProjection
from worker.engines.lightningdrag.text import TEXT_TOKENS
from worker.engines.lightningdrag.weights import WrongWeights

DEFAULT_VAE_SCALING = 0.18215

#: What `denoiser.py` and `appearance.py` rely on: a UNet with more than Stable Diffusion 1.5's has
#: keys and shapes of its own, and would be walked through as if it had not.
AS_IN_SD15: dict[str, Any] = {
    "layers_per_block": LAYERS_PER_BLOCK,
    "transformer_layers_per_block": 1,
    "use_linear_projection": False,
    "center_input_sample": False,
    "time_embedding_act_fn": None,
    "class_embed_type": None,
    "addition_embed_type": None,
    "encoder_hid_dim_type": None,
}


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

    @classmethod
    def of(cls, named: Mapping[str, Any]) -> Networks:
        """The networks under the names that iterating gives."""
        others = dict(named)
        points, image = others.pop("point_projections"), others.pop("image_keys")
        return cls(**others, projections=Projections(points, image))


@dataclass(frozen=True, slots=True)
class Configs:
    """How large each network is, as the JSON files say it; `point_width` is E."""

    unet: dict[str, Any]
    appearance: dict[str, Any]
    vae: dict[str, Any]
    text: dict[str, Any]
    image: dict[str, Any]
    point_width: int


def make_networks(configs: Configs) -> Networks:
    """Networks of these sizes."""
    unet = make_unet(configs.unet)
    image = make_image(configs.image)
    return Networks(
        unet=unet,
        appearance=make_appearance(configs.appearance, unet),
        vae=make_vae(configs.vae),
        text=make_text(configs.text, unet),
        image=image,
        image_projection=make_image_projection(image, unet),
        points=PointEmbedding(configs.point_width),
        projections=Projections(
            make_point_projections(configs.point_width, unet), make_image_keys(unet)
        ),
    )


def make_unet(config: dict[str, Any]) -> UNet2DConditionModel:
    """The denoising UNet: it sees latents, mask and masked picture, and predicts noise."""
    unet = UNet2DConditionModel.from_config(config)
    channels = {"in_channels": 2 * LATENT_CHANNELS + 1, "out_channels": LATENT_CHANNELS}
    _check_blocks(unet)
    _check(unet.config, AS_IN_SD15 | channels)
    return unet


def make_appearance(config: dict[str, Any], unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """The appearance encoder, whose features the UNet's blocks of the same names take in."""
    encoder = UNet2DConditionModel.from_config(config)
    widths = {name: unet.config[name] for name in ("cross_attention_dim", "block_out_channels")}
    _check_blocks(encoder)
    _check(encoder.config, AS_IN_SD15 | {"in_channels": LATENT_CHANNELS} | widths)
    return cut_off(encoder)


def make_vae(config: dict[str, Any]) -> AutoencoderKL:
    """The VAE between pixels and latents."""
    vae = AutoencoderKL.from_config({"scaling_factor": DEFAULT_VAE_SCALING, **config})
    _check(vae.config, {"latent_channels": LATENT_CHANNELS, "in_channels": 3, "out_channels": 3})
    shrinks = 2 ** (len(vae.config["block_out_channels"]) - 1)
    if shrinks != LATENT_PX:
        raise WrongWeights([f"a latent is {shrinks} pixels wide, not {LATENT_PX}"])
    return vae


def make_text(config: dict[str, Any], unet: UNet2DConditionModel) -> CLIPTextModel:
    """The text encoder, whose tokens the UNet attends to."""
    text = CLIPTextModel(CLIPTextConfig.from_dict(config))
    wanted = {
        "hidden_size": unet.config["cross_attention_dim"],
        "max_position_embeddings": TEXT_TOKENS,
    }
    _check(text.config.to_dict(), wanted)
    return text


def make_image(config: dict[str, Any]) -> CLIPVisionModelWithProjection:
    """CLIP's image encoder."""
    image = CLIPVisionModelWithProjection(CLIPVisionConfig.from_dict(config))
    _check(image.config.to_dict(), {"image_size": CLIP_SIDE_PX})
    return image


def make_image_projection(
    image: CLIPVisionModelWithProjection, unet: UNet2DConditionModel
) -> ImageProjection:
    """From CLIP's embedding to tokens as wide as the UNet wants them."""
    return ImageProjection(image.config.projection_dim, unet.config["cross_attention_dim"])


def make_image_keys(unet: UNet2DConditionModel) -> nn.ModuleDict:
    """Keys and values of the image tokens, of block j under 2j + 1."""
    width = unet.config["cross_attention_dim"]
    return nn.ModuleDict(
        {
            str(2 * j + 1): ImagePromptKeys(width, _channels(unet, block.name))
            for j, block in enumerate(BLOCKS)
        }
    )


def make_point_projections(point_width: int, unet: UNet2DConditionModel) -> nn.ModuleDict:
    """From the points' embeddings to the tokens of block j, under 2j."""
    return nn.ModuleDict(
        {
            str(2 * j): PointProjection(8 * point_width << block.level, _channels(unet, block.name))
            for j, block in enumerate(BLOCKS)
        }
    )


def _channels(unet: UNet2DConditionModel, block: str) -> int:
    inner: Any = unet.get_submodule(f"{block}.transformer_blocks.0")
    width: int = inner.attn1.to_q.out_features
    return width


def _check_blocks(unet: UNet2DConditionModel) -> None:
    found = {name for name, part in unet.named_modules() if isinstance(part, Transformer2DModel)}
    if found != {block.name for block in BLOCKS}:
        raise WrongWeights(
            [f"the UNet's transformers are {sorted(found)}, not the sixteen of SD 1.5"]
        )


def _check(config: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """`WrongWeights` names every entry that is not as it must be."""
    problems = [
        f"{name} is {config[name]}, it must be {value}"
        for name, value in wanted.items()
        if _plain(config[name]) != _plain(value)
    ]
    if problems:
        raise WrongWeights(problems)


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else value
