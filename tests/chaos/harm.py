"""What a fault does to the stage, and what undoes it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from tests.chaos.faults import S3, Fault
from tests.chaos.network import Link
from tests.crew import wait_until

if TYPE_CHECKING:
    from tests.chaos.stage import Stage

NEXT_LIFE_S = 60.0
SLOW_S = 0.4  #: what a slow S3 adds to each piece of a request and of its answer


class Harm:
    """A method for each kind; what lasts has another that ends it.

    Each is given what is hit: a process or a server, or both for the network between them.
    Those that hit a process give its pid.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def begin(self, fault: Fault) -> int | None:
        """Do it; the pid of the process that it was done to."""
        name, _, server = fault.target.partition("/")
        match fault.kind:
            case "kill":
                return self._kill(name)
            case "freeze":
                return self._signal(name, signal.SIGSTOP)
            case "restart":
                return self._restart(name)
            case "cut":
                self._stage.network.tell(Link.hold, process=name, server=server)
                return self._stage.actors[name].life.pid
        self._spoil(fault.kind)
        return None

    def end(self, fault: Fault, pid: int | None) -> None:
        """Undo it, if it lasts."""
        name, _, server = fault.target.partition("/")
        match fault.kind:
            case "freeze" if pid is None or pid == self._stage.actors[name].life.pid:
                self._signal(name, signal.SIGCONT)
            case "refuse" | "slow":
                self._stage.network.tell(Link.heal, server=S3)
            case "cut":
                if fault.resets:
                    self._stage.network.tell(Link.reset, process=name, server=server)
                self._stage.network.tell(Link.heal, process=name, server=server)

    def wait_for_next_life(self, fault: Fault, pid: int | None) -> None:
        """Until somebody else has started again what was ended."""
        actor = self._stage.actors.get(fault.target)
        if actor is not None and fault.kind in ("kill", "restart"):
            wait_until(lambda: actor.life.pid != pid, NEXT_LIFE_S)

    def _kill(self, name: str) -> int | None:
        if name in self._stage.actors:
            return self._stage.actors[name].signal(signal.SIGKILL)
        self._stage.servers.kill(name)
        return None

    def _signal(self, name: str, number: signal.Signals) -> int | None:
        if name in self._stage.actors:
            return self._stage.actors[name].signal(number)
        self._stage.servers.signal(name, number)
        return None

    def _restart(self, name: str) -> int | None:
        if name in self._stage.actors:
            return self._stage.actors[name].ask_to_end()
        self._stage.servers.restart()
        return None

    def _spoil(self, kind: str) -> None:
        match kind:
            case "flush":
                self._stage.servers.valkey.flush()
            case "refuse":
                self._stage.network.tell(Link.refuse, server=S3)
            case "slow":
                self._stage.network.tell(lambda link: link.slow_down(SLOW_S), server=S3)
