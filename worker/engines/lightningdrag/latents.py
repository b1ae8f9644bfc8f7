"""Between pixels and latents: section 3.3 and 3.9 of the golden README."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.canvas import LATENT_PX

LOG_VARIANCE_LIMITS = (-30.0, 20.0)


def to_range(picture_HWC: NDArray[np.uint8]) -> Tensor:
    """The picture as 3 x H x W in [-1, 1], float32."""
    pixels = torch.from_numpy(np.ascontiguousarray(picture_HWC)).permute(2, 0, 1)
    return 2 * (pixels.float() / 255) - 1


def without_masked(picture_3HW: Tensor, mask_HW: Tensor) -> Tensor:
    """The picture in [-1, 1] with mid grey (0) where it may change."""
    return torch.where(mask_HW, 0.0, picture_3HW)


def latent_mask(mask_HW: Tensor) -> Tensor:
    """1 x h x w, float32: the mask at the pixels (8i, 8j)."""
    return mask_HW[None, ::LATENT_PX, ::LATENT_PX].float()


def sample_posterior(moments_B8hw: Tensor, draw_N4hw: Tensor, scaling: float) -> Tensor:
    """s (mu + sigma eps): latents from what the VAE's encoder says, in the draw's precision."""
    mean, log_variance = moments_B8hw.to(draw_N4hw.dtype).chunk(2, dim=1)
    deviation = torch.exp(0.5 * log_variance.clamp(*LOG_VARIANCE_LIMITS))
    return scaling * (mean + deviation * draw_N4hw)


def to_bytes(images_N3HW: Tensor) -> list[NDArray[np.uint8]]:
    """Images in [0, 1] as H x W x 3 bytes: floor(255 v), truncated as the authors do."""
    scaled = (images_N3HW.float() * 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return [np.ascontiguousarray(image) for image in scaled]
