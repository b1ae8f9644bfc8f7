"""Between object storage and an engine: fetch and decode before, encode and store after."""

from __future__ import annotations

import hashlib
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from shared import __version__
from shared.engines import ENGINES
from shared.errors import NotFound, StorageUnavailable
from shared.imaging import decode, decode_mask, encode, encode_mask
from shared.jobs.cache_keys import Contents
from shared.masks import drawn
from shared.objects import MASK_NAME, candidate_name, result_key
from shared.provenance import xmp_packet
from shared.telemetry.tracing import span
from worker.engines.base import Candidate, Edit, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from shared.jobs.job import Job
    from shared.services import Services


@dataclass(slots=True)
class Clock:
    """Milliseconds of the steps of a run; each is a part of the job's trace."""

    laps: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """What is done in the block, as `NAME_ms`."""
        began = time.monotonic()
        with span(name):
            yield
        self.laps[f"{name}_ms"] = round((time.monotonic() - began) * 1000, 1)


def load_edit(job: Job, services: Services) -> tuple[Edit, Contents]:
    """Fetch and decode what the job needs, and make its mask; what its images held."""
    data, sha256 = _fetch(job.spec.image, job, services)
    picture = decode(data, **_limits(services))
    mask_HW, mask_sha256 = _mask(job, picture.width, picture.height, services)
    edit = Edit(
        picture_HWC=picture.pixels_HWC,
        mask_HW=mask_HW,
        rounds=job.spec.rounds,
        seed=job.spec.options["seed"],
        candidates=job.spec.options["candidates"],
        options=job.spec.options,
    )
    return edit, Contents(sha256, mask_sha256)


def _mask(
    job: Job, width: int, height: int, services: Services
) -> tuple[NDArray[np.bool_], str | None]:
    mask_HW = drawn(job.spec.mask, job.spec.rounds, width, height)
    if mask_HW is not None:
        return mask_HW, None
    data, sha256 = _fetch(job.spec.mask_image or "", job, services)
    return decode_mask(data, **_limits(services)), sha256


def _limits(services: Services) -> dict[str, int]:
    """What was accepted by the API's limits is decoded under the same ones."""
    settings = services.settings
    return {"max_bytes": settings.max_image_bytes, "max_pixels": settings.max_image_pixels}


def _fetch(image_id: str, job: Job, services: Services) -> tuple[bytes, str]:
    """The bytes, and their SHA-256."""
    try:
        image = services.known_images.get(job.account_id, image_id)
        return services.objects.get(image.object_key or ""), image.sha256
    except NotFound:
        raise StorageUnavailable(f"The bytes of {image_id} are not in object storage.") from None


def store_result(job: Job, edit: Edit, outcome: Outcome, services: Services) -> dict[str, Any]:
    """Store every candidate under this attempt's own names; the job's result, less its timings."""
    stored = [
        _store_candidate(job, index, candidate, services)
        for index, candidate in enumerate(outcome.candidates)
    ]
    candidates = [candidate for candidate, _ in stored]
    stored_bytes = sum(size_bytes for _, size_bytes in stored)
    mask_key = None
    if job.spec.mask is None:
        mask_key = result_key(job.account_id, job.id, job.attempt, MASK_NAME)
        mask = encode_mask(edit.mask_HW)
        services.objects.put(mask_key, mask)
        stored_bytes += len(mask)
    return {
        "candidates": candidates,
        "engine": job.spec.engine,
        "warnings": [{"code": w.code, "detail": w.detail} for w in outcome.warnings],
        "cached": False,
        "mask_key": mask_key,
        "stored_bytes": stored_bytes,
    }


def _store_candidate(
    job: Job, index: int, candidate: Candidate, services: Services
) -> tuple[dict[str, Any], int]:
    """What the result says of it, and its bytes."""
    form = job.spec.options["format"]
    data = encode(candidate.picture_HWC, form, _provenance(job, services))
    key = result_key(job.account_id, job.id, job.attempt, candidate_name(index, form))
    services.objects.put(key, data)
    height, width = candidate.picture_HWC.shape[:2]
    said = {
        "index": index,
        "seed": candidate.seed,
        "key": key,
        "sha256": hashlib.sha256(data).hexdigest(),
        "width": width,
        "height": height,
    }
    return said, len(data)


def _provenance(job: Job, services: Services) -> bytes | None:
    if services.settings.provenance == "off":
        return None
    return xmp_packet(
        engine_trained=ENGINES[job.spec.engine].is_trained,
        software="Towline",
        version=__version__,
        job_id=job.id,
    )


def discard_result(result: dict[str, Any], services: Services) -> None:
    """Remove what an attempt stored that may not be recorded any more."""
    keys = [candidate["key"] for candidate in result["candidates"]]
    for key in filter(None, [*keys, result["mask_key"]]):
        services.objects.delete(key)
