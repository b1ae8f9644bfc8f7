"""Keeps the children running, and ends them all, whatever happens to itself.

Everything is done by the main thread, in `tick`; a signal only raises a flag that the
next tick sees. So nothing is ever interrupted half-way, neither in the start nor later.
"""

from __future__ import annotations

import signal
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Self, TypeVar

from infra.embedded.child import bound_log, in_words
from infra.embedded.failures import StepFailed
from infra.embedded.stop import StopAsked
from infra.embedded.terminal import say

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from infra.embedded.child import Child
    from infra.embedded.stop import StopSignals

T = TypeVar("T")

TICK_S = 0.05
LOG_CHECK_S = 60.0
STOP_S = 7.0  #: for workers and the API, to give their jobs back
STOP_BROKER_S = 1.5
HOPELESS_ENDS = 4  #: quick ends in a row during the start
CANNOT_START = 2  #: status of a process that says that it cannot run with these settings


class Supervisor:
    """Whatever is started inside its `with` block has ended after it."""

    def __init__(self, stop: StopSignals) -> None:
        self._stop = stop
        self._children: list[Child] = []
        self._log_check_s = time.monotonic() + LOG_CHECK_S

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Everybody at once, but the broker, which ends when nobody needs it any more."""
        self._end([child for child in self._children if not child.ends_last], STOP_S)
        self._end([child for child in self._children if child.ends_last], STOP_BROKER_S)

    def start(self, child: Child) -> None:
        """Start a child and keep it running."""
        self._children.append(child)
        child.start()

    def run(self, child: Child, limit_s: float, *, capture: bool = False) -> str:
        """Run a child to its end, once; what it printed with `capture`."""
        child.start(capture=capture)
        try:
            self.wait_until(child.has_ended, limit_s, f"{child.name} did not end", child)
            process = child.process
            assert process is not None  # noqa: S101
            if process.returncode != 0:
                raise StepFailed(
                    f"{child.name} failed ({in_words(process.returncode)})", log=child.log
                )
            return process.stdout.read() if process.stdout else ""
        finally:
            self._end([child], STOP_BROKER_S)

    def wait_until(
        self, happened: Callable[[], bool], limit_s: float, otherwise: str, child: Child
    ) -> None:
        """Keep everything running until something has happened; `StepFailed` if it does not."""
        deadline_s = time.monotonic() + limit_s
        while not happened():
            self.tick()
            self._give_up_on_the_hopeless()
            if time.monotonic() > deadline_s:
                raise StepFailed(f"{otherwise} within {limit_s:.0f} s", log=child.log)

    def call(self, work: Callable[[], T], limit_s: float, otherwise: str, child: Child) -> T:
        """Do work that waits (HTTP) beside the main thread, and keep everything running."""
        answer: Future[T] = Future()

        def run() -> None:
            try:
                answer.set_result(work())
            except BaseException as error:  # noqa: BLE001 - raised again where it was asked for
                answer.set_exception(error)

        threading.Thread(target=run, daemon=True).start()
        self.wait_until(answer.done, limit_s, otherwise, child)
        return answer.result()

    def watch(self) -> None:
        """Keep everything running until somebody wants the end."""
        while True:
            self.tick()

    def tick(self) -> None:
        """A short moment: start again what has ended; `StopAsked` when that is asked."""
        if self._stop.count:
            say("stopping (a second Ctrl-C makes it quicker)")
            raise StopAsked
        for child in self._children:
            self._revive(child)
        if time.monotonic() > self._log_check_s:
            self._log_check_s = time.monotonic() + LOG_CHECK_S
            for child in self._children:
                with suppress(OSError):  # a full disk is no reason to end
                    bound_log(child.log)
        time.sleep(TICK_S)

    def _revive(self, child: Child) -> None:
        if child.process is not None and child.has_ended():
            status = child.bury()
            child.plan_start()
            say(f"{child.name} ended ({in_words(status)}), starting it again; see {child.log}")
        if child.is_due():
            try:
                child.start()
            except OSError as error:  # a full disk, say: it may pass
                say(f"{child.name} cannot be started: {error}")
                child.plan_start()

    def _give_up_on_the_hopeless(self) -> None:
        for child in self._children:
            status = child.last_status or 0
            if status == CANNOT_START:
                raise StepFailed(f"{child.name} cannot start", log=child.log)
            if child.backoff.quick_ends >= HOPELESS_ENDS:
                raise StepFailed(f"{child.name} keeps ending ({in_words(status)})", log=child.log)

    def _end(self, children: Sequence[Child], limit_s: float) -> None:
        """SIGTERM to all at once; SIGKILL to their groups when the time is up, or asked twice."""
        for child in children:
            child.ask_to_end()
        deadline_s = time.monotonic() + limit_s
        while not all(child.has_ended() for child in children):
            if time.monotonic() > deadline_s or self._stop.count > 1:
                break
            time.sleep(TICK_S)
        for child in children:
            child.signal_group(signal.SIGKILL)
        for child in children:
            if child.process is not None:
                child.process.wait()
                child.bury()
