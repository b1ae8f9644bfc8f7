"""Images of an account: one row for each content, whose object belongs to that row alone.

An object's name is fresh each time bytes are stored, so that deleting one row can never
take the bytes from under another, whatever happens between the two.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, delete, exists, or_, select, update

from shared.accounts.limits import UNLIMITED, Limits
from shared.accounts.quotas import hold_account, limits_of, require_room_for_bytes
from shared.accounts.usage import STORED_BYTES, add_usage
from shared.audit.trail import note
from shared.batches.tables import OF_ACTIVE, WAIT_FOR, WAITING
from shared.db import insert_unless_there, now_ms, planned_once
from shared.errors import ImageInUse, NotFound
from shared.ids import new_id
from shared.images.tables import images
from shared.jobs.tables import ACTIVE, jobs

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Row

    from shared.db import Database
    from shared.idempotency.claims import Completion

SLICE = 200


@dataclass(frozen=True, slots=True)
class Image:
    """A row of `images`. `object_key`, sizes and alpha are None until the bytes are here."""

    id: str
    account_id: str
    sha256: str
    content_type: str
    size_bytes: int
    object_key: str | None
    width: int | None
    height: int | None
    has_alpha: bool | None
    created_at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class Facts:
    """What decoding found."""

    sha256: str
    content_type: str
    size_bytes: int
    width: int
    height: int
    has_alpha: bool


class ImageStore:
    """Pictures and masks, addressed by their content."""

    def __init__(
        self, database: Database, *, retention_days: float, defaults: Limits = UNLIMITED
    ) -> None:
        self._database = database
        self._defaults = defaults
        self._retention_ms = int(retention_days * 86_400_000)

    def announce(
        self,
        account_id: str,
        *,
        sha256: str,
        content_type: str,
        size_bytes: int,
        completion: Completion | None = None,
    ) -> tuple[Image, bool]:
        """The row for bytes that will come; True when it was made now.

        `StorageFull` if there is no room for them; they count from now on.
        """
        values = {"sha256": sha256, "content_type": content_type, "size_bytes": size_bytes}
        with self._database.writing() as connection:
            limits = hold_account(connection, account_id, self._defaults)
            image, is_new = self._insert_or_renew(connection, account_id, new_id("img"), **values)
            note(connection, account_id, "image.announced", image.id, size_bytes=size_bytes)
            if image.object_key is None or is_new:
                before_bytes = 0 if is_new else image.size_bytes
                if not is_new:
                    image = _change(connection, image, values)  # announced last is what will come
                _take_room(connection, account_id, limits, size_bytes - before_bytes)
            if completion is not None:
                completion(connection, image.id, is_new)
        return image, is_new

    def add(
        self,
        account_id: str,
        image_id: str,
        object_key: str,
        facts: Facts,
        completion: Completion | None = None,
    ) -> tuple[Image, bool]:
        """Record stored bytes as this account's image; False when it had the same bytes before.

        The image in the answer may then be another one, and `object_key` is nobody's.
        `StorageFull` if there is no room for the bytes. `completion` writes in the same
        transaction what an idempotency key made.
        """
        found = {
            "object_key": object_key,
            "content_type": facts.content_type,
            "size_bytes": facts.size_bytes,
            "width": facts.width,
            "height": facts.height,
            "has_alpha": facts.has_alpha,
        }
        with self._database.writing() as connection:
            limits = hold_account(connection, account_id, self._defaults)
            image, is_new = self._insert_or_renew(
                connection, account_id, image_id, sha256=facts.sha256, **found
            )
            was_there = not is_new and image.object_key is not None
            if not was_there:
                before_bytes = 0 if is_new else image.size_bytes
                if not is_new:
                    image = _change(connection, image, found)
                note(connection, account_id, "image.created", image.id, size_bytes=facts.size_bytes)
                _take_room(connection, account_id, limits, facts.size_bytes - before_bytes)
            if completion is not None:
                completion(connection, image.id, not was_there)
        return image, not was_there

    def require_room(self, account_id: str, size_bytes: int) -> None:
        """`StorageFull` before anything is done for nothing; `add` asks again, for certain."""
        with self._database.reading() as connection:
            limits = limits_of(connection, account_id, self._defaults)
            require_room_for_bytes(connection, account_id, limits, size_bytes)

    def get(self, account_id: str, image_id: str) -> Image:
        """The image; `NotFound`."""
        with self._database.reading_at_once() as connection:
            row = connection.execute(_ONE, {"image_id": image_id, "account_id": account_id}).first()
        return _image_of(row, image_id)

    def find(self, account_id: str, sha256: str) -> Image | None:
        """This account's image with this content, kept for as long again."""
        with self._database.writing() as connection:
            image = self._renew(connection, account_id, sha256)
            if image is not None and image.object_key is not None:
                note(connection, account_id, "image.renewed", image.id)
            return image

    def delete(self, account_id: str, image_id: str) -> Image:
        """Forget the image; what it was, so that its object can go too. `ImageInUse`."""
        with self._database.writing() as connection:
            asked = {"image_id": image_id, "account_id": account_id}
            image = _image_of(connection.execute(_ONE_HELD, asked).first(), image_id)
            if connection.scalar(select(_is_needed(image_id))):
                raise ImageInUse(f"A job that has not ended needs {image_id}.")
            connection.execute(delete(images).where(images.c.id == image_id))
            note(connection, account_id, "image.deleted", image_id)
            add_usage(connection, account_id, STORED_BYTES, -image.size_bytes)
        return image

    def forget_expired(self) -> list[Image]:
        """Delete the rows of images past their time that no active job needs."""
        due = (images.c.expires_at < now_ms(), ~_is_needed(images.c.id))
        with self._database.writing() as connection:
            query = select(images.c.id).where(*due).limit(SLICE)
            ids = connection.scalars(query.with_for_update(skip_locked=True)).all()
            # Again, now that they are held: a job may have been promised one meanwhile.
            rows = connection.execute(
                delete(images).where(images.c.id.in_(ids), *due).returning(*images.c)
            ).all()
            gone = [_image(row) for row in rows]
            freed: Counter[str] = Counter()
            for image in gone:
                freed[image.account_id] += image.size_bytes
            for account_id, size_bytes in sorted(freed.items()):  # always in one order
                add_usage(connection, account_id, STORED_BYTES, -size_bytes)
        return gone

    def _renew(self, connection: Connection, account_id: str, sha256: str) -> Image | None:
        row = connection.execute(
            update(images)
            .where(images.c.account_id == account_id, images.c.sha256 == sha256)
            .values(expires_at=now_ms() + self._retention_ms)
            .returning(*images.c)
        ).first()
        return None if row is None else _image(row)

    def _insert_or_renew(
        self, connection: Connection, account_id: str, image_id: str, **values: Any
    ) -> tuple[Image, bool]:
        """A new row, or the one that the account has for this content; True if it is new."""
        while True:  # on PostgreSQL a row that was in the way may be gone again
            row = connection.execute(
                insert_unless_there(connection, images)
                .values(
                    id=image_id,
                    account_id=account_id,
                    created_at=now_ms(),
                    expires_at=now_ms() + self._retention_ms,
                    **values,
                )
                .on_conflict_do_nothing(index_elements=["account_id", "sha256"])
                .returning(*images.c)
            ).first()
            if row is not None:
                return _image(row), True
            image = self._renew(connection, account_id, values["sha256"])
            if image is not None:
                return image, False


def _take_room(connection: Connection, account_id: str, limits: Limits, size_bytes: int) -> None:
    """Count so many bytes more, or fewer; `StorageFull`."""
    if size_bytes > 0:
        require_room_for_bytes(connection, account_id, limits, size_bytes)
    add_usage(connection, account_id, STORED_BYTES, size_bytes)


def _is_needed(image_id: Any) -> ColumnElement[bool]:
    return or_(  # two questions, so that each has its index
        exists().where(jobs.c.image_id == image_id, ACTIVE),
        exists().where(jobs.c.mask_id == image_id, ACTIVE),
        *(exists().where(column == image_id, WAITING, OF_ACTIVE) for column in WAIT_FOR),
    )


def _change(connection: Connection, image: Image, values: dict[str, Any]) -> Image:
    return _image(
        connection.execute(
            update(images).where(images.c.id == image.id).values(**values).returning(*images.c)
        ).one()
    )


_ONE = planned_once(
    select(images).where(
        images.c.id == bindparam("image_id"), images.c.account_id == bindparam("account_id")
    )
)
_ONE_HELD = _ONE.with_for_update()


def _image_of(row: Row[Any] | None, image_id: str) -> Image:
    if row is None:
        raise NotFound(f"There is no image {image_id}.")
    return _image(row)


def _image(row: Row[Any]) -> Image:
    return Image(**row._mapping)
