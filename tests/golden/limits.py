"""How far from the authors' recorded numbers a stage may be: section 6 of the golden README.

Each limit is on one number, so that a row of the report can show it beside what was found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Measure = Callable[[Tensor, Tensor], float]


def max_abs(found: Tensor, wanted: Tensor) -> float:
    """The largest deviation."""
    return float((found - wanted).abs().max()) if wanted.numel() else 0.0


def rel_rms(found: Tensor, wanted: Tensor) -> float:
    """RMS of the deviation by the RMS of the value."""
    of_deviation, of_value = (t.pow(2).mean().sqrt() for t in (found - wanted, wanted))
    return float(of_deviation / of_value if of_value else of_deviation)


def beyond(rtol: float) -> Measure:
    """The largest deviation after `rtol` of the value is taken off."""
    return lambda found, wanted: float(
        ((found - wanted).abs() - rtol * wanted.abs()).clamp(min=0).max()
    )


def share_beyond(levels: int) -> Measure:
    """The share of bytes that differ by more than so many levels."""
    return lambda found, wanted: float(((found - wanted).abs() > levels).double().mean())


@dataclass(frozen=True, slots=True)
class Limit:
    """One measure and what it may be at most."""

    name: str
    measure: Measure
    at_most: float


def _limits(*limits: tuple[str, Measure, float]) -> tuple[Limit, ...]:
    return tuple(Limit(*limit) for limit in limits)


EXACT = _limits(("max abs", max_abs, 0.0))
ENCODINGS = _limits(("beyond rtol 1e-4", beyond(1e-4), 2e-5))
MOMENTS = _limits(("beyond rtol 1e-4", beyond(1e-4), 1e-4), ("rel", rel_rms, 1e-5))
FEATURES = _limits(("beyond rtol 1e-4", beyond(1e-4), 5e-5), ("rel", rel_rms, 1e-5))
STATISTICS = _limits(("beyond rtol 1e-4", beyond(1e-4), 5e-5))
SCALES = _limits(("max abs", max_abs, 1e-6))
FIRST_NOISE = _limits(("max abs", max_abs, 5e-5))
NOISE = _limits(("max abs", max_abs, 5e-4), ("rel", rel_rms, 5e-5))
FINAL_LATENTS = _limits(("max abs", max_abs, 2e-3), ("rel", rel_rms, 5e-5))
IMAGE = _limits(("max abs", max_abs, 5e-5))
BYTES = _limits(("levels", max_abs, 1.0), ("share that differs", share_beyond(0), 0.005))

#: Single precision, by the stage's name.
FLOAT32 = {
    "token ids": EXACT,
    "time steps": EXACT,
    "point maps": EXACT,
    "latent mask": EXACT,
    "text embeddings": ENCODINGS,
    "clip pixels": ENCODINGS,
    "image embedding": ENCODINGS,
    "image tokens": ENCODINGS,
    "masked moments": MOMENTS,
    "source moments": MOMENTS,
    "masked latents": MOMENTS,
    "source latents": MOMENTS,
    "initial latents": MOMENTS,
    "reference latents": MOMENTS,
    "point embeddings": FEATURES,
    "reference features": FEATURES,
    "reference statistics": STATISTICS,
    "guidance scales": SCALES,
    "canvas": EXACT,
    "alpha bars": SCALES,
    "first noise": FIRST_NOISE,
    "all noise": NOISE,
    "step latents": FINAL_LATENTS,
    "final latents": FINAL_LATENTS,
    "image": IMAGE,
    "bytes": BYTES,
}


def _at_the_end(final_latents: float, levels: float) -> dict[str, tuple[Limit, ...]]:
    """Limits of an imprecise run: exact where no number is rounded, else on what comes out."""
    return {
        **dict.fromkeys(("token ids", "time steps", "point maps", "latent mask"), EXACT),
        "guidance scales": SCALES,
        "final latents": _limits(("rel", rel_rms, final_latents)),
        "bytes": _limits(("levels", max_abs, levels)),
    }


#: bfloat16 has three bits less than float16, for which the README states its limits: eight times.
LIMITS = {
    torch.float32: FLOAT32,
    torch.float16: _at_the_end(2e-2, 4),
    torch.bfloat16: _at_the_end(8 * 2e-2, 8 * 4),
}
