"""Weights from files into modules: strict about keys, shapes and values, one copy in memory.

A module is built on the meta device, without memory; then each tensor is read, mended, cast and
put on its device before the next one is read. Files are safetensors, or torch archives read with
`weights_only=True`, which run no code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import is_zipfile

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

Named = Iterator[tuple[str, Tensor]]

#: The names that the VAE's attention had before diffusers 0.12, and those it has now.
OLD_VAE_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
#: A buffer that older versions of transformers saved, and that every version makes itself.
NOT_A_WEIGHT = "embeddings.position_ids"


class WrongWeights(Exception):
    """A file's content is not what the module wants; one line per problem."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


def read_tensors(path: Path, part: str | None = None) -> Named:
    """The tensors of a file, one after the other; `part`: of one of its inner dictionaries."""
    try:
        if path.suffix == ".safetensors":
            yield from _read_safetensors(path, part)
        else:
            yield from _read_archive(path, part)
    except UnpicklingError:
        reason = "it holds something else than tensors"
        raise WrongWeights([f"{path.name} cannot be read: {reason}"]) from None
    except (SafetensorError, RuntimeError, EOFError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise WrongWeights([f"{path.name} cannot be read: {reason}"]) from None


def _read_safetensors(path: Path, part: str | None) -> Named:
    prefix = f"{part}." if part else ""
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 - not a mapping
            if name.startswith(prefix):
                yield name.removeprefix(prefix), file.get_tensor(name)


def _read_archive(path: Path, part: str | None) -> Named:
    if not is_zipfile(path):
        raise WrongWeights([f"{path.name} cannot be read: it is no whole torch archive"])
    content: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    if part and isinstance(content, dict):
        content = content.get(part)
    if not isinstance(content, dict) or not all(isinstance(t, Tensor) for t in content.values()):
        raise WrongWeights([f"{path.name} holds no tensors by name{f' in {part}' if part else ''}"])
    for name in list(content):
        yield name, content.pop(name)


def load(
    module: nn.Module,
    tensors: Named,
    device: torch.device,
    dtype: torch.dtype,
    mend: Callable[[str, Tensor], Tensor] | None = None,
) -> None:
    """Fill a module that is on the meta device; `WrongWeights` names every key that does not fit.

    So it does with values that no edit survives: NaN, infinity, and what `dtype` makes infinite.
    mend: what is done to a tensor by its name before it is cast (a LoRA, in float32).
    """
    missing = {name: tensor.shape for name, tensor in module.state_dict().items()}
    ready: dict[str, Tensor] = {}
    problems = []
    for name, tensor in tensors:
        shape = missing.pop(name, None)
        if shape is None:
            problems.append(f"{name} is not a weight of this part")
        elif tensor.shape != shape:
            problems.append(f"{name} is {tuple(tensor.shape)}, not {tuple(shape)}")
        else:
            mended = tensor.to(device) if mend is None else mend(name, tensor.to(device))
            is_the_files = mended.data_ptr() == tensor.data_ptr()
            ready[name] = mended.to(dtype, copy=is_the_files)
            if not is_finite(tensor if ready[name].is_meta else ready[name]):
                problems.append(f"{name} holds infinity or no number, as {dtype}")
    problems += [f"{name} is missing" for name in missing]
    if problems:
        raise WrongWeights(problems)
    module.load_state_dict(ready, strict=True, assign=True)
    module.requires_grad_(False).eval()


def is_finite(tensor: Tensor) -> bool:
    """Whether all of it are numbers; it takes no memory of the tensor's size."""
    return all(bool(end.isfinite()) for end in tensor.aminmax())


def renamed_vae(tensors: Named) -> Named:
    """The VAE's attention under its new names, whichever the file has."""
    for name, tensor in tensors:
        stem, _, kind = name.rpartition(".")
        head, _, old = stem.rpartition(".")
        if "mid_block.attentions" in head and old in OLD_VAE_NAMES:
            yield f"{head}.{OLD_VAE_NAMES[old]}.{kind}", tensor
        else:
            yield name, tensor


def renamed_clip(tensors: Named, module: nn.Module) -> Named:
    """CLIP's weights as the installed transformers names them, with or without its prefix."""
    wanted = module.state_dict().keys()
    for name, tensor in tensors:
        short = name.removeprefix("text_model.")
        if not name.endswith(NOT_A_WEIGHT):
            yield short if short in wanted else name, tensor
