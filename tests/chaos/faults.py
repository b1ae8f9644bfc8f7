"""The script of faults: what goes wrong, when, and for how long. One seed, one script.

kill      kill -9; whoever runs the processes starts it again
freeze    SIGSTOP, later SIGCONT: swapped out, or a machine that slept
restart   SIGTERM, and started again: a deploy
flush     every message in Redis is gone
refuse    S3 answers 503 to everybody
slow      S3 takes long for everybody
cut       the network between one worker and one server: what is sent waits; in the end it
          arrives, or the connections are reset
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

APIS = ("api-1", "api-2")
WORKERS = ("worker-1", "worker-2", "worker-3")
IO, BEAT = "worker-io", "beat"
REDIS, POSTGRES, S3 = "redis", "postgres", "s3"
PROCESSES = (*APIS, *WORKERS, IO, BEAT)
SERVERS = (REDIS, POSTGRES, S3)
ALL = (*PROCESSES, *SERVERS)

REST_S = 1.0  #: between two faults of one target
LONG = 1.4  #: leases; how long the worst freezes and cuts last

#: How often each kind comes, relative to the others.
WEIGHTS = {"kill": 10, "freeze": 7, "restart": 3, "flush": 2, "refuse": 2, "slow": 2, "cut": 6}
TARGETS: dict[str, tuple[str, ...]] = {
    "kill": (*ALL, *WORKERS),  # twice as often as the others
    "freeze": (*ALL, *WORKERS),
    "restart": (*PROCESSES, POSTGRES),
    "flush": (REDIS,),
    "refuse": (S3,),
    "slow": (S3,),
    "cut": tuple(f"{worker}/{server}" for worker, server in product((*WORKERS, IO), SERVERS)),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong: `at_s` after the start, for `lasts_s`.

    target: a process, a server, or `PROCESS/SERVER` for the network between the two.
    resets: whether the connections of a cut die of it.
    """

    at_s: float
    kind: str
    target: str
    lasts_s: float = 0.0
    resets: bool = False

    @property
    def touches(self) -> tuple[str, ...]:
        """Whoever must not have another fault at the same time."""
        return tuple(self.target.split("/")[:1])

    def to_json(self) -> dict[str, Any]:
        """As it is written down."""
        return asdict(self)

    def __str__(self) -> str:
        lasts = f" for {self.lasts_s:.1f} s" if self.lasts_s else ""
        return f"{self.kind} {self.target}{lasts}{', then reset' if self.resets else ''}"


def script(seed: int, *, every_s: float, lease_s: float) -> Iterator[Fault]:
    """Faults without end, one every `every_s`; each depends on the seed and those before it."""
    chance = random.Random(seed)
    free_at_s: dict[str, float] = {}
    at_s = every_s
    while True:
        fault = _draw(chance, at_s, lease_s)
        if all(free_at_s.get(name, 0) <= at_s for name in fault.touches):
            for name in fault.touches:
                free_at_s[name] = at_s + fault.lasts_s + REST_S
            yield fault
            at_s = round(at_s + every_s, 3)


def _draw(chance: random.Random, at_s: float, lease_s: float) -> Fault:
    (kind,) = chance.choices(list(WEIGHTS), list(WEIGHTS.values()))
    target = chance.choice(TARGETS[kind])
    lasts_s, resets = 0.0, False
    if kind == "freeze":
        lasts_s = chance.uniform(0.2, 1.5 if target in SERVERS else 2.5)
    elif kind in ("refuse", "slow"):
        lasts_s = chance.uniform(0.5, 3.0)
    elif kind == "cut":
        lasts_s, resets = chance.uniform(0.3, 3.0), chance.random() < 0.5
    if chance.random() < 0.2 and _may_be_long(kind, target):
        lasts_s = LONG * lease_s
    return Fault(at_s, kind, target, round(lasts_s, 2), resets)


def _may_be_long(kind: str, target: str) -> bool:
    """Those after which a worker comes back whose leases are gone."""
    return (kind == "freeze" and target in WORKERS) or (
        kind == "cut" and target.startswith(WORKERS) and target.endswith(POSTGRES)
    )
