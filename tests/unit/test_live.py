"""Ids of events: whoever goes on after the last one sees every state and picture exactly once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import count, pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from api.live import START, Event, events_after, place_of
from shared.jobs.history import History, Reached
from shared.jobs.job import Job
from shared.jobs.state import JobState
from tests.factories import a_result, a_spec

NOTHING_YET: dict[str, Any] = dict.fromkeys(set(Job.__slots__) - {"claim_sent"})
JOB = Job(
    **NOTHING_YET
    | {"id": "job_1", "account_id": "acc_1", "status": JobState.QUEUED, "spec": a_spec()}
    | {"metadata": {}, "attempt": 0, "step": 0}
)


class Signer:
    """Stands for whatever signs URLs: a fresh one each time."""

    def __init__(self) -> None:
        self._numbers = count()

    def download(self, key: str, ttl_s: int, content_type: str) -> str:
        return f"https://there/{key}?{next(self._numbers)}"


@dataclass
class At:
    """The part of a `Context` that rendering needs."""

    urls: Signer
    services: Any


class _Settings:
    url_ttl_s = 60


class _Services:
    settings = _Settings()


AT: Any = At(Signer(), _Services())


def lives() -> st.SearchStrategy[list[History]]:
    """A job after each thing that happened to it, from `queued` to its end."""
    attempt = st.lists(st.integers(0, 3), max_size=4)  # how far each look at the heart went on
    end = st.sampled_from([JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELED])
    return st.builds(_live, st.lists(attempt, min_size=1, max_size=4), end, st.integers(1, 3))


def _live(attempts: list[list[int]], end: JobState, pictures: int) -> list[History]:
    rows = count(5, 7)  # other jobs have rows in between
    now = History(JOB, (Reached(next(rows), JobState.QUEUED, 0, 0),))
    seen = [now]

    def reach(status: JobState, **changes: Any) -> None:
        job = replace(seen[-1].job, status=status, **changes)
        reached = Reached(next(rows), status, job.attempt, 0)
        seen.append(History(job, (*seen[-1].reached, reached)))

    for number, steps in enumerate(attempts, start=1):
        if number > 1:
            reach(JobState.QUEUED)
        reach(JobState.RUNNING, attempt=number, step=0)
        for more in steps:
            job = seen[-1].job
            seen.append(replace(seen[-1], job=replace(job, step=job.step + more, steps=99)))
    job = seen[-1].job
    names = [f"{n}.png" for n in range(pictures)]
    is_success = end is JobState.SUCCEEDED
    reach(end, result=a_result(job, *names) if is_success else None)
    return seen


def lasting(events: list[Event]) -> list[tuple[tuple[int, int], str]]:
    """What must never be missed."""
    return [(event.place, event.type) for event in events if event.type != "progress"]


@given(lives(), st.data())
def test_nothing_is_lost_or_comes_twice_when_a_client_looks_and_comes_back_at_random(
    life: list[History], data: st.DataObject
) -> None:
    place, told = START, []
    for history in life:
        if history is not life[-1] and not data.draw(st.booleans(), "looks"):
            continue
        news = events_after(history, place, AT)
        told += news[: data.draw(st.integers(0, len(news)), "received")]
        if told:  # cut off there; another process is asked, with the id as it came
            said = told[-1].encode().decode().split("\n")[0].removeprefix("id: ")
            assert place_of(said, history) == told[-1].place
            place = told[-1].place
    told += events_after(life[-1], place, AT)
    places = [event.place for event in told]
    assert places == sorted(set(places))
    assert lasting(told) == lasting(events_after(life[-1], START, AT))
    assert told[-1].data["status"] == life[-1].job.status.value


@given(lives())
def test_a_job_that_has_ended_is_told_without_steps(life: list[History]) -> None:
    types = [event.type for event in events_after(life[-1], START, AT)]
    assert "progress" not in types
    assert types[-1] == "status"
    assert events_after(life[-1], events_after(life[-1], START, AT)[-1].place, AT) == []


@given(lives())
def test_an_older_history_tells_nothing_new_when_a_newer_one_was_seen(life: list[History]) -> None:
    for older, newer in pairwise(life):
        seen = events_after(newer, START, AT)[-1].place
        assert events_after(older, seen, AT) == []
