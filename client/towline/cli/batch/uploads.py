"""The pictures of a part, uploaded beside each other; what the service has is not sent again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

from towline import AsyncTowline, Image
from towline.cli.batch.checks import Folder
from towline.cli.batch.images import Upload
from towline.errors import APIError

if TYPE_CHECKING:
    from towline.cli.batch.patience import Patience
    from towline.cli.batch.progress import Shown
    from towline.cli.batch.state import State

T = TypeVar("T")
KEEPS_S = 3600.0  #: an image that is gone sooner than this is sent again
OF_THE_PICTURE = frozenset({413, 415, 422})


async def upload(
    client: AsyncTowline,
    state: State,
    part: int,
    pictures: Folder,
    parallel: int,
    patience: Patience,
    shown: Shown,
) -> None:
    """Every file of a part is an image, or it is noted what is wrong with it."""
    shown.begin("uploading", state.images.count(part))

    async def send(upload: Upload) -> None:
        await _upload(client, state, upload, pictures, patience)
        shown.advance()
        state.tick()

    await beside(parallel, state.images.of_part(part), send)
    state.commit()


async def _upload(
    client: AsyncTowline, state: State, upload: Upload, pictures: Folder, patience: Patience
) -> None:
    try:
        path = pictures.find(upload.path)
        stat = path.stat()
    except (ValueError, OSError) as error:
        state.images.note(upload.path, str(error))
        return
    is_same = (upload.size_bytes, upload.mtime_ns) == (stat.st_size, stat.st_mtime_ns)
    if is_same and upload.image_id and (upload.keeps_until or 0) > time.time() + KEEPS_S:
        return

    async def call() -> Image:
        return await client.images.upload(path)

    try:
        image = await patience.bear(call)
    except APIError as error:
        if error.status not in OF_THE_PICTURE:
            raise
        state.images.note(upload.path, f"{error.message} ({error.code})")
        return
    keeps_until = image.expires_at.timestamp()
    state.images.uploaded(upload.path, stat, image.id, image.sha256, keeps_until)


async def beside(most: int, things: Iterable[T], act: Callable[[T], Awaitable[None]]) -> None:
    """Do it with each, so many at once; the first failure ends all of them."""
    left = iter(things)

    async def work() -> None:
        for thing in left:
            await act(thing)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(most):
                group.create_task(work())
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
