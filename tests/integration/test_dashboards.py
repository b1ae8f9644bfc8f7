"""Every panel asks a question that a real Prometheus answers, with what a real run counts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from shared.services import Services
from tests.batches import jsonl, lines_for, send
from tests.broker import free_port
from tests.crew import REPOSITORY, Crew, wait_until
from tests.factories import Factory, a_picture
from tests.integration.editor import Editor
from tests.integration.serving import Server
from tests.receiver import Message, Receiver, Reply
from tests.servers.prometheus import Prometheus

pytestmark = [
    pytest.mark.slow,
    pytest.mark.parametrize("database_url", ["postgresql"], indirect=True),
]

DASHBOARDS = sorted((REPOSITORY / "infra" / "grafana" / "dashboards").glob("*.json"))
DRAG = {"handle": [20, 20], "target": [28, 20]}
SHOWN_S = 120  #: of the past, as a dashboard shows it
#: Panels with nothing to show in such a run, and why.
EMPTY = {
    "Firing": "nothing is wrong for long enough",
    "Share of time with a batch": "the engine of the suite makes no batches",
    "Candidates in a batch": "the engine of the suite makes no batches",
    "Time of a batch": "the engine of the suite makes no batches",
}


@pytest.fixture
def crew(start_crew: Callable[..., Crew]) -> Crew:
    """Its worker does everything; leases are short, so that one is soon lost."""
    return start_crew(
        lease_s=5, heartbeat_s=0.5, sweep_s=0.3, worker_port=free_port(), webhook_allow_http=True,
        webhook_ports=("*",), webhook_networks=("127.0.0.0/8",),
    )  # fmt: skip


@pytest.fixture
def server(crew: Crew, tmp_path: Path) -> Iterator[Server]:
    server = Server(crew.services, tmp_path, api_processes=2)
    server.wait_until_up()
    yield server
    server.end()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Takes every message but those to `/no`."""

    def answer(message: Message) -> Reply:
        return Reply(500 if message.path == "/no" else 204)

    with Receiver(answer) as receiver:
        yield receiver


@pytest.fixture
def prometheus(crew: Crew, server: Server, tmp_path: Path) -> Iterator[Prometheus]:
    port = crew.services.settings.worker_port
    targets = {"api": f"127.0.0.1:{server.port}", "worker-io": f"127.0.0.1:{port}"}
    with Prometheus(tmp_path, targets) as prometheus:
        yield prometheus


def test_every_panel_shows_what_happened(
    prometheus: Prometheus, crew: Crew, server: Server, receiver: Receiver, tmp_path: Path
) -> None:
    make = Factory(crew.services)
    lost = make.running(is_stored=True)  # by a worker that says nothing more
    crew.worker(queues="warp,maintenance,webhooks").wait_for_ready()
    wait_until(lambda: prometheus.query("up == 1") == [1, 1])
    crew.wait_for_end(lost)  # before the next one begins: it wants the worker for itself
    mark = tmp_path / "mark"
    held = make.job(is_stored=True, options={"act": "wait_for_mark", "mark": str(mark)})

    def is_all_shown() -> bool:
        happen(crew.services, server, receiver)
        return empty_panels(prometheus) <= EMPTY.keys()

    wait_until(is_all_shown, 150, f"see {prometheus.log}")
    assert empty_panels(prometheus) == EMPTY.keys()  # what shows something has no place there
    mark.touch()
    crew.wait_for_end(held)
    assert_rules_are_judged(prometheus)
    for page in (REPOSITORY / "docs" / "runbooks").glob("*.md"):
        for query in re.findall(r"```promql\n(.*?)```", page.read_text(), re.DOTALL):
            prometheus.query(query)


def happen(services: Services, server: Server, receiver: Receiver) -> None:
    """Edits over HTTP with webhooks, one of which is not taken; jobs that fail, and that wait.

    And a batch.
    """
    make = Factory(services)
    key = services.accounts.create_key("watched")
    account = services.accounts.account_of(key.text)
    assert account is not None
    if not services.webhooks.endpoints.page(account, limit=1):
        for path in ("/yes", "/no"):
            make.endpoint(account, url=receiver.url(path))
    with httpx.Client(
        base_url=server.url, headers={"Authorization": f"Bearer {key.text}"}, trust_env=False,
        timeout=30,
    ) as api:  # fmt: skip
        editor = Editor(api)
        image = editor.upload(a_picture())["id"]
        for _ in range(3):
            editor.edit(image=image, drags=[DRAG])
        for _ in range(2):  # the second is answered from the first
            editor.edit(image=image, drags=[DRAG], options={"seed": 1})
    for act in ("refuse", "lose_storage"):
        make.job(account, is_stored=True, options={"act": act})
    stored = make.image(account, is_stored=True).id
    if not services.batches.page(account, limit=1):
        send(services, account, jsonl(lines_for(stored, 60)))
    services.wakeups.send("warp")


def empty_panels(prometheus: Prometheus) -> set[str]:
    """Those one of whose queries gives no number; a query that is none fails the test."""
    queries = {
        panel["title"]: [target["expr"] for target in panel["targets"]]
        for path in DASHBOARDS
        for panel in json.loads(path.read_text())["panels"]
        if panel["type"] != "row"
    }
    assert len(queries) > 20

    def is_shown(query: str) -> bool:
        return bool(prometheus.history(query.replace("$__rate_interval", "1m"), SHOWN_S))

    return {title for title, asked in queries.items() if not all(map(is_shown, asked))}


def assert_rules_are_judged(prometheus: Prometheus) -> None:
    rules = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    assert len(rules) >= 10
    assert [rule["name"] for rule in rules if rule["health"] != "ok"] == []
    assert [rule["name"] for rule in rules if rule["state"] == "firing"] == []
