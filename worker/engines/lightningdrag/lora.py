"""The LCM LoRA, fused into the UNet's weights: golden README section 3.10.

    W <- W + (alpha / rank) up down           in float32, before W is cast

Keys are kohya's: `lora_unet_` and the module's path with `_` for `.`; then `.lora_down.weight`,
`.lora_up.weight`, `.alpha`. In a convolution `down` has the layer's kernel and `up` is 1 x 1.
"""

from __future__ import annotations

from torch import Tensor, nn

from worker.engines.lightningdrag.weights import Named, WrongWeights

PREFIX = "lora_unet_"


class Lora:
    """Low-rank changes of a UNet's layers, by the name of the weight that each one changes."""

    def __init__(self, tensors: Named, unet: nn.Module) -> None:
        """`WrongWeights` for a layer that the UNet does not have, or one that is not complete."""
        names = {
            PREFIX + path.replace(".", "_"): f"{path}.weight"
            for path, module in unet.named_modules()
            if isinstance(module, nn.Linear | nn.Conv2d)
        }
        self.layers: dict[str, dict[str, Tensor]] = {}
        problems = []
        for key, tensor in tensors:
            layer, _, kind = key.partition(".")
            if layer in names:
                self.layers.setdefault(names[layer], {})[kind] = tensor
            else:
                problems.append(f"{key}: the UNet has no such layer")
        for name, parts in self.layers.items():
            absent = {"lora_down.weight", "lora_up.weight"} - parts.keys()
            problems += [f"{name}: the LoRA has no {kind}" for kind in sorted(absent)]
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
