"""The rows of a batch: its own, and those of its items."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, insert, select

from shared.batches.batch import (
    MAX_ERRORS_SHOWN,
    Batch,
    Invalid,
    Item,
    NewBatch,
    webhook_to_json,
)
from shared.batches.tables import INVALID, batch_items, batches
from shared.batches.tally import with_counts
from shared.db import now_ms
from shared.errors import NotFound, Violation
from shared.images.tables import images

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

READ_AT_ONCE = 500  #: invalid lines

FRESH: Mapping[str, Any] = {
    **dict.fromkeys(
        ("read_bytes", "lines", "total", "invalid", "pixels", "waiting", "withdrawn"), 0
    ),
    **dict.fromkeys(("tended_at", "tended_until"), 0),
}


def insert_batch(
    connection: Connection, account_id: str, batch_id: str, new: NewBatch, **columns: Any
) -> None:
    """A row that validates."""
    values = {
        **FRESH,
        "id": batch_id,
        "account_id": account_id,
        "status": "validating",
        "skips_invalid": new.skips_invalid,
        "webhook": webhook_to_json(new.webhook),
        "metadata": dict(new.metadata),
        "created_at": now_ms(),
        "object_key": None,
        "size_bytes": 0,
    }
    connection.execute(insert(batches).values(**{**values, **columns}))


def insert_items(
    connection: Connection, account_id: str, batch_id: str, items: Sequence[Item]
) -> list[Invalid]:
    """Rows for these items; those that cannot be after all.

    Their images are held until this transaction ends, and stay as long as an item waits. One
    whose image was deleted since it was looked at, or whose name another has, is not inserted.
    """
    here = _hold_images(connection, account_id, items)
    taken = _taken(connection, batch_id, {item.custom_id for item in items})
    rows, invalid = [], []
    for item in items:
        violations = [*_missing(item, here), *_duplicate(item, taken)]
        if violations:
            invalid.append(Invalid(item.line, item.custom_id, violations))
            continue
        taken.add(item.custom_id)
        rows.append(_row(batch_id, item))
    if rows:
        connection.execute(insert(batch_items), rows)
    return invalid


def insert_invalid(connection: Connection, batch_id: str, invalid: Iterable[Invalid]) -> None:
    """Rows that say what is wrong with these lines."""
    rows = [
        {
            "batch_id": batch_id,
            "line": each.line,
            "priority": 0,
            "pixels": 0,
            "problem": each.to_json(),
        }
        for each in invalid
    ]
    if rows:
        connection.execute(insert(batch_items), rows)


def _row(batch_id: str, item: Item) -> dict[str, Any]:
    return {
        "batch_id": batch_id,
        "line": item.line,
        "custom_id": item.custom_id,
        "priority": int(item.spec.priority),
        "spec": item.spec.to_json(),
        "metadata": dict(item.metadata),
        "image_id": item.spec.image,
        "mask_id": item.spec.mask_image,
        "pixels": item.pixels,
        "contents": None if item.contents is None else asdict(item.contents),
    }


def _named(item: Item) -> list[tuple[str, str]]:
    named = [("/image", item.spec.image), ("/mask", item.spec.mask_image)]
    return [(pointer, image_id) for pointer, image_id in named if image_id is not None]


def _hold_images(connection: Connection, account_id: str, items: Sequence[Item]) -> set[str]:
    wanted = {image_id for item in items for _, image_id in _named(item)}
    return set(
        connection.scalars(
            select(images.c.id)
            .where(
                images.c.id.in_(wanted),
                images.c.account_id == account_id,
                images.c.object_key.is_not(None),
            )
            .order_by(images.c.id)
            .with_for_update(read=True, key_share=True)
        )
    )


def _taken(connection: Connection, batch_id: str, custom_ids: Collection[str]) -> set[str]:
    mine = (batch_items.c.batch_id == batch_id, batch_items.c.custom_id.in_(custom_ids))
    return set(connection.scalars(select(batch_items.c.custom_id).where(*mine)))


def _missing(item: Item, here: Collection[str]) -> list[Violation]:
    return [
        Violation(pointer, "image_not_found", f"there is no image {image_id}")
        for pointer, image_id in _named(item)
        if image_id not in here
    ]


def _duplicate(item: Item, taken: Collection[str]) -> list[Violation]:
    if item.custom_id not in taken:
        return []
    detail = f"another line before it is called {item.custom_id!r}"
    return [Violation("/custom_id", "duplicate_custom_id", detail)]


def read_batch(connection: Connection, *where: ColumnElement[bool], batch_id: str) -> Batch:
    """The batch of this id, if it matches; `NotFound`."""
    rows = connection.execute(select(batches).where(batches.c.id == batch_id, *where)).all()
    for batch in with_counts(connection, rows):
        return batch
    raise NotFound(f"There is no batch {batch_id}.")


def hold_batch(connection: Connection, batch_id: str, *where: ColumnElement[bool]) -> Batch | None:
    """The same, and nobody else changes its row until this transaction ends; None if it is gone."""
    this = select(batches).where(batches.c.id == batch_id, *where)
    rows = connection.execute(this.with_for_update(key_share=True)).all()
    for batch in with_counts(connection, rows):
        return batch
    return None


def read_invalid(connection: Connection, batch_id: str) -> list[Invalid]:
    """The first invalid lines: as many as have one error more than are shown."""
    found: list[Invalid] = []
    count, last = 0, -1
    query = (
        select(batch_items.c.line, batch_items.c.problem)
        .where(batch_items.c.batch_id == batch_id, INVALID)
        .order_by(batch_items.c.line)
        .limit(READ_AT_ONCE)
    )
    while count <= MAX_ERRORS_SHOWN:
        rows = connection.execute(query.where(batch_items.c.line > last)).all()
        for row in rows:
            found.append(Invalid.from_json(row.line, row.problem))
            count, last = count + len(found[-1].violations), row.line
        if len(rows) < READ_AT_ONCE:
            break
    return found


def delete_items(connection: Connection, limit: int, *where: ColumnElement[bool]) -> int:
    """A slice of items; how many."""
    those = select(batch_items.c.batch_id, batch_items.c.line).where(*where).limit(limit)
    rows = connection.execute(those).all()
    by_batch: dict[str, list[int]] = {}
    for row in rows:
        by_batch.setdefault(row.batch_id, []).append(row.line)
    for batch_id, lines in by_batch.items():
        connection.execute(
            delete(batch_items).where(
                batch_items.c.batch_id == batch_id, batch_items.c.line.in_(lines)
            )
        )
    return len(rows)
