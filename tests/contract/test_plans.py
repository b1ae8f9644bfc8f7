"""No statement reads more jobs than it needs: its plan uses the index that was made for it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event, update

from shared.jobs.cache_keys import Contents
from shared.jobs.cached import earlier_result
from shared.jobs.pointers import shared_keys
from shared.jobs.state import JobState
from shared.jobs.tables import jobs
from shared.services import Services
from shared.webhooks.status import Status
from tests.crowded import METADATA, Crowd, endpoint_of, name_of
from tests.factories import a_spec

ACCOUNTS = 50
KEY, CONTENTS = b"k" * 32, Contents("a" * 64, None)
#: Of the audit log, one along an index ends at its `LIMIT`.
SCAN = re.compile(r"SCAN jobs|SCAN audit_log(?! USING)|Seq Scan on (jobs|audit_log)")


def _share_and_keep(services: Services) -> None:
    """Half of what is there may answer others, and half was answered: by one, or by many."""
    with services.database.writing() as connection:
        connection.execute(update(jobs).values(cache_key=KEY).where(jobs.c.id.like("%1")))
        connection.execute(update(jobs).values(origin_id=jobs.c.id).where(jobs.c.id.like("%2")))
        connection.execute(update(jobs).values(origin_id="job_0").where(jobs.c.id.like("%3")))


@pytest.fixture
def crowd(services: Services) -> Services:
    """Enough rows for PostgreSQL to prefer an index to reading everything."""
    crowd = Crowd(services.database)
    crowd.accounts(ACCOUNTS)
    crowd.jobs("succeeded", 4000, accounts=ACCOUNTS)
    _share_and_keep(services)
    crowd.jobs("queued", 300, accounts=ACCOUNTS)
    crowd.jobs("running", 100, accounts=ACCOUNTS)
    crowd.entries(4000, accounts=ACCOUNTS)
    crowd.deliveries("succeeded", 3000, accounts=ACCOUNTS)
    crowd.deliveries("failed", 200, accounts=ACCOUNTS)
    crowd.deliveries("pending", 300, accounts=ACCOUNTS)
    crowd.settle()
    return services


def _is_answered(services: Services) -> None:
    services.engines_up.seen("w", "warp", "warp-1", 1)
    services.jobs.is_answered(name_of(0), a_spec(), CONTENTS)


def _earlier(services: Services) -> None:
    with services.database.writing() as connection:
        earlier_result(connection, name_of(0), KEY)


def _shared(services: Services) -> None:
    with services.database.reading() as connection:
        shared_keys(connection, ["job_1000000000000"])


def _any_ended(services: Services) -> str:
    return services.jobs.page(name_of(0), limit=1, status=JobState.SUCCEEDED)[0].id


def _any_queued(services: Services) -> str:
    return services.jobs.page(name_of(0), limit=1, status=JobState.QUEUED)[0].id


CALLS: dict[str, tuple[Callable[[Services], object], list[str]]] = {
    "claim": (lambda s: s.leases.claim_next("warp", "w"), ["ix_jobs_claim", "served_at"]),
    "lines": (lambda s: s.upkeep.shorten_lines(), ["ix_jobs_claim", "served_at"]),
    "leases": (lambda s: s.upkeep.take_back_expired_leases(), ["ix_jobs_lease"]),
    "expiry": (lambda s: s.upkeep.expire_waiting(), ["ix_jobs_expiry"]),
    "deadlines": (lambda s: s.upkeep.fail_overdue(), ["ix_jobs_deadline"]),
    "results": (lambda s: s.upkeep.results_past_retention(), ["ix_jobs_retention"]),
    "retention": (lambda s: s.upkeep.jobs_past_retention(), ["ix_jobs_forget"]),
    "images": (lambda s: s.images.forget_expired(), ["ix_jobs_image", "ix_jobs_mask"]),
    "due": (lambda s: s.upkeep.due_by_engine(), ["ix_jobs_"]),  # any that holds the queued alone
    "next place": (lambda s: s.jobs.next_place(name_of(0), "warp", 1), ["ix_jobs_claim"]),
    "pace": (lambda s: s.forecasts.pace("warp"), ["ix_jobs_runs"]),
    "earlier result": (_earlier, ["ix_jobs_cache"]),
    "is answered": (_is_answered, ["ix_jobs_cache"]),
    "sharing": (lambda s: s.jobs.delete(name_of(0), _any_ended(s)), ["ix_jobs_origin"]),
    "shared objects": (_shared, ["ix_jobs_origin"]),
    "list": (lambda s: s.jobs.page(name_of(0), limit=5), ["ix_jobs_list"]),
    "metadata of none": (
        lambda s: s.jobs.page(name_of(0), limit=5, metadata={"k": "v"}),
        ["job_labels"],
    ),
    "metadata of all": (
        lambda s: s.jobs.page(name_of(0), limit=5, metadata=METADATA),
        ["job_labels"],
    ),
    "usable keys": (
        lambda s: s.accounts.usable_among([f"{n:016x}" for n in range(100)]),
        ["api_keys", "accounts"],
    ),
    "usage": (lambda s: s.accounts.usage(name_of(0)), ["ix_jobs_", "account_usage"]),
    "audit log": (lambda s: s.audit_log.page(name_of(0), limit=5), ["ix_audit_log_account"]),
    "audit log by action": (
        lambda s: s.audit_log.page(name_of(0), limit=5, action="job.canceled"),
        ["ix_audit_log_action"],
    ),
    "audit log by subject": (
        lambda s: s.audit_log.page(name_of(0), limit=5, subject="job_1"),
        ["ix_audit_log_subject"],
    ),
    "audit log by key": (
        lambda s: s.audit_log.page(name_of(0), limit=5, actor_id="7"),
        ["ix_audit_log_actor"],
    ),
    "old entries": (lambda s: s.audit_log.forget_old(), ["audit_log"]),
    "places": (
        lambda s: s.jobs.places(name_of(0), "warp", [_any_queued(s)]),
        ["ix_jobs_claim"],
    ),
}


WEBHOOK_CALLS: dict[str, tuple[Callable[[Services], object], list[str]]] = {
    "claim": (
        lambda s: s.webhooks.dispatch.claim("", lambda lane, taken: 1, 2),
        ["ix_webhook_deliveries_lane"],
    ),
    "due": (lambda s: s.webhooks.upkeep.is_anything_due(), ["ix_webhook_deliveries_due"]),
    "stale": (lambda s: s.webhooks.upkeep.give_up_stale(), ["ix_webhook_deliveries_stale"]),
    "old": (lambda s: s.webhooks.upkeep.forget_old(), ["ix_webhook_deliveries_retention"]),
    "list": (
        lambda s: s.webhooks.deliveries.page(name_of(0), limit=5),
        ["ix_webhook_deliveries_list"],
    ),
    "list by status": (
        lambda s: s.webhooks.deliveries.page(name_of(0), limit=5, status=Status.FAILED),
        ["ix_webhook_deliveries_list_by_status"],
    ),
    "list by endpoint": (
        lambda s: s.webhooks.deliveries.page(name_of(0), limit=5, endpoint_id=endpoint_of(0)),
        ["ix_webhook_deliveries_endpoint"],
    ),
    "list by endpoint and status": (
        lambda s: s.webhooks.deliveries.page(
            name_of(0), limit=5, endpoint_id=endpoint_of(0), status=Status.FAILED
        ),
        ["ix_webhook_deliveries_"],
    ),
    "list by job": (
        lambda s: s.webhooks.deliveries.page(name_of(0), limit=5, job_id="job_1000000000000"),
        ["ix_webhook_deliveries_job"],
    ),
    "replay": (
        lambda s: s.webhooks.deliveries.replay_failed(name_of(0), endpoint_of(0), 0),
        ["ix_webhook_deliveries_endpoint_by_status"],
    ),
}


@pytest.mark.parametrize("name", WEBHOOK_CALLS)
def test_no_statement_reads_all_deliveries_when_it_has_an_index(crowd: Services, name: str) -> None:
    call, indexes = WEBHOOK_CALLS[name]
    plan = _plan_of(crowd, call)
    table = "webhook_deliveries"
    scans = [line for line in plan if f"SCAN {table}" in line and "USING" not in line]
    scans += [line for line in plan if f"Seq Scan on {table}" in line]
    assert scans == [], plan
    for index in indexes:
        assert any(index in line for line in plan), plan


@pytest.mark.parametrize("name", CALLS)
def test_no_statement_reads_all_jobs_when_it_has_an_index(crowd: Services, name: str) -> None:
    call, indexes = CALLS[name]
    plan = _plan_of(crowd, call)
    scans = [line for line in plan if SCAN.search(line)]
    assert scans == [], plan
    for index in indexes:
        assert any(index in line for line in plan), plan


def _plan_of(services: Services, call: Callable[[Services], object]) -> list[str]:
    engine = services.database.engine
    sent: list[tuple[str, Any]] = []

    def note(_c: object, _k: object, statement: str, parameters: Any, *_: object) -> None:
        if statement.startswith(("SELECT", "WITH", "UPDATE")):
            sent.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    call(services)
    event.remove(engine, "before_cursor_execute", note)
    explain = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
    with services.database.writing() as connection:
        return [
            str(row[-1])
            for statement, parameters in sent
            for row in connection.exec_driver_sql(f"{explain} {statement}", parameters)
        ]
