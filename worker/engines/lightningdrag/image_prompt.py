"""What the picture shows, as four tokens beside the text: IP-Adapter, golden README section 3.2."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from worker.engines.lightningdrag.config import IMAGE_TOKENS

CLIP_SIDE_PX = 224
CLIP_MEAN = np.array((0.48145466, 0.4578275, 0.40821073), np.float32)
CLIP_STD = np.array((0.26862954, 0.26130258, 0.27577711), np.float32)


def clip_pixels(picture_HWC: NDArray[np.uint8]) -> Tensor:
    """What CLIP sees: 3 x 224 x 224, float32; the middle square, so long pictures lose their ends.

    The bytes go through [-1, 1] and back, truncated in float32, which makes 63 of the 256 levels
    one lower: the authors' way, and it shows in the result (about 0.3 %).
    """
    signed = picture_HWC.astype(np.float32) / np.float32(255) * np.float32(2) - np.float32(1)
    seen = Image.fromarray((np.float32(127.5) * (signed + np.float32(1))).astype(np.uint8))
    short, long = min(seen.size), max(seen.size)
    stretched = CLIP_SIDE_PX * long // short
    landscape = seen.width >= seen.height
    size = (stretched, CLIP_SIDE_PX) if landscape else (CLIP_SIDE_PX, stretched)
    resized = np.asarray(seen.resize(size, Image.Resampling.BICUBIC), np.float32)
    top, left = ((side - CLIP_SIDE_PX) // 2 for side in resized.shape[:2])
    cropped = resized[top : top + CLIP_SIDE_PX, left : left + CLIP_SIDE_PX] / np.float32(255)
    normal = (cropped - CLIP_MEAN) / CLIP_STD
    return torch.from_numpy(np.ascontiguousarray(normal.transpose(2, 0, 1)))


class ImageProjection(nn.Module):
    """From CLIP's embedding to `IMAGE_TOKENS` tokens as wide as the text's."""

    def __init__(self, embedding: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Linear(embedding, IMAGE_TOKENS * width)
        self.norm = nn.LayerNorm(width)

    def forward(self, embedding_BA: Tensor) -> Tensor:
        """B x 4 x width."""
        tokens: Tensor = self.norm(self.proj(embedding_BA).unflatten(-1, (IMAGE_TOKENS, -1)))
        return tokens


class ImagePromptKeys(nn.Module):
    """Keys and values of the image tokens in one cross-attention."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.to_k_ip = nn.Linear(width, channels, bias=False)
        self.to_v_ip = nn.Linear(width, channels, bias=False)
