"""Webhook deliveries, from claim to record. Many at once, on one event loop in one thread.

    claim ──▶ render, sign, POST (worker/send.py, worker/post.py) ──▶ record
      ▲                                                                 │
      └──────────────────── until nothing is due ◀──────────────────────┘

How much each receiver may have on its way is said by `worker/receivers.py`: one that hangs
costs a waiting task and delays nobody. Killed before a POST or after it: the claim runs out and
the message is sent again, under the same id. When this process is told to end, what is on
its way has as long as running jobs have; then it is given back.
"""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING

import structlog

from shared.errors import DatabaseUnavailable
from shared.telemetry.metrics import WEBHOOK_SECONDS, WEBHOOK_TRIES
from worker.receivers import Receivers
from worker.send import Sender

if TYPE_CHECKING:
    from shared.services import Services
    from shared.webhooks.dispatch import Claim, Outcome
    from worker.watch import Drain

log = structlog.get_logger()

LOOK_S = 0.05  #: how often it looks whether it was asked for more, or must end
GATHER_S = 0.01  #: after an answer, for others to be written down with it
CLAIM_S = 0.2  #: how often it claims unasked
LINGER_S = 5.0  #: how long it goes on so when nothing is due: Celery is slow to take messages
SLOW_SHARE = 3  #: an answer that takes a third of the time that it may take is slow
PAUSE_S = 0.5  #: while the database is away


class Deliverer:
    """Sends what is due; one for each process, however many messages ask for it."""

    def __init__(
        self,
        services: Services,
        drain: Drain,
        sender: Sender | None = None,
        linger_s: float = LINGER_S,
    ) -> None:
        settings = services.settings
        self._dispatch = services.webhooks.dispatch
        self._drain = drain
        self._sender = sender or Sender(services)
        self._linger_s = linger_s
        self._receivers = Receivers(
            total=settings.webhook_concurrency,
            each=settings.webhook_endpoint_concurrency,
            slow_s=settings.webhook_timeout_s / SLOW_SHARE,
            time_scale=settings.webhook_time_scale,
        )
        self._busy = threading.Lock()
        self._asked = threading.Event()
        self._sending: dict[asyncio.Task[Outcome], Claim] = {}
        self._unwritten: list[tuple[float, Outcome]] = []  # until when each may be written
        self._after = ""  # the lane after which the walk goes on
        self._found = False  # the last claim got something, so there may be more
        self._claimed_at = 0.0
        self._worked_at = 0.0

    def deliver(self) -> None:
        """Work until nothing is due. A thread of this process that is at it is told of more."""
        self._asked.set()
        while self._asked.is_set() and not self._drain.has_begun:
            if not self._busy.acquire(blocking=False):
                return  # who has it looks again before it ends
            try:
                asyncio.run(self._work_or_start_afresh())
            finally:
                self._busy.release()

    def look(self) -> None:
        """Not asked: see whether something is due, and send it, in a thread of its own."""
        threading.Thread(target=self.deliver, name="deliverer", daemon=True).start()

    def wait_until_idle(self) -> None:
        """Until nothing is on its way; told to end, that is soon."""
        with self._busy:
            pass

    async def _work_or_start_afresh(self) -> None:
        """What nobody foresaw ends this round and not the next: no lane stays taken for ever."""
        try:
            await self._work()
        except Exception:
            log.exception("delivering_broke_off", claims=len(self._sending))
            for task, claim in self._sending.items():  # their claims run out by themselves
                task.cancel()
                self._receivers.leave(claim.lane, is_success=None)
            self._sending.clear()
            self._unwritten.clear()
            self._after, self._found = "", False

    async def _work(self) -> None:
        self._claimed_at, self._worked_at = 0.0, time.monotonic()
        while not self._drain.has_begun:
            if self._is_time_to_claim():
                await self._claim()
            if self._sending or self._unwritten or self._after:
                self._worked_at = time.monotonic()
                await self._settle_some()
            elif time.monotonic() - self._worked_at >= self._linger_s:
                return
            else:
                await asyncio.sleep(LOOK_S)
        await self._end()

    def _is_time_to_claim(self) -> bool:
        is_due = time.monotonic() - self._claimed_at >= CLAIM_S
        wants = self._found or bool(self._after) or is_due or self._asked.is_set()
        return wants and self._receivers.free > 0

    async def _claim(self) -> None:
        """Claim what there is room for, walking on from where the last walk ended."""
        self._asked.clear()
        self._claimed_at = time.monotonic()
        room, free = self._receivers.room, self._receivers.free
        try:
            claims, self._after = await asyncio.to_thread(
                self._dispatch.claim, self._after, room, free
            )
        except DatabaseUnavailable as error:
            log.warning("deliveries_wait", error=error.message)
            claims, self._after = [], ""
        self._found = bool(claims)
        for claim in claims:
            self._receivers.enter(claim.lane)
            self._sending[asyncio.create_task(self._sender.send(claim))] = claim

    async def _settle_some(self) -> None:
        """Wait a moment for answers, and write down those that came."""
        if self._sending:
            await asyncio.wait(self._sending, timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(GATHER_S)
        self._take_answers()
        if self._unwritten:
            await self._record()

    def _take_answers(self) -> None:
        for task in [task for task in self._sending if task.done()]:
            outcome = task.result()  # read first: one that raises is still in a lane
            claim = self._sending.pop(task)
            took_s = outcome.duration_ms / 1000
            self._receivers.leave(claim.lane, is_success=outcome.is_success, took_s=took_s)
            _count(outcome)
            limit = time.monotonic() + self._dispatch.lease_s
            self._unwritten.append((limit, outcome))

    async def _record(self) -> None:
        """While the database is away they are kept; past its lease an outcome is nobody's."""
        self._unwritten = [each for each in self._unwritten if each[0] > time.monotonic()]
        outcomes = [outcome for _, outcome in self._unwritten]
        try:
            await asyncio.to_thread(self._dispatch.record, outcomes)
        except DatabaseUnavailable as error:
            log.warning("outcomes_wait", count=len(outcomes), error=error.message)
            await asyncio.sleep(PAUSE_S)
        except Exception:
            log.exception("outcomes_not_recorded", count=len(outcomes))
            await self._record_each()
        else:
            self._unwritten.clear()

    async def _record_each(self) -> None:
        """One that cannot be written takes no other with it; its claim runs out."""
        for each in tuple(self._unwritten):
            try:
                await asyncio.to_thread(self._dispatch.record, [each[1]])
            except DatabaseUnavailable:
                return  # the rest is tried again
            except Exception:
                claim = each[1].claim
                log.exception("outcome_dropped", delivery=claim.id, job=claim.job and claim.job.id)
            self._unwritten.remove(each)

    async def _end(self) -> None:
        """Let what is on its way arrive while there is time; give the rest to others."""
        while (self._sending or self._unwritten) and not self._drain.is_over:
            await self._settle_some()
        left = [claim for task, claim in self._sending.items() if task.cancel()]
        if self._sending:
            await asyncio.wait(self._sending)
            log.info("deliveries_given_back", count=len(left))
        self._sending.clear()
        try:
            await asyncio.to_thread(self._dispatch.give_back, left)
        except DatabaseUnavailable as error:  # their claims run out
            log.warning("deliveries_not_given_back", count=len(left), error=error.message)


def _count(outcome: Outcome) -> None:
    WEBHOOK_TRIES.labels("delivered" if outcome.is_success else "refused").inc()
    if outcome.is_success:
        WEBHOOK_SECONDS.observe(max(0.0, time.time() - outcome.claim.event_at / 1000))
