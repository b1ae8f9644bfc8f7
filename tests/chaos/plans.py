"""The runs there are: the short one, the long one, one of kills alone, one for each planted bug."""

from __future__ import annotations

from tests.chaos.faults import WORKERS, Fault
from tests.chaos.run import Plan
from tests.chaos.stage import Times

SHORT_S = 45.0
PATIENCE_S = 10.0  #: of the short run, which machines must pass that run other tests as well
KILLS_EVERY_S = 4.0
PLANTED_S = 7.0
PLANTED_TIMES = Times(lease_s=4.0, heartbeat_s=0.5, sweep_s=0.3)


def short(seed: int) -> Plan:
    """For `make test`: one of every act, and two dozen faults."""
    return Plan(seed=seed, seconds=SHORT_S, patience_s=PATIENCE_S)


def long(seed: int, jobs: int) -> Plan:
    """As many jobs as one likes, and faults until the last is accepted."""
    return Plan(seed=seed, jobs=jobs, quiet_s=300.0)


def kills(seed: int, count: int) -> Plan:
    """Nothing but `kill -9` of the workers in turn: how soon are their jobs claimed again?"""
    faults = tuple(
        Fault(KILLS_EVERY_S * (n + 1), "kill", WORKERS[n % len(WORKERS)]) for n in range(count)
    )
    seconds = KILLS_EVERY_S * (count + 1)
    return Plan(seed=seed, seconds=seconds, every_s=KILLS_EVERY_S, quiet_s=300.0, faults=faults)


def planted(bug: str, seed: int) -> Plan:
    """A few seconds with the faults that bring out a bug of the workers."""
    return Plan(
        seed=seed,
        seconds=PLANTED_S,
        quiet_s=20.0,
        accounts=1,
        times=PLANTED_TIMES,
        bug=bug,
        first=FIRST.get(bug, ()),
        faults=FAULTS.get(bug, ()),
    )


FAULTS: dict[str, tuple[Fault, ...]] = {
    "unfenced": tuple(Fault(2 + n, "freeze", f"worker-{n}", 6.0) for n in (1, 2)),
    "late": (Fault(3, "kill", "worker-1"),),
}
FIRST: dict[str, tuple[str, ...]] = {"immortal": ("poison",), "deaf": ("linger", "linger")}
