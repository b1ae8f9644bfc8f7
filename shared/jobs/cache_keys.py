"""When two jobs make the same pictures, as a value: a hash over all that decides them. No I/O.

Whose the job is, what its images hold (not their ids), the edit, and who makes it. Priority,
limits of time, webhook and metadata decide nothing. What an engine does not have is not in
its options, so it is not here either.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from shared.edits import MaskImage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shared.edits import JobSpec

SWITCH = "cache"  #: the option that turns it off; the others shape the pictures
LENGTH = hashlib.sha256().digest_size


@dataclass(frozen=True, slots=True)
class Contents:
    """What a job's images hold: the SHA-256 of each, as its row has it; None: no image."""

    image: str
    mask: str | None


@dataclass(frozen=True, slots=True)
class Maker:
    """Who makes a job's pictures: the engine's model, this software, and what it writes in them."""

    model_digest: str
    version: str
    provenance: str


def cache_key(account_id: str, spec: JobSpec, contents: Contents, maker: Maker) -> bytes | None:
    """Equal where the pictures are; None for a job that wants none of it."""
    options = dict(spec.options)
    if not options.pop(SWITCH, False):
        return None
    asked = spec.to_json()
    decides = {
        "account": account_id,
        "contents": asdict(contents),
        "mask": "image" if isinstance(spec.mask, MaskImage) else asked["mask"],
        "rounds": asked["rounds"] if "rounds" in asked else [asked["drags"]],
        "engine": spec.engine,
        "options": options,
        "maker": asdict(maker),
    }
    text = json.dumps(_plain(decides), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).digest()


def _plain(value: Any) -> Any:
    """Numbers alike, however they were written: 3 is 3.0, and 0 is -0."""
    if isinstance(value, dict):
        return _plain_parts(value)
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) + 0.0
    return value


def _plain_parts(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain(part) for name, part in value.items()}
