"""A run as a command: the bar, Ctrl-C, and what is told at the end."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress

from towline import TowlineError
from towline.cli.batch.plan import plan
from towline.cli.batch.progress import showing
from towline.cli.batch.report import report, with_way_back, write_results
from towline.cli.batch.request import Request
from towline.cli.batch.run import Run
from towline.cli.batch.state import State
from towline.cli.failures import INTERRUPTED, TERMINATED, CommandFailed, explained
from towline.cli.session import Session


class _Terminated(Exception):
    """SIGTERM came."""


def perform(session: Session, request: Request, *, retries: bool = False) -> int:
    """Begin a run, or go on with it; the exit code.

    Ctrl-C and SIGTERM end it in good order. It may as well be killed: what matters is on the disk.
    """
    session.place  # noqa: B018 - whether there is a key is known before anything is read
    with State.open(request.out) as state:
        if request.manifest is not None:
            with showing(session.terminal) as shown:
                shown.begin(f"reading {request.manifest.name}", 0)
                plan(state, request)
        try:
            asyncio.run(_go(session, request, state, retries=retries))
        except (KeyboardInterrupt, TowlineError, OSError, _Terminated) as end:
            state.commit()
            with suppress(OSError):  # the disk may be what is wrong
                write_results(state)
            raise with_way_back(_failure(end), state) from None
        write_results(state)
        return report(session.terminal, state)


def _failure(end: BaseException) -> CommandFailed:
    match end:
        case TowlineError():
            return explained(end)
        case OSError():
            where = f"{end.filename}: " if end.filename else ""
            return CommandFailed(f"{where}{end.strerror or end}")
        case _Terminated():
            return CommandFailed("Ended by SIGTERM.", exit_code=TERMINATED)
    return CommandFailed("Interrupted.", exit_code=INTERRUPTED)


async def _go(session: Session, request: Request, state: State, *, retries: bool) -> None:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - this is one
    terminated = False

    def terminate() -> None:
        nonlocal terminated
        terminated = True
        task.cancel()

    if os.name == "posix":
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminate)
    try:
        with showing(session.terminal) as shown:
            async with session.async_client() as client:
                run = Run(client, state, request, shown)
                await run.go()
                if retries and state.add_retries():
                    await run.go()
    except asyncio.CancelledError:
        if terminated:
            raise _Terminated from None
        raise
    finally:
        with suppress(NotImplementedError, RuntimeError):
            asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
