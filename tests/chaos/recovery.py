"""How long each fault was felt: from its end until whoever it touched works again.

Signs of life, by who gives them: a worker claims a job; worker-io has done a sweep; beat has
sent one; an API process is ready, and says that all three servers answer. After the fault of a
server everybody must give one.

Faults overlap. Time in which another fault touches the same process does not count against the
limit, and a process that is killed or restarted meanwhile is excused: its own fault takes over.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING

from tests.chaos.director import Played
from tests.chaos.evidence import Evidence, log_time
from tests.chaos.faults import APIS, BEAT, IO, POSTGRES, PROCESSES, REDIS, SERVERS, WORKERS
from tests.chaos.oracle import FINAL, Case, Violation

if TYPE_CHECKING:
    from tests.chaos.stage import Times

#: Seconds until the next sign of life: a reconnection, a turn at the queue, an answer.
LIMITS_S = {**dict.fromkeys(APIS, 10.0), **dict.fromkeys(WORKERS, 20.0), IO: 15.0, BEAT: 15.0}
START_S = 20.0  #: and for a process that was ended, until Python has started, on a busy machine
#: What each needs to give a sign of life.
NEEDS = {
    **dict.fromkeys((*APIS, *WORKERS), SERVERS),
    IO: (REDIS, POSTGRES),  # forgetting may wait for S3, the urgent steps do not
    BEAT: (REDIS,),
}
RECLAIM = 1.2  #: leases, from the end of a worker to the next claim of its job
CANCEL_S = 3.0  #: and a heartbeat: until a running job has stopped
HELD_S = 5.5  #: PostgreSQL ends a transaction whose owner says nothing for 5 s
NOTICE_S = 0.3  #: a fault that hits while a sign of life is on its way

Span = tuple[float, float]


@dataclass
class Recovery:
    """One fault, as one process felt it.

    until: the sign of life; or when the process was ended, or the load was over, without one.
    clear_s: how much of the time since the end of the fault no other one touched the process.
    """

    played: Played
    process: str
    until: float
    has_recovered: bool
    clear_s: float = 0.0

    @property
    def took_s(self) -> float | None:
        """From the end of the fault to the sign of life."""
        return self.until - self.played.ended_at if self.has_recovered else None

    @property
    def is_own(self) -> bool:
        """Whether the process itself was ended, and had to start."""
        fault = self.played.fault
        return fault.target == self.process and fault.kind in ("kill", "restart")


@dataclass
class Reclaim:
    """A job whose worker was killed, frozen or cut off: until it was claimed again.

    disturbed_s: for how long, since the lease may have been over, something was away that a
        reclaim needs.
    """

    job: str
    kind: str
    took_s: float
    disturbed_s: float


@dataclass
class Felt:
    """All of it."""

    recoveries: list[Recovery] = field(default_factory=list)
    reclaims: list[Reclaim] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)


def feel(
    evidence: Evidence,
    played: list[Played],
    probes: dict[str, list[float]],
    times: Times,
    load_end: float,
    end: float,
    patience_s: float,
) -> Felt:
    """How everything recovered. After `load_end` a worker may have had nothing to claim.

    patience_s: more than the limits, for a machine that has other things to do.
    """
    signs = signs_of_life(evidence) | probes
    felt = Felt()
    for fault in played:
        for process in _touched(fault):
            until = load_end if process in WORKERS else end
            felt.recoveries.append(_recovery(fault, process, signs[process], played, until))
    spans = _spans(felt.recoveries)
    for recovery in felt.recoveries:
        others = [span for by, span in spans[recovery.process] if by is not recovery.played]
        recovery.clear_s = _clear_s(recovery.played.ended_at, recovery.until, others)
    felt.violations += _too_late(felt.recoveries, patience_s)
    outages = _outages(evidence, felt.recoveries, signs)
    machinery = _machinery(felt.recoveries, outages)
    for reclaim, allowed_s in _reclaims(evidence, played, machinery, times):
        felt.reclaims.append(reclaim)
        if reclaim.took_s > allowed_s + patience_s:
            said = f"claimed {reclaim.took_s:.1f} s after {reclaim.kind}, allowed {allowed_s:.1f} s"
            felt.violations.append(Violation("late", reclaim.job, said))
    felt.violations += _late_cancels(evidence, outages, times.heartbeat_s + CANCEL_S + patience_s)
    return felt


def signs_of_life(evidence: Evidence) -> dict[str, list[float]]:
    """When each worker claimed, worker-io swept, beat sent."""
    signs: dict[str, list[float]] = {name: [] for name in PROCESSES}
    for name, line in evidence.said:
        event = line["event"]
        if (
            (name in WORKERS and event == "job_claimed")
            or (name == IO and _is_sweep(event))
            or (name == BEAT and event.startswith("Scheduler: Sending"))
        ):
            signs[name].append(log_time(line))
    return {name: sorted(times) for name, times in signs.items()}


def _is_sweep(event: str) -> bool:
    """Asked for and done, or not asked for."""
    asked = event.startswith("Task towline.sweep") and "succeeded" in event
    return asked or event == "sweep_unasked"


def _touched(played: Played) -> Iterable[str]:
    """Whoever feels it."""
    name, _, server = played.fault.target.partition("/")
    if server:
        return [name] if server in NEEDS[name] else []
    if name in PROCESSES:
        return [name]
    return [process for process, needs in NEEDS.items() if name in needs]


def _recovery(
    played: Played, process: str, signs: list[float], all_played: list[Played], end: float
) -> Recovery:
    at = bisect_right(signs, played.ended_at)
    sign = signs[at] if at < len(signs) else float("inf")
    ends = [
        other.began_at
        for other in all_played
        if other.fault.target == process
        and other.fault.kind in ("kill", "restart")
        and other.began_at > played.began_at
    ]
    until = min([*ends, end])
    return Recovery(played, process, min(sign, until), has_recovered=sign <= until)


def _spans(recoveries: list[Recovery]) -> dict[str, list[tuple[Played, Span]]]:
    """When each process was touched, and by what; one that was ended, until it works again."""
    spans: dict[str, list[tuple[Played, Span]]] = defaultdict(list)
    for felt in recoveries:
        until = felt.until if felt.is_own else felt.played.ended_at + NOTICE_S
        spans[felt.process].append((felt.played, (felt.played.began_at, until)))
    return {name: sorted(those, key=lambda touched: touched[1]) for name, those in spans.items()}


def _limit_s(felt: Recovery) -> float:
    return LIMITS_S[felt.process] + (START_S if felt.is_own else 0.0)


def _too_late(recoveries: list[Recovery], patience_s: float) -> Iterator[Violation]:
    for felt in recoveries:
        if felt.clear_s > _limit_s(felt) + patience_s:
            took = "none" if felt.took_s is None else f"the first {felt.took_s:.1f} s later"
            said = f"signs of life after {felt.played.fault}, over at {felt.played.ended_at:.1f}:"
            clear = f"{felt.clear_s:.1f} s were undisturbed"
            yield Violation("late", felt.process, f"{said} {took}; {clear}")


def _clear_s(since: float, until: float, spans: list[Span]) -> float:
    """How much of this time no span covers."""
    return max(0.0, until - since) - _covered_s(since, until, spans)


def _covered_s(since: float, until: float, spans: list[Span]) -> float:
    """How much of this time lies in a span; they are in order."""
    covered, at = 0.0, since
    for span in spans:
        begin, end = max(span[0], at), min(span[1], until)
        if end > begin:
            covered += end - begin
            at = end
    return covered


def _machinery(recoveries: list[Recovery], outages: dict[str, list[Span]]) -> list[Span]:
    """When something was away without which nobody claims a lost job again.

    Beat and worker-io, each until it works again; a server, until the first worker does (they
    may wait for S3 with every thread); all workers at once; and a worker that is frozen, or cut
    off from the database, for as long as it may hold the very job that it was claiming.
    """
    spans = [
        (felt.played.began_at, felt.until) for felt in recoveries if felt.process in (IO, BEAT)
    ]
    first: dict[float, float] = {}  # of the workers, whoever is back first takes the job
    for felt in recoveries:
        if felt.process in WORKERS and felt.played.fault.target in SERVERS:
            spans.append((felt.played.began_at, felt.played.ended_at))
            if felt.has_recovered:
                until = first.get(felt.played.began_at, felt.until)
                first[felt.played.began_at] = min(until, felt.until)
        if felt.process in WORKERS and felt.played.fault.kind in ("freeze", "cut"):
            held_until = min(felt.played.ended_at, felt.played.began_at + HELD_S)
            spans.append((felt.played.began_at, held_until))
    nobody = outages[WORKERS[0]]
    for name in WORKERS[1:]:
        nobody = _both(nobody, outages[name])
    return sorted([*spans, *first.items(), *nobody])


def _outages(
    evidence: Evidence, recoveries: list[Recovery], signs: dict[str, list[float]]
) -> dict[str, list[Span]]:
    """When each worker was away, from a fault or its own end until its next claim."""
    outages: dict[str, list[Span]] = {name: [] for name in WORKERS}
    for felt in recoveries:
        if felt.process in WORKERS:
            outages[felt.process].append((felt.played.began_at, felt.until))
    for ended in evidence.ended:
        if ended.name in WORKERS:
            later = signs[ended.name][bisect_right(signs[ended.name], ended.at) :]
            outages[ended.name].append((ended.at, later[0] if later else float("inf")))
    return {name: sorted(spans) for name, spans in outages.items()}


def _both(some: list[Span], others: list[Span]) -> list[Span]:
    """The time that lies in a span of each."""
    pairs = product(some, others)
    both = [(max(a[0], b[0]), min(a[1], b[1])) for a, b in pairs]
    return sorted(span for span in both if span[0] < span[1])


def _reclaims(
    evidence: Evidence, played: list[Played], machinery: list[Span], times: Times
) -> Iterator[tuple[Reclaim, float]]:
    """Each job whose worker lost it, and the seconds that were allowed."""
    for fault in played:
        is_gone = fault.fault.kind == "kill"
        if not is_gone and fault.fault.lasts_s < times.lease_s:
            continue
        for job, attempt in fault.held:
            later = [
                event
                for event in evidence.events.get(job, [])
                if event.at >= fault.began_at and event.status != "queued"
            ]
            if not later or later[0].status in FINAL or later[0].attempt <= attempt:
                continue  # it ended, before the worker did, or with the lease: nobody claims it
            took_s = later[0].at - fault.began_at
            # Before the lease is over there is nothing to do that could be disturbed.
            over_at = fault.began_at + times.lease_s - times.heartbeat_s
            disturbed_s = _covered_s(over_at, later[0].at, machinery)
            kind = f"{fault.fault.kind} {'worker' if is_gone else fault.fault.target}"
            allowed_s = RECLAIM * times.lease_s + disturbed_s
            yield Reclaim(job, kind, took_s, disturbed_s), allowed_s


def _late_cancels(
    evidence: Evidence, outages: dict[str, list[Span]], limit_s: float
) -> Iterator[Violation]:
    """Running jobs that did not hear of their cancel."""
    anywhere = sorted(span for spans in outages.values() for span in spans)
    for job, told in Case(evidence).told.items():
        row = evidence.rows.get(job)
        if told.canceled_at is None or row is None or row["status"] != "succeeded":
            continue
        clear_s = _clear_s(told.canceled_at, row["finished_at"] / 1000, anywhere)
        if clear_s > limit_s:
            said = f"went on for {clear_s:.1f} s after its cancel was answered"
            yield Violation("cancel", job, said)
