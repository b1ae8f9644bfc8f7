"""Jobs whose results may answer others, without an engine: for tests of the stores."""

from __future__ import annotations

from typing import Any

from shared.edits import JobSpec
from shared.jobs.cache_keys import Contents, cache_key
from shared.jobs.job import Job
from shared.jobs.state import JobState
from shared.objects import result_key
from shared.services import Services
from tests.factories import a_result, a_spec

DIGEST = "test-1"
PICTURE_BYTES = 700  #: of each picture of `a_kept_result`


def come_up(services: Services, digest: str = DIGEST, worker: str = "worker-1") -> None:
    """A worker says that it is alive."""
    services.engines_up.seen(worker, "warp", digest, 1)


def contents_of(services: Services, account_id: str, spec: JobSpec) -> Contents:
    """As a submission finds them."""
    mask = spec.mask_image
    return Contents(
        services.images.get(account_id, spec.image).sha256,
        services.images.get(account_id, mask).sha256 if mask else None,
    )


def submit(services: Services, account_id: str, image: str, **changes: Any) -> Job:
    """A submission whose seed was given."""
    beside = {name: changes.pop(name) for name in ("completion", "limits") if name in changes}
    metadata = changes.pop("metadata", {})
    spec = a_spec(image, **changes)
    contents = contents_of(services, account_id, spec)
    return services.jobs.submit(account_id, spec, metadata, contents=contents, **beside)


def finish(services: Services, job: Job, digest: str = DIGEST) -> Job:
    """The only queued job is run."""
    assert job.status is JobState.QUEUED
    done = run_next(services, digest)
    assert done is not None
    assert done.id == job.id
    return done


def run_next(services: Services, digest: str = DIGEST) -> Job | None:
    """A queued job is run: its pictures are stored, and recorded as a worker records them."""
    running = services.leases.claim_next("warp", "worker-1")
    if running is None:
        return None
    result = a_result(running)
    result["mask_key"] = result_key(running.account_id, running.id, running.attempt, "mask.png")
    keys = [*(candidate["key"] for candidate in result["candidates"]), result["mask_key"]]
    for key in keys:
        services.objects.put(key, key.encode().ljust(PICTURE_BYTES))
    contents = contents_of(services, running.account_id, running.spec)
    made_by = services.maker(digest)
    result |= {
        "model_digest": digest,
        "stored_bytes": PICTURE_BYTES * len(keys),
        "cache_key": cache_key(running.account_id, running.spec, contents, made_by),
    }
    assert services.leases.succeed(running, result, 1)
    return services.jobs.get(running.account_id, running.id)


def a_kept_result(services: Services, account_id: str, image: str, **changes: Any) -> Job:
    """A job that ran to its end, which may answer others from now on."""
    come_up(services)
    return finish(services, submit(services, account_id, image, **changes))
