"""The LCM LoRA, fused into the UNet's weights: golden README section 3.10.

    W <- W + (alpha / rank) up down           in float32, before W is cast

Keys are kohya's: `lora_unet_` and the module's path with `_` for `.`; then `.lora_down.weight`,
`.lora_up.weight`, `.alpha`. In a convolution `down` has the layer's kernel and `up` is 1 x 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from worker.engines.lightningdrag.weights import Named, WrongWeights, is_finite

PREFIX = "lora_unet_"
BLOCKS = ("down_blocks.", "mid_block.", "up_blocks.")


class Lora:
    """Low-rank changes of a UNet's layers, by the name of the weight that each one changes."""

    def __init__(self, tensors: Named, unet: nn.Module) -> None:
        """`WrongWeights` unless every layer of the UNet's blocks is changed, and no other."""
        shapes = {
            f"{path}.weight": module.weight.shape
            for path, module in unet.named_modules()
            if isinstance(module, nn.Linear | nn.Conv2d)
        }
        names = {_key(name): name for name in shapes}
        self.layers: dict[str, dict[str, Tensor]] = {}
        problems = []
        for key, tensor in tensors:
            layer, _, kind = key.partition(".")
            if layer in names:
                self.layers.setdefault(names[layer], {})[kind] = tensor
            else:
                problems.append(f"{key}: the UNet has no such layer")
            if not is_finite(tensor):
                problems.append(f"{key} holds infinity or no number")
        for name, parts in self.layers.items():
            absent = {"lora_down.weight", "lora_up.weight"} - parts.keys()
            problems += [f"{name}: the LoRA has no {kind}" for kind in sorted(absent)]
            if not absent and not _fits(parts, shapes[name]):
                problems.append(f"{name}: the LoRA has another shape")
        in_blocks = [name for name in shapes if name.startswith(BLOCKS)]
        problems += [f"{name}: not in the LoRA" for name in in_blocks if name not in self.layers]
        if problems:
            raise WrongWeights(problems)

    def fuse(self, name: str, weight: Tensor) -> Tensor:
        """The weight with its change, in float32; untouched where there is none."""
        parts = self.layers.get(name)
        if parts is None:
            return weight
        down, up = (
            parts[f"lora_{kind}.weight"].to(weight.device).float() for kind in ("down", "up")
        )
        rank = down.shape[0]
        alpha = float(parts["alpha"]) if "alpha" in parts else float(rank)
        change = (up.flatten(1) @ down.flatten(1)).view_as(weight)
        return weight.float() + (alpha / rank) * change


def _key(name: str) -> str:
    return PREFIX + name.removesuffix(".weight").replace(".", "_")


def _fits(parts: dict[str, Tensor], weight: torch.Size) -> bool:
    """Whether `up down` has the weight's shape."""
    down, up = (parts[f"lora_{kind}.weight"].shape for kind in ("down", "up"))
    alpha = parts["alpha"].numel() if "alpha" in parts else 1
    rank_and_rest = (*down[:1], *(1 for _ in up[2:]))
    return down[1:] == weight[1:] and up == (weight[0], *rank_and_rest) and alpha == 1
