"""How far from the authors' recorded numbers a stage may be: section 6 of the golden README."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Finding:
    """A deviation under one measure, and what it may be at most."""

    measure: str
    deviation: float
    at_most: float

    @property
    def holds(self) -> bool:
        return self.deviation <= self.at_most

    @property
    def badness(self) -> tuple[bool, float]:
        """The greater, the worse; what is no number is worse than any."""
        return math.isnan(self.deviation), self.deviation - self.at_most

    def __str__(self) -> str:
        return f"{self.measure} {self.deviation:.1e} of {self.at_most:.1e}"


Limit = Callable[[Tensor, Tensor], Finding]  #: found and wanted, of one shape


def max_abs(at_most: float, name: str = "max abs") -> Limit:
    """On the largest deviation."""
    return lambda found, wanted: Finding(
        name, float((found - wanted).abs().max()) if wanted.numel() else 0.0, at_most
    )


def rel(at_most: float) -> Limit:
    """On the RMS of the deviation divided by the RMS of the value."""

    def measure(found: Tensor, wanted: Tensor) -> Finding:
        of_deviation, of_value = (t.pow(2).mean().sqrt() for t in (found - wanted, wanted))
        return Finding("rel", float(of_deviation / of_value if of_value else of_deviation), at_most)

    return measure


def close(rtol: float, atol: float) -> Limit:
    """On each deviation: `atol` and `rtol` times the value. What is shown is the worst one's."""

    def measure(found: Tensor, wanted: Tensor) -> Finding:
        deviation, at_most = (found - wanted).abs(), atol + rtol * wanted.abs()
        worst = (deviation - at_most).argmax()
        return Finding(
            "max abs", float(deviation.flatten()[worst]), float(at_most.flatten()[worst])
        )

    return measure


def share_that_differs(at_most: float) -> Limit:
    """On the share of values that are not the same."""
    return lambda found, wanted: Finding(
        "share that differs", float((found != wanted).double().mean()), at_most
    )


EXACT = (max_abs(0.0),)
ENCODINGS = (close(1e-4, 2e-5),)
MOMENTS = (close(1e-4, 1e-4), rel(1e-5))
FEATURES = (close(1e-4, 5e-5), rel(1e-5))
STATISTICS = (close(1e-4, 5e-5),)
SCALES = (max_abs(1e-6),)
FIRST_NOISE = (max_abs(5e-5),)
NOISE = (max_abs(5e-4), rel(5e-5))
FINAL_LATENTS = (max_abs(2e-3), rel(5e-5))
IMAGE = (max_abs(5e-5),)
BYTES = (max_abs(1.0, "levels"), share_that_differs(0.005))

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
        "final latents": (rel(final_latents),),
        "bytes": (max_abs(levels, "levels"),),
    }


#: bfloat16 has three bits less than float16, for which the README states its limits: eight times.
LIMITS = {
    torch.float32: FLOAT32,
    torch.float16: _at_the_end(2e-2, 4),
    torch.bfloat16: _at_the_end(8 * 2e-2, 8 * 4),
}
