"""The queries of the runbooks are right on the schema and the metrics that there are."""

from __future__ import annotations

import re

import psycopg
import pytest

from tests.crew import REPOSITORY

pytestmark = pytest.mark.slow

PAGES = sorted((REPOSITORY / "docs" / "runbooks").glob("*.md"))
QUERIES = [
    pytest.param(query, id=f"{page.stem} {number}")
    for page in PAGES
    for number, query in enumerate(re.findall(r'psql -U towline -c "([^"]+)"', page.read_text()))
]


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_of_a_runbook_is_right(postgres_url: str, query: str) -> None:
    with psycopg.connect(postgres_url.replace("+psycopg", "")) as connection:
        assert connection.execute(query).description
