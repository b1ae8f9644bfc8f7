"""Images that submissions named lately: what is known of one does not change."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.images.store import Image, ImageStore

KEPT = 1000


class KnownImages:
    """Reads an image once, for all submissions of one process that name it soon after.

    Whether it is still there is asked again where it matters: in the transaction that promises
    the job. One whose bytes are not complete is not kept.
    """

    def __init__(self, images: ImageStore) -> None:
        self._images = images
        self._known: OrderedDict[tuple[str, str], Image] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, account_id: str, image_id: str) -> Image:
        """The image; `NotFound`."""
        name = (account_id, image_id)
        with self._lock:
            if name in self._known:
                self._known.move_to_end(name)
                return self._known[name]
        image = self._images.get(account_id, image_id)
        if image.object_key is not None:
            with self._lock:
                self._known[name] = image
                if len(self._known) > KEPT:
                    self._known.popitem(last=False)
        return image
