"""The end of an account: its rows and its objects, for good.

    begin     no key opens it any more, nothing new is taken, nothing is sent to its webhooks
    slices    its batches, jobs, images and audit entries, some hundreds in a transaction
    objects   everything under its prefixes, whether a row pointed to it or not
    end       the account itself, and with it whatever else is its own (`ON DELETE CASCADE`)

Killed anywhere, the same command goes on where it stopped. A worker that runs a job of the
account finds its lease lost at the next heartbeat, stops, and takes its pictures away; one that
dies with them leaves orphans, which are collected since `deleted_accounts` remembers the id
(and nothing else) for longer than an orphan may stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import delete, exists, insert, select, update

from shared.accounts.tables import accounts, api_keys, deleted_accounts
from shared.audit.tables import audit_log
from shared.audit.trail import note
from shared.batches.rows import delete_items
from shared.batches.tables import batch_items, batches
from shared.db import now_ms
from shared.errors import NotFound
from shared.images.tables import images
from shared.jobs.tables import jobs
from shared.objects.keys import PREFIXES
from shared.webhooks.endpoint import DisabledBy
from shared.webhooks.tables import webhook_deliveries, webhook_endpoints

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Table

    from shared.db import Database
    from shared.objects import ObjectStore

GRACES = 10  #: of an orphan, for which a deleted account is remembered: its pictures go meanwhile
SLICE = 500  #: rows of one transaction, objects of one listing


@dataclass(slots=True)
class Removed:
    """What one run of a deletion took away; bytes are those that were counted for the rows."""

    keys: int = 0
    batches: int = 0
    jobs: int = 0
    images: int = 0
    deliveries: int = 0
    endpoints: int = 0
    audit_entries: int = 0
    objects: int = 0
    stored_bytes: int = 0


class AccountDeletion:
    """Deletes accounts; safe to be run twice, also at once."""

    def __init__(self, database: Database, objects: ObjectStore, *, orphan_grace_s: float) -> None:
        self._database = database
        self._remembered_ms = int(GRACES * orphan_grace_s * 1000)
        self._objects = objects

    def delete(self, name: str, tell: Callable[[Removed], None] = lambda _: None) -> Removed:
        """Remove the account of this name and all that is its own; `NotFound`.

        `tell` is called after each slice.
        """
        removed = Removed()
        account_id = self._begin(name, removed)
        self._disable_endpoints(account_id)
        while True:
            for step in (
                self._delete_deliveries,
                self._delete_batches,
                self._delete_jobs,
                self._delete_images,
                self._delete_entries,
            ):
                while step(account_id, removed):
                    tell(removed)
            for prefix in PREFIXES:
                while self._delete_objects(f"{prefix}{account_id}/", removed):
                    tell(removed)
            if self._end(account_id, removed):
                return removed

    def forget_old(self) -> None:
        """The ids of accounts that are long gone."""
        with self._database.writing() as connection:
            old = deleted_accounts.c.deleted_at < now_ms() - self._remembered_ms
            connection.execute(delete(deleted_accounts).where(old))

    def _begin(self, name: str, removed: Removed) -> str:
        with self._database.writing() as connection:
            this = accounts.c.name == name
            account_id = connection.scalar(select(accounts.c.id).where(this).with_for_update())
            if account_id is None:
                raise NotFound("There is no such account.")
            begun = connection.execute(
                update(accounts)
                .where(accounts.c.id == account_id, accounts.c.deleting_at.is_(None))
                .values(deleting_at=now_ms())
            )
            if begun.rowcount:
                note(connection, account_id, "account.deletion_begun", account_id)
            mine = api_keys.c.account_id == account_id
            removed.keys += connection.execute(delete(api_keys).where(mine)).rowcount
        return str(account_id)

    def _disable_endpoints(self, account_id: str) -> None:
        """So that nothing is promised to them any more.

        Workers send nothing for the account from `_begin` on (`webhooks/dispatch.py`). This is
        a transaction of its own: whoever settles a delivery holds endpoints before accounts.
        """
        mine = webhook_endpoints.c.account_id == account_id
        enabled = select(webhook_endpoints.c.id).where(
            mine, webhook_endpoints.c.disabled_at.is_(None)
        )
        with self._database.writing() as connection:
            ids = connection.scalars(
                enabled.order_by(webhook_endpoints.c.id).with_for_update(key_share=True)
            ).all()
            connection.execute(
                update(webhook_endpoints)
                .where(webhook_endpoints.c.id.in_(ids))
                .values(disabled_at=now_ms(), disabled_reason=DisabledBy.OWNER.value)
            )

    def _delete_deliveries(self, account_id: str, removed: Removed) -> int:
        """Endpoints, of which there are few, go with the account."""
        count, _ = self._delete_slice(webhook_deliveries, account_id)
        removed.deliveries += count
        return count

    def _delete_batches(self, account_id: str, removed: Removed) -> int:
        """Their items first, some hundreds in a transaction."""
        mine = select(batches.c.id).where(batches.c.account_id == account_id)
        with self._database.writing() as connection:
            count = delete_items(connection, SLICE, batch_items.c.batch_id.in_(mine))
        if count:
            return count
        count, _ = self._delete_slice(batches, account_id)
        removed.batches += count
        return count

    def _delete_jobs(self, account_id: str, removed: Removed) -> int:
        count, size_bytes = self._delete_slice(jobs, account_id)
        removed.jobs += count
        removed.stored_bytes += size_bytes
        return count

    def _delete_images(self, account_id: str, removed: Removed) -> int:
        count, size_bytes = self._delete_slice(images, account_id)
        removed.images += count
        removed.stored_bytes += size_bytes
        return count

    def _delete_entries(self, account_id: str, removed: Removed) -> int:
        count, _ = self._delete_slice(audit_log, account_id)
        removed.audit_entries += count
        return count

    def _delete_slice(self, table: Table, account_id: str) -> tuple[int, int]:
        """How many rows went, and how many bytes they stood for."""
        size = {jobs: jobs.c.stored_bytes, images: images.c.size_bytes}.get(table)
        mine = select(table.c.id).where(table.c.account_id == account_id).limit(SLICE)
        mine = mine.with_for_update(skip_locked=True)
        returned = table.c.id if size is None else size
        with self._database.writing() as connection:
            gone = connection.execute(
                delete(table).where(table.c.id.in_(mine)).returning(returned)
            ).all()
        return len(gone), 0 if size is None else sum(row[0] or 0 for row in gone)

    def _delete_objects(self, prefix: str, removed: Removed) -> int:
        found = self._objects.walk(prefix, "", SLICE)
        for stored in found:
            self._objects.delete(stored.key)
        removed.objects += len(found)
        return len(found)

    def _end(self, account_id: str, removed: Removed) -> bool:
        """False if something came in while the rest went: a request that had begun before."""
        with self._database.writing() as connection:
            this = select(accounts.c.id).where(accounts.c.id == account_id)
            if connection.execute(this.with_for_update()).first() is None:
                return True  # a rival ended it
            for table in (batches, jobs, images):
                if connection.scalar(select(exists().where(table.c.account_id == account_id))):
                    return False
            connection.execute(delete(audit_log).where(audit_log.c.account_id == account_id))
            theirs = webhook_endpoints.c.account_id == account_id
            removed.endpoints += connection.execute(
                delete(webhook_endpoints).where(theirs)
            ).rowcount
            connection.execute(delete(accounts).where(accounts.c.id == account_id))
            connection.execute(insert(deleted_accounts).values(id=account_id, deleted_at=now_ms()))
            counts = {name: getattr(removed, name) for name in Removed.__slots__}
            note(connection, account_id, "account.deleted", account_id, **counts)
        return True
