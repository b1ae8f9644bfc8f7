"""The one place where everything is put together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.accounts.store import AccountStore
from shared.db import Database
from shared.engines_up import EnginesUp
from shared.images.store import ImageStore
from shared.jobs.forecast import Forecasts
from shared.jobs.leases import LeaseStore
from shared.jobs.store import JobStore
from shared.jobs.upkeep import Upkeep
from shared.objects import FolderStore, ObjectStore
from shared.orphans import Orphans
from shared.queue import Wakeups

if TYPE_CHECKING:
    from shared.settings import Settings


@dataclass(frozen=True, slots=True)
class Services:
    """What the API and the workers share, each in its own process."""

    settings: Settings
    database: Database
    accounts: AccountStore
    images: ImageStore
    jobs: JobStore
    leases: LeaseStore
    upkeep: Upkeep
    engines_up: EnginesUp
    forecasts: Forecasts
    objects: ObjectStore
    orphans: Orphans
    wakeups: Wakeups


def build_services(settings: Settings) -> Services:
    """Connects to nothing yet: every server may still be down."""
    database = Database(settings.database)
    objects = _objects(settings)
    engines_up = EnginesUp(database, alive_s=settings.lease_s)
    return Services(
        settings=settings,
        database=database,
        accounts=AccountStore(database),
        images=ImageStore(database, retention_days=settings.image_retention_days),
        jobs=JobStore(database, result_retention_days=settings.result_retention_days),
        leases=LeaseStore(
            database,
            lease_s=settings.lease_s,
            result_retention_days=settings.result_retention_days,
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
        wakeups=Wakeups(settings.redis_url.get_secret_value(), window=settings.wakeup_window),
    )


def _objects(settings: Settings) -> ObjectStore:
    if not settings.s3_url:
        return FolderStore(settings.objects_folder)
    from shared.objects.s3 import S3Store  # boto3 is not everywhere, and takes its time

    return S3Store(settings)
