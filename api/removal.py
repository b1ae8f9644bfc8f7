"""What a row pointed to, taken away after the row: for good, and told to who asked for it."""

from __future__ import annotations

from typing import Any

import structlog

from api.context import services
from shared.errors import StorageUnavailable

log = structlog.get_logger()

SLICE = 500  #: objects of one listing


def remove_objects(
    row_id: str, prefix: str | None, size_bytes: int, deliveries: int = 0
) -> dict[str, Any]:
    """Delete all that is stored under `prefix`; the answer to the request that deleted the row.

    prefix: None where another row points to what the row pointed to.
    deliveries: of webhooks, that went with the row.

    The row is gone and stays so: while the storage does not answer its objects are orphans,
    which the sweep collects (`shared/orphans.py`), and the answer says that they are left to it.
    """
    objects, count, after, is_left = services().objects, 0, "", False
    try:
        while prefix and (found := objects.walk(prefix, after, SLICE)):
            for stored in found:
                objects.delete(stored.key)
                count, after = count + 1, stored.key
    except StorageUnavailable as error:
        is_left = True
        log.warning("objects_left_to_sweep", of=row_id, error=error.message)
    return {
        "id": row_id,
        "deleted": True,
        "removed": {"objects": count, "bytes": size_bytes, "deliveries": deliveries},
        "left_to_sweep": is_left,
    }
