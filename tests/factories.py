"""Makes accounts, images, specs and jobs; whatever a test does not name has a sane value."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import select, update

from shared.accounts.tables import api_keys, deleted_accounts
from shared.audit.tables import audit_log
from shared.batches.tables import batches
from shared.db import metadata
from shared.edits import Drag, JobSpec, Point
from shared.idempotency.tables import idempotency_keys
from shared.images.store import Facts, Image
from shared.images.tables import images
from shared.imaging import encode
from shared.jobs.tables import job_events, jobs, workers
from shared.objects import image_key
from shared.webhooks.tables import (
    webhook_attempts,
    webhook_deliveries,
    webhook_endpoints,
    webhook_secrets,
)
from tests.planted import WEBHOOK_SECRET

if TYPE_CHECKING:
    from shared.db import Database
    from shared.jobs.job import Job
    from shared.services import Services
    from shared.webhooks.endpoint import Endpoint

OPTIONS: dict[str, Any] = {
    "candidates": 1,
    "seed": 42,
    "quality": "full",
    "strict": False,
    "output": "composite",
    "format": "png",
    "cache": True,
}
DRAG = Drag(Point(20, 20), Point(28, 20))
CLOCKS = {
    jobs: ("lease_until", "run_after", "created_at", "started_at", "claimed_at", "deadline_at",
           "finished_at", "expires_at", "retain_until", "cancel_requested_at", "pictures_gone_at",
           "forecast_at"),
    images: ("created_at", "expires_at"),
    batches: ("tended_at", "tended_until", "created_at", "accepted_at", "cancel_requested_at",
              "finished_at"),
    workers: ("seen_at",),
    idempotency_keys: ("expires_at",),
    api_keys: ("created_at", "expires_at", "last_used_at"),
    audit_log: ("created_at",),
    deleted_accounts: ("deleted_at",),
    webhook_deliveries: ("next_at", "lease_until", "created_at", "asked_at", "finished_at"),
    webhook_endpoints: ("previous_until", "disabled_at", "failing_since", "created_at"),
    webhook_secrets: ("previous_until", "created_at"),
    webhook_attempts: ("at",),
}  # fmt: skip

HOOK = "https://hooks.example/towline"

_numbers = count(1)


def a_spec(image: str = "img_" + "0" * 32, **changes: Any) -> JobSpec:
    """One drag of eight pixels on `warp`; `options` are added to the defaults."""
    options = OPTIONS | changes.pop("options", {})
    values = {"mask": None, "rounds": ((DRAG,),), "engine": "warp", **changes}
    return JobSpec(image=image, options=options, **values)


def a_picture(width: int = 64, height: int = 48, seed: int = 0) -> bytes:
    """A PNG of noise."""
    pixels_HWC = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return encode(pixels_HWC, "png", None)


@dataclass(frozen=True)
class Factory:
    """Puts things into the services of a test."""

    services: Services

    def account(self) -> str:
        """A fresh account's id."""
        key = self.services.accounts.create_key(f"account {next(_numbers)}")
        account_id = self.services.accounts.account_of(key.text)
        assert account_id is not None
        return account_id

    def image(self, account_id: str, *, is_stored: bool = False, **facts: Any) -> Image:
        """An image with bytes of its own: a row, and with `is_stored` its object."""
        data = a_picture(seed=next(_numbers)) if is_stored else str(next(_numbers)).encode()
        sha256 = hashlib.sha256(data).hexdigest()
        values = {
            "sha256": sha256, "content_type": "image/png", "size_bytes": len(data),
            "width": 64, "height": 48, "has_alpha": False, **facts,
        }  # fmt: skip
        image_id = f"img_{next(_numbers):032x}"
        key = image_key(account_id, values["sha256"], image_id)
        if is_stored:
            self.services.objects.put(key, data)
        return self.services.images.add(account_id, image_id, key, Facts(**values))[0]

    def job(
        self,
        account_id: str | None = None,
        metadata: dict[str, str] | None = None,
        *,
        is_stored: bool = False,
        **spec: Any,
    ) -> Job:
        """A queued job, of an account and with an image of its own unless they are named."""
        account_id = account_id or self.account()
        if "image" not in spec:
            spec["image"] = self.image(account_id, is_stored=is_stored).id
        return self.services.jobs.submit(account_id, a_spec(**spec), metadata or {})

    def endpoint(self, account_id: str, *events: str, url: str = HOOK, **given: Any) -> Endpoint:
        """A webhook endpoint that wants these events, or all; its secret is the planted one."""
        values = {"events": events or ("*",), "description": "", "disabled": False, **given}
        store = self.services.webhooks.endpoints
        endpoint, _ = store.create(account_id, url=url, **values)
        sealed = store._sealer.seal(WEBHOOK_SECRET, endpoint.id)
        this = update(webhook_endpoints).where(webhook_endpoints.c.id == endpoint.id)
        with self.services.database.writing() as connection:
            connection.execute(this.values(secret=sealed))
        return endpoint

    def ended(self, account_id: str | None = None, **spec: Any) -> Job:
        """A job that has succeeded."""
        job = self.running(account_id, **spec)
        assert self.services.leases.succeed(job, a_result(job))
        return self.services.jobs.get(job.account_id, job.id)

    def running(self, account_id: str | None = None, **spec: Any) -> Job:
        """A job of the only account with work, claimed by a worker."""
        self.job(account_id, **spec)
        job = self.services.leases.claim_next(spec.get("engine", "warp"), "worker")
        assert job is not None
        return job


def a_result(job: Job, *names: str) -> dict[str, Any]:
    """What a worker would record; by default one candidate."""
    return {
        "candidates": [
            {"index": i, "seed": i, "sha256": "0" * 64, "width": 64, "height": 48,
             "key": f"results/{job.account_id}/{job.id}/{job.attempt}/{name}"}
            for i, name in enumerate(names or ["0.png"])
        ],
        "engine": job.spec.engine,
        "model_digest": "test-1",
        "warnings": [],
        "cached": False,
        "mask_key": None,
        "timings": {"fetch_ms": 1.0, "run_ms": 2.0, "store_ms": 3.0},
    }  # fmt: skip


def let_pass(database: Database, seconds: float) -> None:
    """As if so much time had passed: every time that was written lies further back."""
    with database.writing() as connection:
        for table, names in CLOCKS.items():
            earlier = {name: table.c[name] - int(seconds * 1000) for name in names}
            connection.execute(update(table).values(earlier))


def row_of(database: Database, job_id: str) -> dict[str, Any]:
    """The whole row of a job, as it is stored."""
    with database.reading() as connection:
        return dict(connection.execute(select(jobs).where(jobs.c.id == job_id)).one()._mapping)


def rows_that_name(database: Database, text: str) -> dict[str, int]:
    """How many rows of each table hold a text, wherever; those that hold none are left out."""
    found = {}
    with database.reading() as connection:
        for table in metadata.sorted_tables:
            held = sum(text in repr(tuple(row)) for row in connection.execute(select(table)))
            if held:
                found[table.name] = held
    return found


def history(database: Database, job_id: str) -> list[str]:
    """The states that a job's events say it was in, the oldest first."""
    query = select(job_events.c.data).where(job_events.c.job_id == job_id).order_by(job_events.c.id)
    with database.reading() as connection:
        return [row.data["status"] for row in connection.execute(query)]
