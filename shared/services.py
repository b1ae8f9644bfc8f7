"""The one place where everything is put together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared import __version__
from shared.accounts.deletion import AccountDeletion
from shared.accounts.limiter import Limiter
from shared.accounts.limits import LIMITS, Limits
from shared.accounts.store import AccountStore
from shared.audit.store import AuditLog
from shared.batches.store import BATCHES, BatchStore
from shared.batches.upkeep import BatchUpkeep
from shared.db import Database
from shared.engines_up import EnginesUp
from shared.idempotency.store import IdempotencyStore
from shared.images.known import KnownImages
from shared.images.store import ImageStore
from shared.jobs.cache_keys import Maker
from shared.jobs.forecast import Forecasts
from shared.jobs.history import HistoryStore
from shared.jobs.leases import LeaseStore
from shared.jobs.store import JobStore
from shared.jobs.upkeep import Upkeep
from shared.objects import FolderStore, ObjectStore
from shared.orphans import Orphans
from shared.queue import Wakeups
from shared.webhooks.deliveries import DeliveryStore
from shared.webhooks.dispatch import Dispatch
from shared.webhooks.endpoints import EndpointStore
from shared.webhooks.outbox import DELIVERIES
from shared.webhooks.sealing import Sealer
from shared.webhooks.targets import TargetRules
from shared.webhooks.upkeep import DeliveryUpkeep

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.settings import Settings


@dataclass(frozen=True, slots=True)
class Webhooks:
    """Endpoints and what is sent to them: for owners, for workers, for the sweep."""

    endpoints: EndpointStore
    deliveries: DeliveryStore
    dispatch: Dispatch
    upkeep: DeliveryUpkeep
    rules: TargetRules


@dataclass(frozen=True, slots=True)
class Services:
    """What the API and the workers share, each in its own process."""

    settings: Settings
    database: Database
    accounts: AccountStore
    account_deletion: AccountDeletion
    audit_log: AuditLog
    idempotency: IdempotencyStore
    limiter: Limiter
    images: ImageStore
    known_images: KnownImages
    batches: BatchStore
    batch_upkeep: BatchUpkeep
    jobs: JobStore
    histories: HistoryStore
    leases: LeaseStore
    upkeep: Upkeep
    engines_up: EnginesUp
    forecasts: Forecasts
    objects: ObjectStore
    orphans: Orphans
    wakeups: Wakeups
    webhooks: Webhooks

    def maker(self, model_digest: str) -> Maker:
        """Who makes pictures here with this model."""
        return maker_here(self.settings, model_digest)


def maker_here(settings: Settings, model_digest: str) -> Maker:
    """What decides of pictures, beside the edit: model, software, and what is written in them."""
    return Maker(model_digest, __version__, settings.provenance)


def build_services(settings: Settings) -> Services:
    """Connects to nothing yet: every server may still be down."""
    database = Database(settings.database, prepares=settings.database_prepares)
    objects = _objects(settings)
    engines_up = EnginesUp(database, alive_s=settings.lease_s)
    limits = Limits.of({name: getattr(settings, f"limit_{name}") for name in LIMITS})
    wakeups = Wakeups(settings.redis_url.get_secret_value(), window=settings.wakeup_window)
    maker_of = _maker_of(settings, engines_up)
    database.after_commit(DELIVERIES, wakeups.send_deliverer)
    database.after_commit(BATCHES, wakeups.send_tender)
    images = ImageStore(database, retention_days=settings.image_retention_days, defaults=limits)
    return Services(
        settings=settings,
        database=database,
        accounts=AccountStore(database, defaults=limits),
        account_deletion=AccountDeletion(
            database, objects, orphan_grace_s=settings.orphan_grace_hours * 3600
        ),
        audit_log=AuditLog(database, retention_days=settings.audit_retention_days),
        idempotency=IdempotencyStore(database),
        limiter=Limiter(settings.redis_url.get_secret_value()),
        images=images,
        known_images=KnownImages(images),
        batches=BatchStore(
            database, result_retention_days=settings.result_retention_days, defaults=limits
        ),
        batch_upkeep=BatchUpkeep(
            database,
            window=settings.batch_window,
            lease_s=settings.lease_s,
            retention_days=settings.job_retention_days,
            result_retention_days=settings.result_retention_days,
            defaults=limits,
            maker_of=maker_of,
        ),
        jobs=JobStore(
            database,
            result_retention_days=settings.result_retention_days,
            defaults=limits,
            maker_of=maker_of,
        ),
        histories=HistoryStore(database),
        leases=LeaseStore(
            database,
            lease_s=settings.lease_s,
            result_retention_days=settings.result_retention_days,
            defaults=limits,
        ),
        upkeep=Upkeep(
            database,
            max_losses=settings.max_losses,
            result_retention_days=settings.result_retention_days,
            job_retention_days=settings.job_retention_days,
            lease_s=settings.lease_s,
        ),
        engines_up=engines_up,
        forecasts=Forecasts(database, engines_up),
        objects=objects,
        orphans=Orphans(database, objects, grace_s=settings.orphan_grace_hours * 3600),
        wakeups=wakeups,
        webhooks=_webhooks(settings, database),
    )


def _maker_of(settings: Settings, engines_up: EnginesUp) -> Callable[[str], Maker | None]:
    """Who would make an engine's pictures now; None where no earlier result may stand for them."""

    def maker_of(engine: str) -> Maker | None:
        digest = engines_up.model_of(engine) if settings.result_cache == "on" else None
        return None if digest is None else maker_here(settings, digest)

    return maker_of


def _webhooks(settings: Settings, database: Database) -> Webhooks:
    sealer = Sealer(settings.secret_key.get_secret_value())
    scale = settings.webhook_time_scale
    return Webhooks(
        endpoints=EndpointStore(
            database,
            sealer,
            max_endpoints=settings.webhook_max_endpoints,
            rotation_hours=settings.webhook_rotation_hours,
        ),
        deliveries=DeliveryStore(database),
        dispatch=Dispatch(database, sealer, timeout_s=settings.webhook_timeout_s, time_scale=scale),
        upkeep=DeliveryUpkeep(
            database, time_scale=scale, retention_days=settings.webhook_retention_days
        ),
        rules=TargetRules.of(
            settings.webhook_allow_http, settings.webhook_ports, settings.webhook_networks
        ),
    )


def _objects(settings: Settings) -> ObjectStore:
    if not settings.s3_url:
        return FolderStore(settings.objects_folder)
    from shared.objects.s3 import S3Store  # boto3 is not everywhere, and takes its time

    return S3Store(settings)
