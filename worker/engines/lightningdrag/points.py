"""Where the points are, as the UNet hears it: section 3.4 of the golden README, 4.2 of the paper.

pairs ──point_maps──▶ 2 x H x W ──PointEmbedding──▶ one feature map per level
                                                     first half handle, second half target
level's map ──PointProjection of a block──▶ tokens x channels, added to queries and keys
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

PixelYX = tuple[int, int]


class Pairs(NamedTuple):
    """Handle and target of each pair, as (y, x) pixels of the canvas. None at all is legal."""

    handles_yx: tuple[PixelYX, ...]
    targets_yx: tuple[PixelYX, ...]


def check_pairs(pairs: Pairs, height: int, width: int) -> None:
    """`ValueError` for lists of different length and for a point outside of the canvas."""
    if len(pairs.handles_yx) != len(pairs.targets_yx):
        counts = f"{len(pairs.handles_yx)} handles, {len(pairs.targets_yx)} targets"
        raise ValueError(f"every handle has one target: {counts}")
    for y, x in (*pairs.handles_yx, *pairs.targets_yx):
        if not (0 <= y < height and 0 <= x < width):
            raise ValueError(f"the point x={x}, y={y} is outside of the canvas {width} x {height}")


def point_maps(pairs: Pairs, height: int, width: int) -> Tensor:
    """Two maps (2 x H x W, float32): k at the k-th pair's pixel, counted from 1, and 0 elsewhere.

    Handles first. Numbers are raw, so the order of the pairs matters to the model; where two
    points share a pixel the later pair wins.
    """
    check_pairs(pairs, height, width)
    maps = torch.zeros(2, height, width)
    for plane, points in zip(maps, pairs, strict=True):
        for number, (y, x) in enumerate(points, start=1):
            plane[y, x] = number
    return maps


class _Halving(nn.Module):
    """To half the size: two 3 x 3 convolutions, each with a SiLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = _convolution(channels, 2 * channels, stride=2)
        self.conv2 = _convolution(2 * channels, 2 * channels)

    def forward(self, features_BCHW: Tensor) -> Tensor:
        return functional.silu(self.conv2(functional.silu(self.conv1(features_BCHW))))


class PointEmbedding(nn.Module):
    """The convolutional network over the point maps; its attribute names are the file's.

    width: E; the authors' is 16. A level's map has 16E, 32E, 64E, 128E channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.conv_in = _convolution(2, 2 * width)
        self.downsample_blocks_vae = nn.ModuleList(
            _Halving(2 * width << depth) for depth in range(3)
        )
        self.downsample_blocks_unet = nn.ModuleList(
            _Halving(2 * width << depth) for depth in range(3, 6)
        )

    def forward(self, maps_B2HW: Tensor) -> tuple[Tensor, ...]:
        """The feature maps at 1/8, 1/16, 1/32 and 1/64 of the canvas, by level."""
        features = self.conv_in(maps_B2HW)
        for block in self.downsample_blocks_vae:
            features = block(features)
        levels = [features]
        for block in self.downsample_blocks_unet:
            levels.append(block(levels[-1]))
        return tuple(levels)


class PointProjection(nn.Module):
    """P LN(e) of one transformer block, for handle and target alike."""

    def __init__(self, embedding_channels: int, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(embedding_channels, eps=1e-5)
        self.proj = nn.Linear(embedding_channels, channels, bias=False)

    def forward(self, embedding_BCHW: Tensor) -> Tensor:
        """B x tokens x channels, tokens row by row."""
        tokens: Tensor = self.proj(self.norm(embedding_BCHW.flatten(2).transpose(1, 2)))
        return tokens


def _convolution(into: int, out: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(into, out, kernel_size=3, stride=stride, padding=1, bias=False)
