"""What is done alike with everything that has an id: look at it, delete it, wait for its end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

from towline._core.calling import call, model
from towline._core.context import Ask, Context, address, id_of, prefer
from towline._core.effects import Flow, sleep
from towline._core.patience import GRACE_S, Patience
from towline._failures import TowlineError, WaitTimedOut
from towline.models import Batch, Deleted, Job

T = TypeVar("T")
Ending = TypeVar("Ending", Job, Batch)


def get(
    context: Context,
    folder: str,
    thing: Any,
    kind: type[T],
    *,
    wait_s: float | None = None,
    timeout_s: float | None = None,
) -> Flow[T]:
    """How it is now, or when it has ended."""
    ask = Ask(
        method="GET",
        path=address(folder, thing),
        headers=prefer(wait_s),
        wait_s=wait_s or 0.0,
        timeout_s=timeout_s,
    )
    return (yield from call(context, ask, model(kind)))


def act(
    context: Context,
    folder: str,
    thing: Any,
    action: str,
    kind: type[T],
    *,
    timeout_s: float | None,
) -> Flow[T]:
    """What it is after something was done with it that may be done twice."""
    ask = Ask(method="POST", path=address(folder, thing, action), timeout_s=timeout_s)
    return (yield from call(context, ask, model(kind)))


def delete(context: Context, folder: str, thing: Any, *, timeout_s: float | None) -> Flow[Deleted]:
    """What went. If the answer to it was lost, it is gone, and nobody knows what went with it."""
    thing_id = id_of(thing)

    def gone() -> Deleted:
        return Deleted(id=thing_id)

    ask = Ask(method="DELETE", path=address(folder, thing), timeout_s=timeout_s)
    return (yield from call(context, ask, model(Deleted), absent=gone))


def wait(
    context: Context, folder: str, thing: Any, kind: type[Ending], *, timeout_s: float | None
) -> Flow[Ending]:
    """The thing once it is final; `WaitTimedOut`."""
    patience = Patience(timeout_s)
    once = replace(context, max_retries=0)  # the repeats are patience's
    last_seen: Ending | None = thing if isinstance(thing, kind) else None
    if last_seen is not None and last_seen.is_final:
        return last_seen
    while True:
        hold_s = patience.hold_s()
        call_s = min(context.timeouts.call_s + hold_s, patience.left_s() + GRACE_S)
        try:
            last_seen = yield from get(once, folder, thing, kind, wait_s=hold_s, timeout_s=call_s)
        except TowlineError as failure:
            pause = patience.after_failure(failure)
            if pause is None or (last_seen is None and not patience.left_s()):
                raise
        else:
            if last_seen.is_final:
                return last_seen
            pause = patience.after_answer()
        if last_seen is not None and not patience.left_s():
            said = f"{last_seen.id} is {last_seen.status} after {timeout_s:g} s, and goes on."
            raise WaitTimedOut(said, last_seen=last_seen)
        yield from sleep(pause)
