"""The judge: compares what clients were told with what there is, and says what was broken.

It knows the contract and the tables, and nothing of the code that keeps them.

    lost       a job was promised and is not there, or not to be seen
    unfinished a job has not ended
    stray      a row that nobody asked for, or one more than was asked for
    history    a job's events are no path through its states
    double     a job ended twice
    changed    something was seen as final, and is different now
    no_object  a job has succeeded, and a picture is missing, or is another one
    untrue     a job has a result and has not succeeded, or the other way round
    mixed      a result that belongs to another attempt, or one edit with two results
    object     an object that no attempt of any job can have left
    attempts   more attempts, or losses, than are allowed
    outcome    a job ended otherwise than it should have
    cancel     a job was started, or went on, after its cancel was answered
    image      an upload was promised, and the image is not there
    answer     the API answered with a bug (500), or refused what is right
    ended      a process ended, and nobody had killed it
    late       something did not recover in time (`recovery.py`)
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

from tests.chaos.evidence import Evidence, keys_of
from tests.chaos.promises import FINAL

MAX_LOSSES = 3
NEXT = {
    "queued": {"running", "canceled", "failed", "expired"},
    "running": {"queued", "succeeded", "failed", "canceled"},
}
AWAY = {"storage_unavailable", "database_unavailable"}
#: The error codes with which each act may fail; those that are not here succeed.
FAILS = {
    "fail": {"engine_failed"},
    "refuse": {"drag_not_reachable"},
    "poison": {"worker_lost"},
    "overtime": {"timeout", *AWAY},  # less time than the wait before another try
}
SLACK_S = 0.1  #: between the database's clock and ours, and an answer on its way


@dataclass(frozen=True, order=True)
class Violation:
    """One broken promise."""

    kind: str
    subject: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.subject}: {self.detail}"


@dataclass
class Told:
    """What clients were told of one job."""

    shown: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    is_cancel_asked: bool = False
    canceled_at: float | None = None  #: when a cancel was answered for the first time
    is_delete_asked: bool = False
    is_accepted: bool = False


@dataclass
class Case:
    """The evidence, sorted by job."""

    evidence: Evidence

    @cached_property
    def told(self) -> dict[str, Told]:
        told: dict[str, Told] = defaultdict(Told)
        for line in self.evidence.promises:
            if "job" not in line:
                continue
            about = told[line["job"]]
            match line["what"]:
                case "accepted":
                    about.is_accepted = True
                case "cancel_asked":
                    about.is_cancel_asked = True
                case "cancel":
                    about.canceled_at = about.canceled_at or line["at"]
                case "delete_asked":
                    about.is_delete_asked = True
            if "shown" in line:
                about.shown.append((line["at"], line["shown"]))
        return told

    @cached_property
    def sent(self) -> dict[str, dict[str, Any]]:
        """Each submission, by its token."""
        return {line["token"]: line for line in self.evidence.promises if line["what"] == "sent"}

    @cached_property
    def needed_images(self) -> set[str]:
        return {row["object_key"] for row in self.evidence.images.values()}

    def order_of(self, row: dict[str, Any]) -> dict[str, Any] | None:
        """The submission that a row goes back to; a retry has the metadata of the first job."""
        return self.sent.get(row["metadata"].get("token", ""))


Check = Callable[[Case], Iterator[Violation]]


def judge(evidence: Evidence) -> list[Violation]:
    """Every broken promise."""
    case = Case(evidence)
    return sorted({violation for check in CHECKS for violation in check(case)})


def _lost(case: Case) -> Iterator[Violation]:
    for job, told in case.told.items():
        if not told.is_accepted or told.is_delete_asked:
            continue
        if job not in case.evidence.rows:
            yield Violation("lost", job, "was accepted, and has no row")
        elif job not in case.evidence.answers:
            yield Violation("lost", job, "was accepted, and is in no list")
    for line in case.evidence.promises:
        if line["what"] == "missing" and not case.told[line["job"]].is_delete_asked:
            yield Violation("lost", line["job"], f"was accepted, and then: {line['status']}")


def _unfinished(case: Case) -> Iterator[Violation]:
    for job, row in case.evidence.rows.items():
        if row["status"] not in FINAL:
            yield Violation("unfinished", job, f"is still {row['status']}")


def _stray(case: Case) -> Iterator[Violation]:
    firsts = Counter(
        row["metadata"].get("token")
        for row in case.evidence.rows.values()
        if row["retried_from"] is None
    )
    for token, rows in firsts.items():
        if token not in case.sent:
            yield Violation("stray", str(token), "a row that nobody asked for")
        elif rows > 1:
            yield Violation("stray", token, f"{rows} rows for one submission")
    retries = Counter(line["retried_from"] for line in case.sent.values())
    made = Counter(row["retried_from"] for row in case.evidence.rows.values())
    for job, rows in made.items():
        if job is not None and rows > retries[job]:
            yield Violation("stray", job, f"{rows} retries, {retries[job]} were asked for")


def _history(case: Case) -> Iterator[Violation]:
    for job, row in case.evidence.rows.items():
        events = case.evidence.events[job]
        states = [event.status for event in events]
        ends = [state for state in states if state in FINAL]
        if len(ends) > 1:
            yield Violation("double", job, f"ended {len(ends)} times: {states}")
        if not states or states[0] != "queued":
            yield Violation("history", job, f"did not begin as queued: {states}")
        for before, after in pairwise(states):
            if after not in NEXT.get(before, ()):
                kind = "double" if before in FINAL else "history"
                yield Violation(kind, job, f"{before}, then {after}")
        if states and states[-1] != row["status"]:
            yield Violation("history", job, f"is {row['status']}, its last event {states[-1]}")
        claims = [event.attempt for event in events if event.status == "running"]
        if claims != list(range(1, row["attempt"] + 1)):
            yield Violation("history", job, f"attempt {row['attempt']}, claims {claims}")


def _changed(case: Case) -> Iterator[Violation]:
    for job, told in case.told.items():
        final: dict[str, Any] | None = None
        attempt = 0
        views = [view for _, view in told.shown]
        if job in case.evidence.answers:
            views.append(case.evidence.answers[job])
        for view in views:
            if final is not None and view != final:
                yield Violation("changed", job, f"from {final} to {view}")
            if view["attempt"] < attempt:
                yield Violation("changed", job, f"attempt {attempt} was seen, then {view}")
            attempt = view["attempt"]
            final = view if view["status"] in FINAL else final


def _result(case: Case) -> Iterator[Violation]:
    evidence = case.evidence
    for job, row in evidence.rows.items():
        if (row["status"] == "succeeded") != (row["result"] is not None):
            yield Violation("untrue", job, f"is {row['status']}, result: {row['result']}")
        if row["status"] == "succeeded" and (row["error"] or not keys_of(row)):
            yield Violation("untrue", job, f"has succeeded with {row['result']}, {row['error']}")
        for key in keys_of(row):
            if key not in evidence.objects:
                yield Violation("no_object", job, f"{key} is not there")
            if not key.startswith(f"results/{row['account_id']}/{job}/{row['attempt']}/"):
                yield Violation("mixed", job, f"attempt {row['attempt']} points to {key}")
        for candidate in (row["result"] or {"candidates": []})["candidates"]:
            found = evidence.hashes.get(candidate["key"])
            if found not in (None, candidate["sha256"]):
                yield Violation("no_object", job, f"{candidate['key']} has other bytes: {found}")


def _same_edit_same_picture(case: Case) -> Iterator[Violation]:
    pictures: dict[str, dict[str, str]] = defaultdict(dict)
    for job, row in case.evidence.rows.items():
        order = case.order_of(row)
        for candidate in row["result"]["candidates"] if row["result"] and order else ():
            pictures[order["edit"]].setdefault(candidate["sha256"], job)
    for edit, found in pictures.items():
        if len(found) > 1:
            yield Violation(
                "mixed", ", ".join(found.values()), f"other pictures of one edit: {edit}"
            )


def _objects(case: Case) -> Iterator[Violation]:
    for key in case.evidence.objects:
        reason = why_left(key, case)
        if reason is None:
            yield Violation("object", key, "nobody can have left it")


def why_left(key: str, case: Case) -> str | None:
    """Why an object is there; None if it may not be."""
    place, _, *rest = key.split("/")
    if place == "images":
        return "needed" if key in case.needed_images else "an upload whose answer was lost"
    if place != "results" or len(rest) != 3:
        return None
    job, attempt, _ = rest
    row = case.evidence.rows.get(job)
    if row is None:
        return "its job was deleted" if case.told[job].is_delete_asked else None
    if key in keys_of(row):
        return "needed"
    if int(attempt) > row["attempt"] or not int(attempt):
        return None
    if row["status"] == "succeeded" and int(attempt) == row["attempt"]:
        return None
    return "an attempt that lost its lease, failed, or was stopped"


def _attempts(case: Case) -> Iterator[Violation]:
    for job, row in case.evidence.rows.items():
        if row["losses"] > MAX_LOSSES:
            yield Violation("attempts", job, f"{row['losses']} losses")
        allowed = 1 + row["losses"] + row["retries"] + case.evidence.drains.get(job, 0)
        if row["attempt"] > allowed:
            yield Violation("attempts", job, f"{row['attempt']} attempts, {allowed} are explained")
        is_quarantined = (row["error"] or {}).get("code") == "worker_lost"
        if is_quarantined and row["losses"] != MAX_LOSSES:
            yield Violation("attempts", job, f"given up after {row['losses']} losses")


def _outcome(case: Case) -> Iterator[Violation]:
    for job, row in case.evidence.rows.items():
        order = case.order_of(row)
        if order is None or row["status"] not in FINAL:
            continue
        code = (row["error"] or {}).get("code")
        fails = FAILS.get(order["act"], set())
        told = case.told[job]
        match row["status"]:
            case "succeeded":
                is_right = not fails
            case "failed":
                is_right = code in fails or (code == "worker_lost" and row["losses"] == MAX_LOSSES)
            case "canceled":
                is_right = told.is_cancel_asked
            case _:
                is_right = row["expires_at"] is not None and row["started_at"] is None
                is_right = is_right and row["finished_at"] >= row["expires_at"]
        if not is_right:
            yield Violation("outcome", job, f"{order['act']} ended as {row['status']}, {code}")


def _canceled(case: Case) -> Iterator[Violation]:
    for job, told in case.told.items():
        if told.canceled_at is None:
            continue
        for event in case.evidence.events[job]:
            if event.status == "running" and event.at > told.canceled_at + SLACK_S:
                yield Violation("cancel", job, "was started after its cancel was answered")


def _images(case: Case) -> Iterator[Violation]:
    evidence = case.evidence
    for line in evidence.promises:
        if line["what"] != "image":
            continue
        row = evidence.images.get(line["image"])
        if row is None:
            yield Violation("image", line["image"], "was promised, and has no row")
        elif evidence.hashes.get(row["object_key"]) != line["sha256"]:
            yield Violation("image", line["image"], "has no bytes, or other ones")


def _answers(case: Case) -> Iterator[Violation]:
    for line in case.evidence.promises:
        if line["what"] in ("broken", "refused"):
            said = f"{line['status']} {line['said'][:300]}"
            yield Violation("answer", str(line.get("token", "")), said)
        if line["what"] == "delete" and line["status"] not in (200, 404):
            yield Violation("answer", line["job"], f"a delete was answered with {line['status']}")


CHECKS: tuple[Check, ...] = (
    _lost, _unfinished, _stray, _history, _changed, _result, _same_edit_same_picture, _objects,
    _attempts, _outcome, _canceled, _images, _answers,
)  # fmt: skip
