"""Every switch that makes the model faster and leaves its pictures as they are, beyond rounding.

    precision        float32, float16, bfloat16 (`ModelConfig.dtype`); latents stay in float32
    channels last    convolutions in the layout that tensor cores read
    kernels          which of torch's attention kernels may be taken
    compile          `torch.compile` of the UNet's call
    CUDA graphs      the UNet's call as one launch

Keys and values that no step changes are always kept: that is no switch. The last two are for
`fixed` passes alone, the sizes that the operator named. A batch is padded to the smallest that
holds it and pays; one for which there is none runs as if both were off. `warm_up` makes each of
them when the worker starts, and finds out from how many candidates on it pays. Nothing is compiled
after that, so no job waits for a compiler.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from torch.compiler import config as compiler
from torch.nn.attention import SDPBackend, sdpa_kernel

from worker.engines.base import EngineUnusable
from worker.engines.lightningdrag.attention import BlockConditioning, Conditioning, attend
from worker.engines.lightningdrag.build import Model
from worker.engines.lightningdrag.config import BLOCKS
from worker.engines.lightningdrag.denoiser import predict_noise

WARM_UP_CALLS = 3  #: before a capture, as torch's documentation of CUDA graphs asks for

Predict = Callable[[Tensor, Tensor], Tensor]
PredictNoise = Callable[[UNet2DConditionModel, Tensor, Tensor, Conditioning], Tensor]

KERNELS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}


class Pass(NamedTuple):
    """A size that one call of the UNet may have: latents' sides, candidates, both halves or one."""

    height: int
    width: int
    candidates: int
    guided: bool


@dataclass(frozen=True, slots=True)
class Speed:
    """The switches. All off is right on a CPU.

    kernels: names out of `KERNELS`; none means that torch chooses.
    fixed: the passes that are compiled or captured.
    """

    channels_last: bool = False
    kernels: tuple[str, ...] = ()
    compile: bool = False
    cuda_graphs: bool = False
    fixed: tuple[Pass, ...] = ()


class Predictor(Protocol):
    """Makes the UNet's call for one batch."""

    def on(self, conditioning: Conditioning, latents: torch.Size) -> Predict:
        """(sample_N9hw, timestep) -> noise_B4hw, for latents of this shape (N x 4 x h x w)."""


class EagerPredictor:
    """As torch runs it by itself, whatever the size."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        self.unet = unet

    def on(self, conditioning: Conditioning, latents: torch.Size) -> Predict:
        """See `Predictor`."""
        return lambda sample, timestep: predict_noise(self.unet, sample, timestep, conditioning)


class FixedPredictor:
    """Pads a batch to one of a few sizes, each of which is compiled or captured once."""

    def __init__(self, unet: UNet2DConditionModel, speed: Speed) -> None:
        self.unet = unet
        self.speed = speed
        self.eager = EagerPredictor(unet)
        self.predict: PredictNoise = predict_noise
        if speed.compile:
            self.predict = torch.compile(predict_noise, dynamic=False)
            compiler.recompile_limit = max(compiler.recompile_limit, 2 * len(speed.fixed))
        self._pays_from: dict[Pass, int] = {}
        self._captured: dict[Pass, _Captured] = {}
        self._pool = torch.cuda.graph_pool_handle() if speed.cuda_graphs else None

    def on(self, conditioning: Conditioning, latents: torch.Size) -> Predict:
        """See `Predictor`."""
        candidates, halves = latents[0], _halves(conditioning, latents[0])
        paying = [each for each in self.speed.fixed if candidates >= self._pays_from.get(each, 1)]
        place = smallest_pass(paying, latents, halves == 2)
        if place is None:
            return self.eager.on(conditioning, latents)
        run = self._prepared(place, pad_conditioning(conditioning, halves, place.candidates))

        def predict(sample_N9hw: Tensor, timestep: Tensor) -> Tensor:
            noise = run(pad_rows(sample_N9hw, 1, place.candidates), timestep)
            return noise.unflatten(0, (halves, -1))[:, :candidates].flatten(0, 1)

        return predict

    def take_from(self, place: Pass, candidates: int) -> None:
        """Take a pass from so many candidates on; one that never pays gives its memory back."""
        self._pays_from[place] = candidates
        if candidates > place.candidates:
            self._captured.pop(place, None)

    def _prepared(self, place: Pass, conditioning: Conditioning) -> Predict:
        if not self.speed.cuda_graphs:
            return lambda sample, time: self.predict(self.unet, sample, time, conditioning)
        if place not in self._captured:
            self._captured[place] = _Captured(
                self.predict, self.unet, place, conditioning, self._pool
            )
        return self._captured[place].on(conditioning)


class _Captured:
    """The UNet's call as a CUDA graph, over tensors that stay where they are.

    All graphs work in one pool of memory: no two run at once, and what one gives is copied out.
    """

    def __init__(
        self,
        predict: PredictNoise,
        unet: UNet2DConditionModel,
        place: Pass,
        conditioning: Conditioning,
        pool: Any,
    ) -> None:
        channels = unet.config["in_channels"]
        shape = (place.candidates, channels, place.height, place.width)
        self.sample = torch.zeros(shape, device=unet.device, dtype=unet.dtype)
        self.timestep = torch.zeros((), device=unet.device, dtype=torch.int64)
        self.conditioning = {
            name: BlockConditioning(*(part.clone() for part in given))
            for name, given in conditioning.items()
        }
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP_CALLS):
                predict(unet, self.sample, self.timestep, self.conditioning)
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, pool=pool):
            self.noise = predict(unet, self.sample, self.timestep, self.conditioning)

    def on(self, conditioning: Conditioning) -> Predict:
        """Take over what the edits say; their steps then replay the graph."""
        for name, given in conditioning.items():
            for kept, part in zip(self.conditioning[name], given, strict=True):
                kept.copy_(part)
        return self._replay

    def _replay(self, sample_N9hw: Tensor, timestep: Tensor) -> Tensor:
        self.sample.copy_(sample_N9hw)
        self.timestep.copy_(timestep)
        self.graph.replay()
        return self.noise.clone()


def smallest_pass(fixed: Sequence[Pass], latents: torch.Size, guided: bool) -> Pass | None:
    """The fixed pass with the fewest candidates that holds such a batch."""
    candidates, _, height, width = latents
    fitting = [
        each
        for each in fixed
        if (each.height, each.width, each.guided) == (height, width, guided)
        and each.candidates >= candidates
    ]
    return min(fitting, key=lambda each: each.candidates, default=None)


def pad_conditioning(conditioning: Conditioning, halves: int, candidates: int) -> Conditioning:
    """The same with rows of zeros behind each half's own."""
    return {
        name: BlockConditioning(
            pad_rows(given.target_NTD, 1, candidates),
            *(pad_rows(part, halves, candidates) for part in given[1:]),
        )
        for name, given in conditioning.items()
    }


def pad_rows(rows: Tensor, halves: int, candidates: int) -> Tensor:
    """Each half of the rows, filled up with zeros."""
    split = rows.unflatten(0, (halves, -1))
    missing = candidates - split.shape[1]
    if missing == 0:
        return rows
    filler = split.new_zeros(halves, missing, *split.shape[2:])
    return torch.cat([split, filler], dim=1).flatten(0, 1)


def _halves(conditioning: Conditioning, candidates: int) -> int:
    return len(conditioning[BLOCKS[0].name].reference_key_BTD) // candidates


def speed_up(model: Model, speed: Speed) -> Predictor:
    """Put the model into the wanted layout; how its UNet is to be called.

    `EngineUnusable` where the device has none of the chosen attention kernels.
    """
    _try_kernels(model, speed)
    if speed.cuda_graphs and model.device.type != "cuda":
        raise ValueError(f"CUDA graphs need a CUDA device, not {model.device}")
    if speed.channels_last:
        network: Any
        for _, network in model.networks:
            network.to(memory_format=torch.channels_last)
    if speed.fixed and (speed.compile or speed.cuda_graphs):
        return FixedPredictor(model.networks.unet, speed)
    return EagerPredictor(model.networks.unet)


@torch.inference_mode()
def _try_kernels(model: Model, speed: Speed) -> None:
    """Attend once in every width of the UNet: better now than in each job."""
    for name in {BLOCKS[0].name, BLOCKS[2].name, BLOCKS[-1].name} if speed.kernels else ():
        attention: Any = model.networks.unet.get_submodule(f"{name}.transformer_blocks.0.attn1")
        width = attention.to_q.out_features
        tokens = torch.zeros(1, 8, width, device=model.device, dtype=model.dtype)
        try:
            with at_work(model.device, speed):
                attend(tokens, tokens, tokens, attention.heads)
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
            heads = width // attention.heads
            chosen = " or ".join(speed.kernels)
            raise EngineUnusable(
                f"no attention kernel of {chosen} takes heads of {heads} numbers"
                f" in {model.dtype} on {model.device}: {reason}"
            ) from None


class Pace:
    """Keeps the CPU at most one step ahead of a GPU, which it only tells what to do.

    Else all steps would have been told before the first is done: progress would be no progress,
    and a cancel would come too late.
    """

    def __init__(self, device: torch.device) -> None:
        self.is_needed = device.type == "cuda"
        self._before: torch.cuda.Event | None = None

    def step(self) -> None:
        """A step was told; wait for the one before it."""
        if not self.is_needed:
            return
        told = torch.cuda.Event()
        told.record()
        if self._before is not None:
            self._before.synchronize()
        self._before = told


@contextmanager
def at_work(device: torch.device, speed: Speed, *, may_compile: bool = False) -> Iterator[None]:
    """While it is open, the device is torch's current one, and the chosen kernels are taken.

    Unless it may compile, what would have to be compiled first is run as if it was not to be.
    """
    with ExitStack() as stack:
        if device.type == "cuda":
            stack.enter_context(torch.cuda.device(device))
        if speed.kernels:
            stack.enter_context(sdpa_kernel([KERNELS[name] for name in speed.kernels]))
        if speed.compile and not may_compile:
            stack.enter_context(torch.compiler.set_stance("eager_on_recompile"))
        yield
