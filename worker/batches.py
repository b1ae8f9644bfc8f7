"""Tends batches: reads their lines, accepts them, and makes their items jobs.

One thread of a process at a time, a slice of one batch after a slice of another, so that a large
one keeps neither small ones waiting nor the rest of the process.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import structlog

from shared.batches.batch import MAX_LINE_BYTES, Batch, Invalid, Item
from shared.batches.lines import TOO_LONG, read_line
from shared.batches.state import BatchState
from shared.batches.upkeep import REST_MS, Slice
from shared.errors import NotFound, TowlineError, Unauthorized, Violation
from shared.submission.understand import Surroundings

if TYPE_CHECKING:
    from shared.services import Services
    from worker.watch import Drain

log = structlog.get_logger()

LINES = 200  #: of a slice
SLICE_S = 1.0  #: no line is begun after; masks of large pictures take long
GONE = Violation("", "batch_unreadable", "its lines are not in object storage any more")
READ_BYTES = MAX_LINE_BYTES + 1  #: at once; a whole line, if it is not too long


class Tender:
    """Tends the batches of a service from one process."""

    def __init__(self, services: Services, drain: Drain) -> None:
        self._services = services
        self._drain = drain
        self._busy = threading.Lock()
        self._around = Surroundings(
            settings=services.settings,
            images=services.images,
            known_images=services.known_images,
            objects=services.objects,
            rules=services.webhooks.rules,
            decoding=threading.Lock(),
        )

    def tend(self) -> None:
        """Work until no batch wants anything, or this process drains; nothing if it is at it."""
        if not self._busy.acquire(blocking=False):
            return
        try:
            while not self._drain.has_begun:
                batch = self._services.batch_upkeep.take_next()
                if batch is None:
                    return
                self._take_step(batch)
        finally:
            self._busy.release()

    def look(self) -> None:
        """Tend in a thread of its own, if anything wants it: nobody may have been told."""
        if self._services.batch_upkeep.is_anything_wanted():
            threading.Thread(target=self._tend_unasked, name="tender", daemon=True).start()

    def _tend_unasked(self) -> None:
        try:
            self.tend()
        except TowlineError as error:
            log.warning("batches_not_tended", error=error.message)

    def _take_step(self, batch: Batch) -> None:
        """A step that breaks leaves the batch to the next who tends it, after a rest."""
        has_moved = False
        try:
            step = self._read if batch.status is BatchState.VALIDATING else self._release
            has_moved = step(batch)
        except Unauthorized:  # its account is being deleted, and the batch with it
            log.info("batch_left", batch=batch.id)
        except TowlineError as error:
            log.warning("batch_not_tended", batch=batch.id, error=error.message)
        except Exception:  # one that nobody can read must not stop the others
            log.exception("batch_not_tended", batch=batch.id)
        self._services.batch_upkeep.let_go(batch, rest_ms=0 if has_moved else REST_MS)

    def _release(self, batch: Batch) -> bool:
        released = self._services.batch_upkeep.release(batch)
        for engine, count in (released or {}).items():
            self._services.wakeups.top_up(engine, count)
        return released is not None

    def _read(self, batch: Batch) -> bool:
        """Look at the next lines, or copy the next items of a retry; after the last, judge."""
        upkeep = self._services.batch_upkeep
        engines = self._services.settings.engines
        if batch.retried_from is not None and not upkeep.copy(batch, engines):
            return True
        if batch.object_key is not None and batch.read_bytes < batch.size_bytes:
            try:
                found = self._next_slice(batch, batch.object_key)
            except NotFound:
                log.warning("batch_stream_gone", batch=batch.id)
                upkeep.refuse(batch, GONE)
                return True
            if not upkeep.record(batch, found):
                return True
            log.info("batch_read", batch=batch.id, lines=found.lines, bytes=found.read_bytes)
            if found.read_bytes < batch.size_bytes:
                return True
        judged = upkeep.judge(batch)
        if judged is not None:
            log.info("batch_judged", batch=batch.id, status=judged.status.value, **judged.counts)
        return True

    def _next_slice(self, batch: Batch, key: str) -> Slice:
        start = batch.read_bytes
        data = self._services.objects.get_range(key, start, READ_BYTES)
        if not data:
            raise NotFound(f"{key} has fewer bytes than were stored.")
        is_last = start + len(data) >= batch.size_bytes
        if is_last or b"\n" in data:
            return self._look_at(batch, data if is_last else data[: data.rindex(b"\n") + 1])
        end = self._end_of_line(key, start + len(data))
        line = batch.lines + 1
        return Slice(min(end, batch.size_bytes), line, [], [Invalid(line, None, [TOO_LONG])])

    def _end_of_line(self, key: str, start: int) -> int:
        """Where the next line begins."""
        while data := self._services.objects.get_range(key, start, READ_BYTES):
            end = data.find(b"\n")
            if end >= 0:
                return start + end + 1
            start += len(data)
        return start

    def _look_at(self, batch: Batch, data: bytes) -> Slice:
        """The first of these whole lines."""
        items: list[Item] = []
        invalid: list[Invalid] = []
        line, place = batch.lines, 0
        ends = time.monotonic() + SLICE_S
        while line < batch.lines + LINES and place < len(data) and not self._drain.has_begun:
            if line > batch.lines and time.monotonic() > ends:
                break
            end = data.find(b"\n", place)
            end = len(data) if end < 0 else end
            line += 1
            found = read_line(line, data[place:end], batch.account_id, self._around)
            place = min(end + 1, len(data))
            if isinstance(found, Invalid):
                invalid.append(found)
            elif found is not None:
                items.append(found)
        return Slice(batch.read_bytes + place, line, items, invalid)
