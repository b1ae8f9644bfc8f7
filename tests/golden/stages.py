"""What our code makes of a recorded edit, stage by stage, beside what the authors' code made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from tests.golden.recorded import Case
from worker.engines.lightningdrag.batch import gather
from worker.engines.lightningdrag.conditioning import Hints
from worker.engines.lightningdrag.config import BLOCKS
from worker.engines.lightningdrag.guidance import guidance_scales
from worker.engines.lightningdrag.image_prompt import clip_pixels
from worker.engines.lightningdrag.latents import to_bytes
from worker.engines.lightningdrag.pipeline import Encoded, Latents, Pipeline
from worker.engines.lightningdrag.points import point_maps
from worker.engines.lightningdrag.text import token_ids


class Stage(NamedTuple):
    """What was found and what was recorded, under the name that its limit has."""

    name: str
    found: Tensor
    wanted: Tensor


#: What the second normalisation of a bright picture does not reach (case 11).
UNTOUCHED = {
    "token ids",
    "time steps",
    "point maps",
    "latent mask",
    "text embeddings",
    "clip pixels",
    "image embedding",
    "image tokens",
    "masked moments",
    "masked latents",
    "point embeddings",
    "guidance scales",
}


def run_case(pipeline: Pipeline, case: Case) -> Iterator[Stage]:
    """Every stage of a case, or those before the fixed defect shows."""
    for stage in _all_stages(pipeline, case):
        if not case.is_normalised_twice or stage.name in UNTOUCHED:
            yield Stage(stage.name, _plain(stage.found), _plain(stage.wanted))


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().double()


@torch.inference_mode()
def _all_stages(pipeline: Pipeline, case: Case) -> list[Stage]:
    batch = gather([case.edit], pipeline.model)
    encoded = pipeline.encode(batch)
    latents = pipeline.start(batch, encoded)
    hints = pipeline.hint(batch, encoded, latents)
    conditioning = pipeline.condition(batch, hints)
    steps = list(pipeline.denoise(batch, latents, conditioning))
    return [
        *_inputs(pipeline, case),
        Stage("time steps", torch.tensor(batch.sampler.timesteps), case["steps.timesteps"]),
        *_encodings(encoded, case),
        *_latents(latents, case),
        *_hints(hints, case),
        *_noises([step.noise_B4hw for step in steps], case),
        Stage("step latents", torch.stack([s.latents_N4hw for s in steps]), case["steps.latents"]),
        *_results(pipeline, steps[-1].latents_N4hw, case),
    ]


def _inputs(pipeline: Pipeline, case: Case) -> Iterator[Stage]:
    tokenizer = pipeline.model.text.tokenizer
    for prompt, name in ((case.edit.prompt, "prompt"), (case.edit.negative_prompt, "negative")):
        yield Stage("token ids", token_ids(tokenizer, prompt), case[f"text.input_ids_{name}"])
    maps = torch.stack([case["points.handle_map"], case["points.target_map"]])
    yield Stage("point maps", point_maps(case.edit.pairs, *maps.shape[1:]), maps)
    if "clip.pixel_values" in case.tensors:
        seen = clip_pixels(case.edit.picture_HWC)[None]
        yield Stage("clip pixels", seen, case["clip.pixel_values"])
    asked = case.said("guidance_scale_per_step")
    ours = guidance_scales(case.edit.guidance, case.edit.guidance_decay, case.edit.steps)
    guided = [(a, b) for a, b in zip(ours, asked, strict=True) if b is not None]
    if guided:
        yield Stage("guidance scales", *torch.tensor(guided, dtype=torch.float64).T)


def _encodings(encoded: Encoded, case: Case) -> Iterator[Stage]:
    yield Stage("text embeddings", encoded.text_E77D, case["text.prompt_embeds"])
    yield Stage("text embeddings", encoded.negative_E77D, case["text.negative_prompt_embeds"])
    yield Stage("image embedding", encoded.embedding_EA, case["clip.image_embeds"])
    yield Stage("image tokens", encoded.image_E4D, case["ip.tokens_cond"])
    row = torch.cat([encoded.text_E77D, encoded.image_E4D], dim=1)
    yield Stage("image tokens", row, case["unet.encoder_hidden_states_row"])
    yield Stage("masked moments", encoded.masked_E8hw, case["vae.masked_image_moments"])
    yield Stage("source moments", encoded.source_E8hw, case["vae.source_moments"])
    yield Stage("latent mask", encoded.mask_E1hw, case["mask.latent"])


def _latents(latents: Latents, case: Case) -> Iterator[Stage]:
    masked = latents.fixed_N5hw[:, 1:]
    yield Stage("masked latents", masked, case["latents.masked_image"].expand_as(masked))
    yield Stage("source latents", latents.source_N4hw, case["latents.source"])
    yield Stage("initial latents", latents.start_N4hw, case["latents.initial"])
    yield Stage("reference latents", latents.reference_N4hw, case["latents.reference"])


def _hints(hints: Hints, case: Case) -> Iterator[Stage]:
    for level, features in enumerate(hints.points):
        handle, target = features.chunk(2, dim=1)
        yield Stage("point embeddings", handle, case[f"points.handle_embedding_{8 << level}"])
        yield Stage("point embeddings", target, case[f"points.target_embedding_{8 << level}"])
    for block in BLOCKS:
        features = hints.reference[block.name].double()
        if f"bank.{block.name}" in case.tensors:
            yield Stage("reference features", features[:1], case[f"bank.{block.name}"])
        said = case.said("reference_features", block.name)
        shapes = torch.tensor(features.shape), torch.tensor(said["shape"])
        yield Stage("reference statistics", *shapes)
        doubled = torch.cat([features, features])  # as the authors ran it, and took the deviation
        found = torch.stack([features.mean(), doubled.std(), features.norm()])
        wanted = torch.tensor([said["mean"], said["std"], said["l2"]], dtype=torch.float64)
        yield Stage("reference statistics", found, wanted)


def _noises(noises: list[Tensor], case: Case) -> Iterator[Stage]:
    count = len(case.edit.seeds)
    guided = case.edit.shape.guided
    without = [noise[:count] for noise in noises[:guided]]
    with_points = [noise[-count:] for noise in noises]
    for name, found in (("nopoints", without), ("points", with_points)):
        wanted = case[f"steps.noise_pred_{name}"]
        if found:
            yield Stage("first noise", found[0], wanted[0])
            yield Stage("all noise", torch.stack(found), wanted[: len(found)])


def _results(pipeline: Pipeline, latents_N4hw: Tensor, case: Case) -> Iterator[Stage]:
    yield Stage("final latents", latents_N4hw, case["output.latents"])
    images = pipeline.decode(latents_N4hw)
    yield Stage("image", images[:1], case["output.image"])
    found = torch.stack([torch.from_numpy(pixels) for pixels in to_bytes(images)])
    yield Stage("bytes", found, case["output.image_u8"])
