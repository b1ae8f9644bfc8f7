"""The images of the fake."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from towline._core.pictures import content_type_of, size_of
from towline.testing.refusals import Refusal
from towline.testing.store import Json, Store, deleted, found, missing, now


class Images:
    """One for each content."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.all: dict[str, Json] = {}
        self.staged: dict[str, bytes] = {}
        self._awaited: dict[str, Json] = {}
        self.is_needed: Callable[[str], bool] = lambda _: False

    def add(self, data: bytes) -> tuple[Json, bool]:
        """The image of these bytes; True if it is new."""
        content_type, size = content_type_of(data[:16]), size_of(data)
        if content_type is None:
            raise Refusal("unsupported_image_type", "Send a PNG, JPEG or WebP picture.")
        if size is None:
            raise Refusal("image_unreadable", "The picture is truncated.")
        sha256 = hashlib.sha256(data).hexdigest()
        known = self.find(sha256)
        if known is not None:
            return known, False
        awaited = next((each for each in self._awaited.values() if each["sha256"] == sha256), None)
        image_id = awaited["id"] if awaited else self._store.new_id("img")
        self._awaited.pop(image_id, None)
        self._store.objects[f"images/{image_id}"] = data
        image = {
            "id": image_id,
            "width": size[0],
            "height": size[1],
            "content_type": content_type,
            "size_bytes": len(data),
            "sha256": sha256,
            "created_at": now(),
            "expires_at": now(days=30),
        }
        self.all[image_id] = image
        return image, True

    def find(self, sha256: str) -> Json | None:
        """The one with this content."""
        return next((each for each in self.all.values() if each["sha256"] == sha256), None)

    def announce(self, sha256: str, size_bytes: int) -> tuple[str, bool]:
        """Its id; True if nobody had heard of it."""
        for image in (*self.all.values(), *self._awaited.values()):
            if image["sha256"] == sha256:
                return str(image["id"]), False
        image_id = self._store.new_id("img")
        self._awaited[image_id] = {"id": image_id, "sha256": sha256, "size_bytes": size_bytes}
        return image_id, True

    def complete(self, image_id: str) -> Json:
        """The image, once its bytes were put."""
        if image_id in self.all:
            return self.all[image_id]
        if image_id not in self._awaited:
            raise missing("image", image_id)
        data = self.staged.get(image_id)
        if data is None:
            raise Refusal("image_not_uploaded", f"PUT the bytes of {image_id} first.")
        if hashlib.sha256(data).hexdigest() != self._awaited[image_id]["sha256"]:
            raise Refusal("upload_mismatch", "Other bytes were announced.")
        del self.staged[image_id]
        return self.add(data)[0]

    def get(self, image_id: str) -> Json:
        if image_id in self._awaited:
            raise Refusal("image_not_uploaded", f"The bytes of {image_id} were not completed.")
        return found(self.all, "image", image_id)

    def delete(self, image_id: str) -> Json:
        image = self.all.get(image_id) or found(self._awaited, "image", image_id)
        if self.is_needed(image_id):
            raise Refusal("image_in_use", f"A job that has not ended needs {image_id}.")
        self.all.pop(image_id, None)
        self._awaited.pop(image_id, None)
        there = self._store.objects.pop(f"images/{image_id}", None) is not None
        return deleted(image_id, int(there), image["size_bytes"], 0)

    def show(self, image: Json) -> Json:
        return {**image, "url": self._store.link(f"images/{image['id']}")}

    def size_of(self, image_id: str) -> tuple[int, int] | str:
        """Width and height, or the code of why there is none."""
        if image_id in self._awaited:
            return "image_not_uploaded"
        image = self.all.get(image_id)
        return "image_not_found" if image is None else (image["width"], image["height"])
