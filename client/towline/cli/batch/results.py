"""What became of a part's lines: pictures are fetched as they come, several beside each other.

A line is done here once its pictures are, each with the sha256 that was promised; that is noted a
little later. What dies between finds the file in its place, and looks at it instead of fetching it.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from towline import AsyncTowline, BatchItem, Candidate
from towline.errors import APIError

if TYPE_CHECKING:
    from towline.cli.batch.patience import Patience
    from towline.cli.batch.progress import Shown
    from towline.cli.batch.state import State

OPEN_IN_A_ROW = 200  #: after so many lines that have not ended, later ones are left for later
OF_THE_URL = frozenset({403, 404, 410})


class Collector:
    """Of one part."""

    def __init__(
        self,
        client: AsyncTowline,
        state: State,
        part: int,
        batch_id: str,
        parallel: int,
        patience: Patience,
        shown: Shown,
    ) -> None:
        self._client, self._state, self._patience = client, state, patience
        self._part, self._batch_id, self._shown = part, batch_id, shown
        self._parallel = parallel
        self._slots = asyncio.Semaphore(parallel)
        self._after = (state.lines.first_waiting(part) or 1) - 1
        self.seen = 0  #: lines that were read, in all

    async def collect(self, *, to_the_end: bool) -> None:
        """Fetch what has ended and is not here."""
        self._slots = asyncio.Semaphore(self._parallel)  # a task that never began gives none back
        try:
            async with asyncio.TaskGroup() as group:
                await self._read(group, to_the_end=to_the_end)
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        finally:
            self._state.commit()

    async def _read(self, group: asyncio.TaskGroup, *, to_the_end: bool) -> None:
        first_open: int | None = None
        open_in_a_row = 0
        results = self._client.batches.results(self._batch_id, after_line=self._after)
        async with aclosing(results) as items:  # type: ignore[type-var]
            async for item in items:
                self._patience.heard()
                self.seen += 1
                if item.is_final:
                    open_in_a_row = 0
                    await self._take(group, item)
                    continue
                first_open = first_open or item.line
                open_in_a_row += 1
                if open_in_a_row >= OPEN_IN_A_ROW and not to_the_end:
                    break
        if first_open is not None:
            self._after = first_open - 1

    async def _take(self, group: asyncio.TaskGroup, item: BatchItem) -> None:
        name = item.custom_id  # none where the service could not even read the line
        if name is None:
            _, name = self._state.parts.line_at(self._part, item.line) or (0, None)
        names = self._state.lines.waits_for(self._part, name) if name is not None else None
        if name is None or names is None:
            return
        if item.result is None:
            self._finish(item, name, [])
            return
        await self._slots.acquire()
        group.create_task(self._fetch(item, name, names))

    async def _fetch(self, item: BatchItem, custom_id: str, names: list[str]) -> None:
        try:
            assert item.result is not None  # noqa: S101 - whoever calls has looked
            files = []
            for name, candidate in zip(names, item.result.candidates, strict=False):
                if await self._bring(item, candidate, self._state.out / name):
                    files.append(name)
            self._finish(item, custom_id, files)
        finally:
            self._slots.release()

    async def _bring(self, item: BatchItem, candidate: Candidate, to: Path) -> bool:
        """Whether the file is there; False for a picture that the service has no more."""
        if to.exists() and await asyncio.to_thread(has, to, candidate.sha256):
            return True
        if candidate.url is None:
            return False

        async def fetch() -> Path:
            return await self._client.download(candidate, to)

        try:
            await self._patience.bear(fetch)
        except APIError as error:
            if error.status not in OF_THE_URL or item.job is None:
                raise
            return await self._bring_anew(item.job, candidate.index, to)
        return True

    async def _bring_anew(self, job_id: str, index: int, to: Path) -> bool:
        """By a URL that is fresh: the time of the other one was over."""

        async def fetch() -> bool:
            job = await self._client.jobs.get(job_id)
            found = job.result.candidates[index] if job.result else None
            if found is None or found.url is None:
                return False
            await self._client.download(found, to)
            return True

        return await self._patience.bear(fetch)

    def _finish(self, item: BatchItem, custom_id: str, files: list[str]) -> None:
        told = told_of(item)
        if item.status == "succeeded" and not files:
            told["error"] = {"code": "picture_gone", "message": "The picture is gone already."}
        self._state.lines.finish(custom_id, item.status, item.job, told, files)
        self._state.tick()
        self._shown.ended(item.status)


def told_of(item: BatchItem) -> dict[str, Any]:
    """What is kept of an item: all of it, but for URLs, which are good for minutes."""
    raw = item.raw
    result = raw.get("result")
    if result is not None:
        candidates = [
            {name: value for name, value in each.items() if name != "url"}
            for each in result.get("candidates", ())
        ]
        result = {**result, "candidates": candidates}
        result.pop("mask_url", None)
    return {"result": result, "error": raw.get("error")}


def has(path: Path, sha256: str) -> bool:
    """Whether the very file is there."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except OSError:
        return False
