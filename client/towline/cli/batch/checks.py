"""What is wrong with a line, as far as that can be known here; the service looks again, closer.

Names of files lead into the folder of pictures and nowhere else: not by `..`, not by a whole path,
and not by a link, unless links are followed (`--follow-links`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from towline._core.pictures import content_type_of

LARGEST_PICTURE_BYTES = 32 * 2**20
FARTHEST = 1e9  #: pixels; the service knows the picture, and is stricter
FIELDS = frozenset(
    [
        "custom_id",
        "image",
        "mask",
        "drags",
        "rounds",
        "engine",
        "options",
        "priority",
        "expires_in_s",
        "timeout_s",
        "webhook",
        "metadata",
    ]
)
PRIORITIES = ("low", "normal", "high")
SHAPES = ("rect", "polygon")


def wrong_with(job: Mapping[str, Any]) -> Iterator[str]:
    """All of it, but for the files that it names."""
    yield from (f"there is no field {name!r}" for name in job if name not in FIELDS)
    yield from _wrong_id(job.get("custom_id"))
    if not isinstance(job.get("image"), str) or not job["image"]:
        yield "image: the name of a file is needed"
    yield from _wrong_mask(job.get("mask"))
    yield from _wrong_drags(job)
    for name in ("options", "metadata", "webhook"):
        if not isinstance(job.get(name), dict | None):
            yield f"{name}: an object is needed, such as {{...}}"
    if job.get("priority") not in (None, *PRIORITIES):
        yield f"priority: {job['priority']!r} is none of {', '.join(PRIORITIES)}"


def _wrong_id(custom_id: Any) -> Iterator[str]:
    if custom_id is None:
        yield "custom_id: each line needs a name of its own"
    elif not isinstance(custom_id, str) or not 1 <= len(custom_id) <= 128:
        yield "custom_id: a text of 1 to 128 characters is needed"
    elif not custom_id.isprintable():
        yield "custom_id: it has characters that cannot be shown"


def _wrong_mask(mask: Any) -> Iterator[str]:
    if isinstance(mask, dict):
        if len(mask) != 1 or next(iter(mask)) not in SHAPES:
            yield "mask: the name of a file, {'rect': [...]} or {'polygon': [...]} is needed"
    elif mask is not None and (not isinstance(mask, str) or not mask):
        yield "mask: the name of a file, or a shape, is needed"


def _wrong_drags(job: Mapping[str, Any]) -> Iterator[str]:
    given = [name for name in ("drags", "rounds") if job.get(name) is not None]
    if len(given) != 1:
        yield "drags: they are needed" if not given else "drags, rounds: one of them, not both"
        return
    value = job[given[0]]
    if given == ["drags"]:
        yield from _wrong_round("drags", value)
    elif not isinstance(value, list) or not value:
        yield "rounds: a list of lists of drags is needed"
    else:
        for index, each in enumerate(value):
            yield from _wrong_round(f"rounds/{index}", each)


def _wrong_round(place: str, drags: Any) -> Iterator[str]:
    if not isinstance(drags, list) or not drags:
        yield f"{place}: a list of drags is needed"
        return
    for index, drag in enumerate(drags):
        if not isinstance(drag, dict):
            yield f"{place}/{index}: {{'handle': [x, y], 'target': [x, y]}} is needed"
            continue
        for end in ("handle", "target"):
            if not _is_point(drag.get(end)):
                yield f"{place}/{index}/{end}: [x, y] is needed"


def _is_point(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(
            isinstance(each, int | float) and not isinstance(each, bool) and abs(each) < FARTHEST
            for each in value
        )
    )


@dataclass(frozen=True)
class Folder:
    """Where the pictures are."""

    root: Path
    follows_links: bool = False

    @cached_property
    def _real_root(self) -> Path:
        return self.root.resolve()

    def find(self, name: str) -> Path:
        """The file of a name; `ValueError` if it is not in the folder, or no picture."""
        path = self.root / self._inside(name)
        try:
            real = path.resolve(strict=True)
        except (OSError, RuntimeError):
            raise ValueError(f"there is no file {name} in {self.root}") from None
        if not self.follows_links and not real.is_relative_to(self._real_root):
            raise ValueError(f"{name} leads out of {self.root} by a link (see --follow-links)")
        if not real.is_file():
            raise ValueError(f"{name} is not a file")
        _require_picture(path, name)
        return path

    @staticmethod
    def _inside(name: str) -> PurePosixPath:
        path = PurePosixPath(name.replace("\\", "/"))
        is_whole = path.is_absolute() or PureWindowsPath(name).drive
        if is_whole or ".." in path.parts or "\0" in name or not path.parts:
            raise ValueError(f"{name!r} leads out of the folder of pictures")
        return path


def _require_picture(path: Path, name: str) -> None:
    try:
        size_bytes = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise ValueError(f"{name} cannot be read: {error.strerror}") from None
    if size_bytes > LARGEST_PICTURE_BYTES:
        raise ValueError(f"{name} has {size_bytes / 2**20:.0f} MiB; 32 MiB is the most")
    if content_type_of(head) is None:
        raise ValueError(f"{name} is not a PNG, JPEG or WebP picture")
