"""Runs of manifests, on the fake: what is done, once, and what is said."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.client.cli.conftest import Ran
from tests.client.cli.manifests import a_line, pictures, write
from towline.cli.batch.state import State
from towline.testing import FakeTowline
from towline.testing.refusals import Refusal

Cli = Callable[..., Ran]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    pictures(tmp_path / "pictures", "a.png", "b.png", "mask.png")
    return tmp_path


@pytest.fixture
def go(cli: Cli, place: Path) -> Cli:
    """`batch run m.jsonl`, with more options."""

    def call(*options: object, manifest: str = "m.jsonl") -> Ran:
        common = ("--images", "pictures", "--out", "out", "--patience", "0")
        return cli("batch", "run", manifest, *common, *options)

    return call


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause is one."""
    sleep = asyncio.sleep

    async def pause(_: float) -> None:
        await sleep(0)

    monkeypatch.setattr("asyncio.sleep", pause)


def posts(fake: FakeTowline, path: str) -> int:
    return sum(each.method == "POST" and each.path == path for each in fake.requests)


def results(place: Path) -> list[dict[str, Any]]:
    lines = (place / "out" / "results.jsonl").read_text().splitlines()
    return [json.loads(each) for each in lines]


def test_a_manifest_becomes_pictures(go: Cli, fake: FakeTowline, place: Path) -> None:
    write(place / "m.jsonl", a_line("one"), "", a_line("two/2", "b.png", mask="mask.png"))

    ran = go("--json")

    assert ran.code == 0, ran.err
    assert ran.json["counts"] == {"total": 2, "succeeded": 2}
    for name, source in (("one.png", "a.png"), ("two_2.png", "b.png")):
        picture = (place / "out" / name).read_bytes()
        assert picture == (place / "pictures" / source).read_bytes()
    first, second = results(place)
    assert (first["line"], first["custom_id"], first["files"]) == (1, "one", ["one.png"])
    assert (second["line"], second["custom_id"], second["files"]) == (3, "two/2", ["two_2.png"])
    assert "url" not in json.dumps(first)
    jobs = list(fake.jobs.all.values())
    assert [bool(job["request"]["mask"]) for job in jobs] == [False, True]


def test_a_csv_manifest_becomes_pictures(go: Cli, fake: FakeTowline, place: Path) -> None:
    rows = 'custom_id,image,drags,seed,candidates\na,a.png,"20,20:28,20",7,2\n'
    (place / "m.csv").write_text(rows)
    assert go(manifest="m.csv").code == 0
    (job,) = fake.jobs.all.values()
    assert job["request"]["options"]["seed"] == 7
    assert {each.name for each in (place / "out").glob("*.png")} == {"a-0.png", "a-1.png"}


def test_the_same_command_again_does_nothing_twice(go: Cli, fake: FakeTowline, place: Path) -> None:
    write(place / "m.jsonl", a_line("one"), a_line("two"))
    assert go().code == 0
    before = len(fake.requests)

    assert go().code == 0

    assert [each.path for each in fake.requests[before:]] == ["/v1/account"]


def test_every_wrong_line_is_named_before_anything_is_sent(
    go: Cli, fake: FakeTowline, place: Path
) -> None:
    bad = [a_line(f"bad-{number}", f"none-{number}.png") for number in range(1, 1201)]
    write(place / "m.jsonl", a_line("good"), *bad, a_line("good"), "{", "")

    ran = go()

    assert ran.code == 2
    assert not fake.requests
    assert "1202 of 1203 lines of m.jsonl are not valid" in ran.err
    for number in range(2, 1002):
        assert f"line {number}: image: there is no file none-{number - 1}.png" in ran.err
    assert "... and 202 more lines" in ran.err


def test_a_thousand_lines_of_every_kind_of_wrong_are_each_named(
    go: Cli, fake: FakeTowline, place: Path
) -> None:
    kinds = [
        "{",
        "[]",
        a_line("x", "../a.png"),
        a_line("", "a.png"),
        a_line("x", "a.png", drags=[]),
        a_line("x", "a.png", mask="none.png"),
        a_line("x", "a.png", colour="red"),
        a_line("same", "a.png"),
        a_line("x", "a.png", drags=[{"handle": [10**400, 1], "target": [2, 1]}]),
        json.dumps(a_line("x", "a.png")).replace('"x"', '"\\ud83d"'),
        json.dumps(a_line("x", "a.png")).replace('"x"', '"x", "metadata": {"a": 1e999}'),
    ]
    write(place / "m.jsonl", a_line("same"), *((kinds * 91)[:1000]))
    ran = go("--json")
    assert ran.code == 2
    details = json.loads(ran.err)["error"]["details"]
    named = {int(each.split(":")[0].removeprefix("line ")) for each in details if ": " in each}
    assert named == set(range(2, 1002))


def test_wrong_lines_are_left_out_if_that_is_wanted(
    go: Cli, fake: FakeTowline, place: Path
) -> None:
    wrong = a_line("off", drags=[{"handle": [20, 20], "target": [900, 20]}])
    write(place / "m.jsonl", a_line("good"), "{", wrong, a_line("gone", "none.png"))

    ran = go("--skip-invalid")

    assert ran.code == 1
    assert "1 of 4 succeeded, 3 invalid" in ran.out
    found = results(place)
    assert [each["status"] for each in found] == ["succeeded", "invalid", "invalid", "invalid"]
    assert "not JSON" in found[1]["error"]["message"]
    assert found[2]["error"]["errors"][0]["code"] == "point_outside_image"
    assert "no file none.png" in found[3]["error"]["message"]
    assert len(fake.jobs.all) == 1


def test_what_the_service_finds_wrong_is_named_by_the_manifests_lines(
    go: Cli, fake: FakeTowline, place: Path
) -> None:
    wrong = a_line("off", drags=[{"handle": [20, 20], "target": [900, 20]}])
    write(place / "m.jsonl", "", a_line("good"), "", wrong)

    ran = go()

    assert ran.code == 2
    assert "line 4: drags/0/target" in ran.err
    assert not fake.jobs.all

    write(place / "m.jsonl", "", a_line("good"), "", a_line("off"))
    assert go().code == 0
    assert len(fake.jobs.all) == 2


def test_a_rejected_batch_is_sent_anew_without_its_wrong_lines(
    go: Cli, fake: FakeTowline, place: Path
) -> None:
    wrong = a_line("off", drags=[{"handle": [20, 20], "target": [900, 20]}])
    write(place / "m.jsonl", a_line("good"), wrong)
    assert go().code == 2
    assert go("--skip-invalid").code == 1
    assert len(fake.jobs.all) == 1


def test_a_picture_that_is_not_taken_names_its_lines(
    go: Cli, fake: FakeTowline, place: Path
) -> None:
    cut = (place / "pictures" / "a.png").read_bytes()[:20]
    (place / "pictures" / "cut.png").write_bytes(cut)
    write(place / "m.jsonl", a_line("good"), a_line("one", "cut.png"), a_line("two", "cut.png"))

    ran = go()

    assert ran.code == 2
    assert "line 2: " in ran.err
    assert "line 3: " in ran.err
    assert "image_unreadable" in ran.err
    assert not fake.batches.all
    assert go("--skip-invalid").code == 1
    assert [each["status"] for each in results(place)] == ["succeeded", "invalid", "invalid"]


def test_a_manifest_that_changed_since_it_was_sent_is_refused(
    go: Cli, fake: FakeTowline, place: Path
) -> None:
    write(place / "m.jsonl", a_line("one"))
    assert go().code == 0
    write(place / "m.jsonl", a_line("one"), a_line("two"))

    ran = go()

    assert ran.code == 2
    assert "not as it was when its jobs were sent" in ran.err
    assert "--out" in ran.err
    assert len(fake.batches.all) == 1


def test_many_lines_become_several_batches(go: Cli, fake: FakeTowline, place: Path) -> None:
    write(place / "m.jsonl", *(a_line(f"line-{number}") for number in range(7)))
    ran = go("--lines-per-batch", "3", "--json")
    assert ran.code == 0
    assert [len(each.lines) for each in fake.batches.all.values()] == [3, 3, 1]
    assert [each["id"] for each in ran.json["batches"]] == list(fake.batches.all)
    assert len(results(place)) == 7
    assert len(fake.images.all) == 1


def test_a_batch_that_has_no_room_waits_for_the_one_before(
    go: Cli, fake: FakeTowline, place: Path, at_once: None
) -> None:
    write(place / "m.jsonl", *(a_line(f"line-{number}") for number in range(4)))
    add = fake.batches.add
    refused = []

    def refuse(*arguments: Any) -> Any:
        if any(each.shown["status"] != "completed" for each in fake.batches.all.values()):
            refused.append(1)
            raise Refusal("too_many_queued_jobs", "There is no room.")
        return add(*arguments)

    fake.batches.add = refuse  # type: ignore[method-assign]
    ran = go("--lines-per-batch", "2")
    assert ran.code == 0, ran.err
    assert refused
    assert len(fake.batches.all) == 2
    assert len(fake.jobs.all) == 4


def test_another_account_does_not_go_on(go: Cli, fake: FakeTowline, place: Path) -> None:
    write(place / "m.jsonl", a_line("one"))
    assert go().code == 0
    with sqlite3.connect(place / "out" / ".towline-batch" / "state.db") as state:
        state.execute("UPDATE meta SET value = 'acc_other' WHERE name = 'account'")
    ran = go()
    assert ran.code == 2
    assert "begun with account acc_other" in ran.err


def test_files_that_are_there_are_not_replaced_unless_that_is_wanted(
    go: Cli, fake: FakeTowline, place: Path
) -> None:
    write(place / "m.jsonl", a_line("a"))
    (place / "out").mkdir()
    (place / "out" / "a.png").write_bytes(b"precious")
    ran = go()
    assert ran.code == 2
    assert "would replace: a.png" in ran.err
    assert (place / "out" / "a.png").read_bytes() == b"precious"
    assert go("--overwrite").code == 0
    assert (place / "out" / "a.png").read_bytes() != b"precious"


def test_two_lines_whose_files_would_have_one_name_have_two(
    go: Cli, fake: FakeTowline, place: Path
) -> None:
    many = a_line("a", options={"candidates": 2})
    write(place / "m.jsonl", many, a_line("a-0", "b.png"), a_line("A-1", "b.png"))
    assert go().code == 0
    names = {each.name for each in (place / "out").glob("*.png")}
    assert names == {"a-0.png", "a-1.png", "a-0~2.png", "A-1~3.png"}


def test_a_picture_that_somebody_removed_is_fetched_again(
    go: Cli, fake: FakeTowline, place: Path
) -> None:
    write(place / "m.jsonl", a_line("one"), a_line("two", "b.png"))
    assert go().code == 0
    (place / "out" / "two.png").unlink()
    assert go().code == 0
    assert (place / "out" / "two.png").exists()
    assert len(fake.batches.all) == 1


def test_a_url_whose_time_is_over_is_asked_for_again(
    go: Cli, fake: FakeTowline, place: Path
) -> None:
    write(place / "m.jsonl", a_line("one"))
    fake.fail(403, path="/objects/results/*", times=1)
    assert go().code == 0
    assert (place / "out" / "one.png").exists()


def test_a_service_that_is_away_for_a_while_is_waited_for(
    go: Cli, fake: FakeTowline, place: Path, at_once: None
) -> None:
    write(place / "m.jsonl", a_line("one"))
    fake.fail("unreachable", path="/v1/batches/*", times=20)
    assert go("--patience", "60").code == 0


def test_a_service_that_is_away_for_too_long_ends_the_run_which_can_go_on(
    go: Cli, fake: FakeTowline, place: Path, at_once: None
) -> None:
    write(place / "m.jsonl", a_line("one"))
    fake.fail("unreachable", path="/v1/batches/*", times=1000)
    ran = go()
    assert ran.code == 4
    assert "goes on at the service" in ran.err
    assert "nothing is charged twice" in ran.err
    fake._plans.clear()
    assert go().code == 0
    assert len(fake.batches.all) == 1


@pytest.fixture
def failing(go: Cli, fake: FakeTowline, place: Path) -> Path:
    """A run of three lines; the second one failed."""
    write(place / "m.jsonl", a_line("one"), a_line("two"), a_line("three"))
    fake.hold_jobs()
    look = fake.batches.look

    def fail_the_second(batch_id: str) -> Any:
        for each in [line["job"] for line in fake.batches.all[batch_id].lines if line.get("job")]:
            is_second = list(fake.jobs.all).index(each) == 1
            fake.finish_job(each, "failed" if is_second else "succeeded")
        return look(batch_id)

    fake.batches.look = fail_the_second  # type: ignore[method-assign]
    ran = go()
    assert ran.code == 1
    assert "2 of 3 succeeded, 1 failed" in ran.out
    assert "line 2 two: The fake was told to fail it (engine_failed). (engine_failed)" in ran.err
    assert "towline batch retry out" in ran.err
    return place


def test_what_failed_is_tried_again_alone(cli: Cli, fake: FakeTowline, failing: Path) -> None:
    ran = cli("batch", "retry", "out")
    assert ran.code == 0, ran.err
    assert [len(each.lines) for each in fake.batches.all.values()] == [3, 1]
    assert [each["status"] for each in results(failing)] == ["succeeded"] * 3
    assert (failing / "out" / "two.png").exists()
    assert cli("batch", "retry", "out").code == 0
    assert len(fake.batches.all) == 2


def test_a_retry_that_is_rejected_can_be_asked_for_again(
    cli: Cli, fake: FakeTowline, failing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a large one is, where the month's pixels do not suffice."""
    retry, look = fake.batches.retry, fake.batches.look
    error = {"line": None, "custom_id": None, "pointer": "", "code": "pixel_quota_exceeded",
             "detail": "None are left for this month."}  # fmt: skip

    def rejected(batch_id: str) -> Any:
        shown = retry(batch_id)
        refused = fake.batches.all[shown["id"]]
        refused.shown.update(status="rejected", errors=[error])
        refused.lines = []
        return fake.batches.show(shown["id"])

    with monkeypatch.context() as patched:
        patched.setattr(fake.batches, "retry", rejected)
        patched.setattr(fake.batches, "look", fake.batches.show)
        ran = cli("batch", "retry", "out")
    assert (ran.code, "None are left for this month." in ran.err) == (5, True), ran.err
    assert [each["status"] for each in results(failing)] == ["succeeded", "failed", "succeeded"]
    monkeypatch.setattr(fake.batches, "look", look)
    again = cli("batch", "retry", "out")
    assert again.code == 0, again.err
    assert [each["status"] for each in results(failing)] == ["succeeded"] * 3


def test_a_retry_of_what_is_gone_at_the_service_ends_in_order(
    cli: Cli, fake: FakeTowline, failing: Path
) -> None:
    (batch,) = fake.batches.all.values()
    batch.lines = []
    ran = cli("batch", "retry", "out")
    assert ran.code == 1
    assert "Traceback" not in ran.err
    assert [each["status"] for each in results(failing)] == ["succeeded", "failed", "succeeded"]


def test_a_run_ends_when_the_service_cannot_even_read_a_line(
    go: Cli, fake: FakeTowline, place: Path
) -> None:
    write(place / "m.jsonl", a_line("one"), a_line("two"))
    validate = fake.batches._validate

    def spoil(batch: Any) -> None:
        batch.lines[1]["text"] = b"{"
        validate(batch)

    fake.batches._validate = spoil  # type: ignore[method-assign]
    assert go("--skip-invalid").code == 1
    assert [each["status"] for each in results(place)] == ["succeeded", "invalid"]


def test_a_retry_whose_answer_was_lost_is_one(cli: Cli, fake: FakeTowline, failing: Path) -> None:
    fake.fail("lost", method="POST", path="/v1/batches/*/retry", times=1)
    assert cli("batch", "retry", "out").code == 0
    assert len(fake.batches.all) == 2


def test_a_run_can_be_looked_at_and_canceled(cli: Cli, fake: FakeTowline, failing: Path) -> None:
    shown = cli("batch", "status", "out")
    assert shown.code == 1
    assert "2 succeeded, 1 failed (of 3)" in shown.out
    assert cli("batch", "cancel", "out", "--json").json["status"] == "completed"
    (batch_id,) = fake.batches.all
    assert cli("batch", "status", batch_id, "--json").json["id"] == batch_id
    assert cli("batch", "list").out.split("\t")[0] == batch_id
    assert cli("batch", "retry", batch_id).code == 0
    assert cli("batch", "archive", batch_id, "-o", "all.zip").code == 0
    assert (failing / "all.zip").read_bytes()[:2] == b"PK"


def test_a_canceled_batch_ends_the_run(go: Cli, fake: FakeTowline, place: Path) -> None:
    write(place / "m.jsonl", a_line("one"), a_line("two"))
    fake.hold_jobs()
    look = fake.batches.look

    def cancel(batch_id: str) -> Any:
        found = look(batch_id)
        return fake.batches.cancel(batch_id) if found["status"] == "running" else found

    fake.batches.look = cancel  # type: ignore[method-assign]
    ran = go()
    assert ran.code == 1
    assert "0 of 2 succeeded, 2 canceled" in ran.out


@pytest.mark.parametrize("was_made", [True, False])
def test_a_key_that_the_service_has_forgotten_makes_no_second_batch(
    go: Cli, fake: FakeTowline, place: Path, was_made: bool
) -> None:
    """Killed between sending and the answer, and begun again two days later."""
    write(place / "m.jsonl", a_line("one"))
    assert go().code == 0
    two_days_ago = datetime.now(UTC) - timedelta(days=2)
    fake.remembered.clear()
    for each in fake.batches.all.values():
        each.shown["created_at"] = two_days_ago.isoformat()
    if not was_made:
        fake.batches.all.clear()
    with sqlite3.connect(place / "out" / ".towline-batch" / "state.db") as state:
        state.execute(
            "UPDATE parts SET batch_id = NULL, status = NULL, sealed_at = ?",
            (two_days_ago.timestamp(),),
        )
        state.execute("UPDATE lines SET status = 'waiting'")

    assert go().code == 0

    assert len(fake.batches.all) == 1


def test_a_sending_that_is_refused_after_it_was_done_is_found(
    go: Cli, fake: FakeTowline, place: Path
) -> None:
    """The key is remembered with something else: what was made under it is looked for."""
    write(place / "m.jsonl", a_line("one"))
    assert go().code == 0
    for key, (_, made) in list(fake.remembered.items()):
        fake.remembered[key] = (b"another", made)
    with sqlite3.connect(place / "out" / ".towline-batch" / "state.db") as state:
        state.execute("UPDATE parts SET batch_id = NULL, status = NULL")
    assert go().code == 0
    assert len(fake.batches.all) == 1


def test_what_may_have_been_sent_long_ago_is_not_sent_again(
    go: Cli, fake: FakeTowline, place: Path
) -> None:
    write(place / "m.jsonl", a_line("one"))
    assert go().code == 0
    fake.batches.all.clear()
    with sqlite3.connect(place / "out" / ".towline-batch" / "state.db") as state:
        state.execute("UPDATE parts SET batch_id = NULL, status = NULL, sealed_at = 1e9")
    ran = go()
    assert ran.code == 1
    assert "may have been sent days ago" in ran.err
    assert not fake.batches.all


def test_a_state_that_cannot_be_read_is_said(go: Cli, fake: FakeTowline, place: Path) -> None:
    write(place / "m.jsonl", a_line("one"))
    (place / "out" / ".towline-batch").mkdir(parents=True)
    (place / "out" / ".towline-batch" / "state.db").write_bytes(b"not a database" * 100)
    ran = go()
    assert ran.code == 2
    assert "cannot be read" in ran.err


def test_an_image_that_was_changed_before_it_was_sent_is_uploaded_anew(
    go: Cli, fake: FakeTowline, place: Path
) -> None:
    write(place / "m.jsonl", a_line("one"))
    fake.fail(422, method="POST", path="/v1/batches", times=1)
    assert go().code == 2
    changed = (place / "pictures" / "b.png").read_bytes()
    (place / "pictures" / "a.png").write_bytes(changed)
    assert go().code == 0
    assert (place / "out" / "one.png").read_bytes() == changed


def test_an_image_that_is_known_is_not_uploaded_again(
    go: Cli, fake: FakeTowline, place: Path
) -> None:
    write(place / "m.jsonl", a_line("one"))
    fake.fail(422, method="POST", path="/v1/batches", times=1)
    assert go().code == 2
    assert go().code == 0
    assert posts(fake, "/v1/images") == 1


def test_status_of_a_folder_without_a_run_says_so(cli: Cli, place: Path) -> None:
    ran = cli("batch", "status", "pictures")
    assert ran.code == 2
    assert "No run was begun in pictures" in ran.err


def test_a_manifest_without_a_valid_line_is_refused(go: Cli, place: Path) -> None:
    write(place / "m.jsonl", "")
    assert "There is no valid line" in go().err


def test_the_state_is_of_one_process(go: Cli, fake: FakeTowline, place: Path) -> None:
    write(place / "m.jsonl", a_line("one"))
    with State.open(place / "out"):
        ran = go()
    assert ran.code == 1
    assert "Another towline is at work in out" in ran.err
