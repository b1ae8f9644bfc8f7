"""The edit, start to end, for any number of edits at once. Read `Pipeline.__call__` first.

Golden README section 3; paper section 4. Edits that share a `Shape` go through the UNet together,
each with its own points, mask, guidance and seeds. Nothing is patched here, and nothing is kept
from one call to the next but the prompts' embeddings.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.engines.lightningdrag.appearance import reference_features
from worker.engines.lightningdrag.attention import Conditioning
from worker.engines.lightningdrag.batch import Batch, CanvasEdit, Pixels, gather
from worker.engines.lightningdrag.build import Model
from worker.engines.lightningdrag.conditioning import Hints, condition, with_points_only
from worker.engines.lightningdrag.guidance import guidance_scales, guide
from worker.engines.lightningdrag.image_prompt import clip_pixels
from worker.engines.lightningdrag.latents import (
    latent_mask,
    sample_posterior,
    to_bytes,
    to_range,
    without_masked,
)
from worker.engines.lightningdrag.points import point_maps
from worker.engines.lightningdrag.speed import EagerPredictor, Pace, Predictor

VAE_ROWS = 4  #: pictures that go through the VAE at once: it needs the most memory of all

Leave = Callable[[int], Collection[int]]


@dataclass(frozen=True, slots=True)
class Encoded:
    """The pictures as the networks see them; E edits.

    source_E8hw, masked_E8hw: means and log-variances of the VAE. mask_E1hw: 1 may change.
    embedding_EA: CLIP's. image_E4D, text_E77D, negative_E77D: tokens.
    """

    source_E8hw: Tensor
    masked_E8hw: Tensor
    mask_E1hw: Tensor
    embedding_EA: Tensor
    image_E4D: Tensor
    text_E77D: Tensor
    negative_E77D: Tensor


@dataclass(frozen=True, slots=True)
class Latents:
    """What the draws make of the encodings; N candidates, float32.

    fixed_N5hw: what the UNet sees beside the latents at every step: mask and masked picture.
    """

    source_N4hw: Tensor
    start_N4hw: Tensor
    reference_N4hw: Tensor
    fixed_N5hw: Tensor


@dataclass(frozen=True, slots=True)
class Step:
    """What one step did. noise_BChw: without points first, then with, or with points alone."""

    index: int
    noise_B4hw: Tensor
    latents_N4hw: Tensor


def nobody_leaves(index: int) -> Collection[int]:
    """For a batch that all edits stay in."""
    return ()


class Pipeline:
    """The model, and the order in which its parts are used."""

    def __init__(self, model: Model, predictor: Predictor | None = None) -> None:
        self.model = model
        self.networks = model.networks
        self.predictor = predictor or EagerPredictor(model.networks.unet)

    @torch.inference_mode()
    def __call__(
        self, edits: Sequence[CanvasEdit], leave: Leave = nobody_leaves
    ) -> list[list[Pixels]]:
        """The candidates of each edit (uint8, canvas); all edits share their `shape`.

        leave: called after every step with its index; the numbers of the edits that want no
        result any more. Those come back without candidates, and harm nobody; so do those whose
        numbers left the range of the model's precision.
        """
        batch = gather(edits, self.model)
        finished, gone = self._denoised(batch, leave)
        if len(gone) == len(edits):
            return [[] for _ in edits]
        images = self.decode(finished)
        is_whole = images.isfinite().flatten(1).all(dim=1).cpu()
        pictures = to_bytes(images.nan_to_num())
        of_edits = [batch.rows(number) for number in range(len(edits))]
        return [
            pictures[rows] if number not in gone and is_whole[rows].all() else []
            for number, rows in enumerate(of_edits)
        ]

    def _denoised(self, batch: Batch, leave: Leave) -> tuple[Tensor, set[int]]:
        """The final latents, and who left; all else is given up before the VAE needs its room."""
        encoded = self.encode(batch)
        latents = self.start(batch, encoded)
        conditioning = self.condition(batch, self.hint(batch, encoded, latents))
        finished, gone, pace = latents.start_N4hw, set[int](), Pace(self.model.device)
        for step in self.denoise(batch, latents, conditioning):
            finished = step.latents_N4hw
            pace.step()
            gone.update(leave(step.index))
            if len(gone) == len(batch.edits):
                break
        return finished, gone

    def encode(self, batch: Batch) -> Encoded:
        """Each picture once through the VAE and CLIP, each masked picture once through the VAE."""
        edits, nets = batch.edits, self.networks
        masks = [torch.from_numpy(edit.mask_HW) for edit in edits]
        pictures = [to_range(edit.picture_HWC) for edit in edits]
        masked = [without_masked(*pair) for pair in zip(pictures, masks, strict=True)]
        moments = self._moments(torch.stack(pictures + masked))
        seen = torch.stack([clip_pixels(edit.picture_HWC) for edit in edits])
        embedding = nets.image(self._to_model(seen)).image_embeds
        return Encoded(
            source_E8hw=moments[: len(edits)],
            masked_E8hw=moments[len(edits) :],
            mask_E1hw=torch.stack([latent_mask(mask) for mask in masks]).to(self.model.device),
            embedding_EA=embedding,
            image_E4D=nets.image_projection(embedding),
            text_E77D=torch.cat([self.model.text.encode(edit.prompt) for edit in edits]),
            negative_E77D=torch.cat([self.model.text.encode(e.negative_prompt) for e in edits]),
        )

    def start(self, batch: Batch, encoded: Encoded) -> Latents:
        """Sample the posteriors, and noise the source to t = 999."""
        of_N, draws = batch.edit_of_N, batch.draws
        scaling = self.networks.vae.config["scaling_factor"]
        moments = encoded.source_E8hw[of_N]
        source = sample_posterior(moments, draws.source_N4hw, scaling)
        masked = sample_posterior(encoded.masked_E8hw[of_N], draws.masked_N4hw, scaling)
        return Latents(
            source_N4hw=source,
            start_N4hw=batch.sampler.noised(source, draws.noise_N4hw),
            reference_N4hw=sample_posterior(moments, draws.reference_N4hw, scaling),
            fixed_N5hw=torch.cat([encoded.mask_E1hw[of_N], masked], dim=1),
        )

    def hint(self, batch: Batch, encoded: Encoded, latents: Latents) -> Hints:
        """Run the appearance encoder and the point embedding, once per candidate and per edit."""
        height, width = batch.shape.height, batch.shape.width
        maps = torch.stack([point_maps(edit.pairs, height, width) for edit in batch.edits])
        return Hints(
            text_E77D=encoded.text_E77D,
            image_E4D=encoded.image_E4D,
            points=self.networks.points(self._to_model(maps)),
            reference=reference_features(
                self.networks.appearance,
                latents.reference_N4hw,
                encoded.negative_E77D[batch.edit_of_N],
            ),
            edit_of_N=batch.edit_of_N,
        )

    def condition(self, batch: Batch, hints: Hints) -> Conditioning:
        """Every key, value and shift that no step changes."""
        nets = self.networks
        return condition(nets.unet, nets.projections, hints, guided=batch.shape.guided > 0)

    def denoise(self, batch: Batch, latents: Latents, conditioning: Conditioning) -> Iterator[Step]:
        """The loop, one `Step` at a time; latents stay in float32 whatever the UNet's precision."""
        shape, device = batch.shape, self.model.device
        times = torch.tensor(batch.sampler.timesteps, device=device)
        scales_SN111 = self._scales(batch)
        noises = [*batch.draws.steps_SN4hw, *[None] * (shape.steps - batch.sampler.draws)]
        predict = self.predictor.on(conditioning, latents.start_N4hw.shape)
        current = latents.start_N4hw
        for index in range(shape.steps):
            if 0 < index == shape.guided:
                predict = self.predictor.on(with_points_only(conditioning), current.shape)
            sample = self._to_model(torch.cat([current, latents.fixed_N5hw], dim=1))
            noise = predict(sample, times[index]).float()
            wanted = guide(noise, scales_SN111[index]) if index < shape.guided else noise
            current = batch.sampler.step(index, current, wanted, noises[index])
            yield Step(index, noise, current)

    def decode(self, latents_N4hw: Tensor) -> Tensor:
        """Pictures in [0, 1] (N x 3 x H x W), float32; NaN where a number left the range."""
        vae = self.networks.vae
        scaled = self._to_model(latents_N4hw / vae.config["scaling_factor"])
        parts = [vae.decode(part).sample.float() for part in scaled.split(VAE_ROWS)]
        images = torch.cat(parts) / 2 + 0.5
        return images.masked_fill(images.isinf(), torch.nan).clamp(0, 1)

    def _moments(self, pictures_B3HW: Tensor) -> Tensor:
        """Means and log-variances (B x 8 x h x w)."""
        parts = self._to_model(pictures_B3HW).split(VAE_ROWS)
        return torch.cat([self.networks.vae.encode(p).latent_dist.parameters for p in parts])

    def _scales(self, batch: Batch) -> Tensor:
        """g_i of each step and candidate, S x N x 1 x 1 x 1."""
        edits, steps = batch.edits, batch.shape.steps
        scales = [guidance_scales(edit.guidance, edit.guidance_decay, steps) for edit in edits]
        scales_SN = torch.tensor(scales, device=self.model.device)[batch.edit_of_N].T
        return scales_SN[..., None, None, None]

    def _to_model(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.model.device, self.model.dtype)
