"""Celery's pool of threads, which tells the event loop that one of them is free.

With prefetch off the loop asks Redis for no message while every thread is busy, and then it
sleeps: nobody told it that a thread has ended its task, so up to a second passes before the next
message is taken (celery/celery#6941 is of the same kind). Here it is told.
"""

from __future__ import annotations

from typing import Any

from celery.concurrency.thread import ApplyResult, TaskPool
from kombu.asynchronous import get_event_loop


class WakingTaskPool(TaskPool):  # type: ignore[misc]
    """`--pool threads`, and a call of the loop after each task.

    `before_stop` is called when Celery stops the pool, for whatever reason: it waits for its
    threads, which go on as long as there is work unless they are told.
    """

    @staticmethod
    def before_stop() -> None:
        """Nothing, unless a subclass has something to say."""

    def on_stop(self) -> None:
        """Tell, then wait."""
        self.before_stop()
        super().on_stop()

    def on_apply(self, *args: Any, **options: Any) -> ApplyResult:
        """Run the task; what is called at its end comes after Celery has noted that it ended."""
        result = super().on_apply(*args, **options)
        result.f.add_done_callback(_wake)
        return result


def _wake(_: object) -> None:
    loop = get_event_loop()
    if loop is not None:
        loop.call_soon(_nothing)  # type: ignore[no-untyped-call]


def _nothing() -> None:
    """The loop looks at everything once it is awake."""
