"""Objects that no row points to and none ever will: found and deleted, a slice at a time.

Bytes are stored before the row that points to them, so whoever dies between the two leaves an
orphan. The storage is listed first, then the database is asked what is needed:

    images/<account>/<sha256>/<image>.<n>   the image's row names this very key
    staging/<account>/<image>               the image's row still waits for bytes
    results/<account>/<job>/<attempt>/...   the job's result names it, or that of a job which was
                                            answered from it; or this attempt runs
    batches/<account>/<batch>               the batch's row names it

The others go once they are older than the grace, and so does what a killed process left
half-written. That an account was deleted is known for as long, so that what turns up of it
later goes too. What has another form, or belongs to an account that this database does not
know, is somebody else's and stays. Why nothing that is needed can be taken:
`docs/decisions/0031-what-no-row-points-to.md`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import select, union_all

from shared.accounts.tables import accounts, deleted_accounts
from shared.batches.tables import batches
from shared.ids import id_form
from shared.images.tables import images
from shared.jobs.job import keys_in
from shared.jobs.pointers import shared_keys
from shared.jobs.state import JobState
from shared.jobs.tables import jobs
from shared.objects.keys import PREFIXES

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

    from shared.db import Database
    from shared.objects import ObjectStore, Stored

log = structlog.get_logger()

SLICE = 500  #: objects that one sweep looks at
REST_S = 3600.0  #: between the end of one walk through the storage and the next

_ACCOUNT, _IMAGE, _JOB, _BATCH = (
    f"(?P<{kind}>{id_form(kind)})" for kind in ("acc", "img", "job", "bat")
)
_FORMS = tuple(
    re.compile(form)
    for form in (
        rf"(?P<kind>images)/{_ACCOUNT}/[0-9a-f]{{64}}/{_IMAGE}\.[0-9a-f]+",
        rf"(?P<kind>staging)/{_ACCOUNT}/{_IMAGE}",
        rf"(?P<kind>batches)/{_ACCOUNT}/{_BATCH}",
        rf"(?P<kind>results)/{_ACCOUNT}/{_JOB}/(?P<attempt>[0-9]+)/[a-z0-9]+\.[a-z]+",
    )
)


@dataclass(frozen=True, slots=True)
class _Name:
    """A key of ours, taken apart; `id` is the row's that may point to it."""

    key: str
    kind: str
    account_id: str
    id: str
    attempt: int

    @classmethod
    def of(cls, key: str) -> _Name | None:
        """None for what we never stored."""
        for form in _FORMS:
            if found := form.fullmatch(key):
                part = found.groupdict()
                row_id = part.get("img") or part.get("job") or part.get("bat") or ""
                attempt = int(part.get("attempt") or 0)
                return cls(key, part["kind"], part["acc"], row_id, attempt)
        return None


class Orphans:
    """Walks through the storage, one slice a call; one thread at a time.

    Those of several processes may overlap.
    """

    def __init__(self, database: Database, objects: ObjectStore, *, grace_s: float) -> None:
        self._database = database
        self._objects = objects
        self._grace_s = grace_s
        self._cursor = (PREFIXES[0], "")
        self._rests_until = 0.0

    def collect(self) -> int:
        """Look at the next slice; how many objects were deleted."""
        if time.monotonic() < self._rests_until:
            return 0
        prefix, after = self._cursor
        found = self._objects.walk(prefix, after, SLICE)
        count = 0
        for key in self._not_needed([stored for stored in found if stored.age_s > self._grace_s]):
            self._cursor = (prefix, key)  # one that cannot be deleted does not hold up the rest
            self._objects.delete(key)
            log.info("orphan_deleted", key=key)
            count += 1
        self._move_on(prefix, found)
        return count

    def _move_on(self, prefix: str, found: list[Stored]) -> None:
        if found:
            self._cursor = (prefix, found[-1].key)
        elif prefix != PREFIXES[-1]:
            self._cursor = (PREFIXES[PREFIXES.index(prefix) + 1], "")
        else:
            self._cursor = (PREFIXES[0], "")
            self._rests_until = time.monotonic() + REST_S

    def _not_needed(self, old: list[Stored]) -> list[str]:
        """In their order."""
        names = [name for stored in old if (name := _Name.of(stored.key))]
        going = {stored.key for stored in old if stored.is_half_written}
        if names:
            with self._database.reading() as connection:
                ours = _known_accounts(connection, {name.account_id for name in names})
                names = [name for name in names if name.account_id in ours]
                needed = {
                    *_needed_images(connection, names),
                    *_needed_results(connection, names),
                    *_needed_streams(connection, names),
                }
            going |= {name.key for name in names} - needed
        return [stored.key for stored in old if stored.key in going]


def _known_accounts(connection: Connection, ids: Collection[str]) -> set[str]:
    """Those that are there, and those that were deleted."""
    known = union_all(
        *(select(table.c.id).where(table.c.id.in_(ids)) for table in (accounts, deleted_accounts))
    )
    return set(connection.scalars(known))


def _needed_images(connection: Connection, names: list[_Name]) -> Iterator[str]:
    those = [name for name in names if name.kind in ("images", "staging")]
    query = select(images.c.id, images.c.object_key)
    keys = {
        row.id: row.object_key
        for row in connection.execute(query.where(_is_of(images.c.id, those)))
    }
    for name in those:
        if name.id in keys and keys[name.id] == (name.key if name.kind == "images" else None):
            yield name.key


def _needed_results(connection: Connection, names: list[_Name]) -> Iterator[str]:
    those = [name for name in names if name.kind == "results"]
    query = select(jobs.c.id, jobs.c.status, jobs.c.attempt, jobs.c.result, jobs.c.pictures_gone_at)
    rows = {row.id: row for row in connection.execute(query.where(_is_of(jobs.c.id, those)))}
    own = {row.id: keys_in(row.result) for row in rows.values() if row.pictures_gone_at is None}
    for keys in own.values():
        yield from keys
    yield from shared_keys(connection, {name.id for name in those} - {of for of in own if own[of]})
    for name in those:
        job = rows.get(name.id)
        if job and job.status == JobState.RUNNING and job.attempt == name.attempt:
            yield name.key


def _needed_streams(connection: Connection, names: list[_Name]) -> Iterator[str]:
    those = [name for name in names if name.kind == "batches"]
    yield from connection.scalars(
        select(batches.c.object_key).where(
            _is_of(batches.c.id, those), batches.c.object_key.is_not(None)
        )
    )


def _is_of(column: ColumnElement[str], names: list[_Name]) -> ColumnElement[bool]:
    return column.in_({name.id for name in names})
