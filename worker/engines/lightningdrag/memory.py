"""About how much memory a candidate needs beside the weights, so that a batch can be bounded.

    kept        keys, values and shifts of every block (`conditioning.py`): counted
    in passing  what one call of the UNet holds at once: PASSING maps of the finest level

An estimate, on the safe side; what the device really has is found out by running out of it.
"""

from __future__ import annotations

from shared.canvas import LATENT_PX
from worker.engines.lightningdrag.batch import Shape
from worker.engines.lightningdrag.build import Model
from worker.engines.lightningdrag.config import BLOCKS

PASSING = 24


def row_bytes(model: Model, shape: Shape) -> int:
    """Bytes that one candidate adds to a batch of this shape."""
    halves = 2 if shape.guided else 1
    finest = (shape.height // LATENT_PX) * (shape.width // LATENT_PX)
    widths = model.networks.unet.config["block_out_channels"]
    kept = 0
    for block in BLOCKS:
        tokens, width = finest >> (2 * block.level), widths[block.level]
        kept += width * (tokens + 2 * halves * tokens)
    passing = PASSING * halves * finest * widths[0]
    return int((kept + passing) * model.dtype.itemsize)
