"""How a list of jobs finds those with some metadata: a row for each pair, in the jobs' order.

A pair is kept as a digest, so that a row is small whatever its length.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select

from shared.jobs.tables import job_labels, jobs

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Select


def label_of(key: str, value: str) -> bytes:
    """128 bits that stand for a pair."""
    pair = f"{len(key)}:{key}{value}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(pair).digest()[:16]


def add_labels(
    connection: Connection, account_id: str, job_id: str, metadata: Mapping[str, str]
) -> None:
    """Let a new job be found by each pair of its metadata."""
    add_labels_of(connection, account_id, {job_id: metadata})


def add_labels_of(
    connection: Connection, account_id: str, those: Mapping[str, Mapping[str, str]]
) -> None:
    """The same of many jobs, by their ids."""
    rows = [
        {"account_id": account_id, "label": label_of(key, value), "job_id": job_id}
        for job_id, metadata in those.items()
        for key, value in metadata.items()
    ]
    if rows:
        connection.execute(insert(job_labels), rows)


def with_labels(
    account_id: str, metadata: Mapping[str, str]
) -> tuple[Select[Any], ColumnElement[str]]:
    """The account's jobs that have every one of these pairs, and the column that orders them.

    That of the first label, not the job's own, so that a page is read along its index.
    """
    query, place = select(jobs), None
    for key, value in metadata.items():
        rows = job_labels.alias()
        query = query.join(rows, rows.c.job_id == (jobs.c.id if place is None else place))
        query = query.where(rows.c.account_id == account_id, rows.c.label == label_of(key, value))
        place = rows.c.job_id if place is None else place
    if place is None:
        return query.where(jobs.c.account_id == account_id), jobs.c.id
    return query, place
