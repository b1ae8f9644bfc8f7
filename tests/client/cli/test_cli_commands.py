"""Commands on the fake: what they do, what they say, and how they end."""

from __future__ import annotations

import json
import signal
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.client.cli.conftest import KEY, Command, Ran
from tests.client.cli.faked import FakedServer
from tests.client.cli.manifests import pictures
from towline.cli.app import run
from towline.cli.profiles import config_file
from towline.testing import FakeTowline

Cli = Callable[..., Ran]
EDIT = ("edit", "photo.png", "--drag", "20,20:28,20")


@pytest.fixture(autouse=True)
def photo(tmp_path: Path) -> bytes:
    pictures(tmp_path, "photo.png", "mask.png")
    return (tmp_path / "photo.png").read_bytes()


# -- edit -------------------------------------------------------------------------------------


def test_an_edit_is_a_file(cli: Cli, fake: FakeTowline, tmp_path: Path, photo: bytes) -> None:
    ran = cli(
        *EDIT, "--drag", "30,30:30,20", "--mask", "mask.png", "--seed", "7", "--option", "steps=9",
        "--engine", "warp", "--priority", "low", "--metadata", "order=12", "--timeout-s", "60",
        "-o", "out.webp",
    )  # fmt: skip

    assert ran.code == 0, ran.err
    assert (tmp_path / "out.webp").read_bytes() == photo
    (job,) = fake.jobs.all.values()
    asked = job["request"]
    assert asked["drags"][1] == {"handle": [30, 30], "target": [30, 20]}
    assert asked["options"] | {"seed": 7, "steps": 9, "format": "webp"} == asked["options"]
    assert (asked["priority"], asked["timeout_s"], job["metadata"]) == ("low", 60, {"order": "12"})
    assert asked["mask"] != asked["image"]
    assert "out.webp" in ran.out
    assert f"{job['id']} succeeded" in ran.err


def test_several_candidates_are_numbered(cli: Cli, tmp_path: Path) -> None:
    ran = cli(*EDIT, "--candidates", "3", "-o", "out.png", "--json")
    assert ran.json["files"] == ["out-0.png", "out-1.png", "out-2.png"]
    assert all((tmp_path / name).exists() for name in ran.json["files"])


def test_without_a_name_the_file_is_beside_and_replaces_nothing(cli: Cli, tmp_path: Path) -> None:
    assert cli(*EDIT).code == 0
    assert (tmp_path / "photo-edited.png").exists()
    ran = cli(*EDIT)
    assert (ran.code, "photo-edited.png is there already" in ran.err) == (2, True)
    assert cli(*EDIT, "--force").code == 0


@pytest.mark.parametrize(
    ("shape", "mask"),
    [
        (("--rect", "10,10,40,30"), {"rect": [10, 10, 40, 30]}),
        (("--polygon", "10,10 40,10 20,30"), {"polygon": [[10, 10], [40, 10], [20, 30]]}),
    ],
)
def test_a_shape_is_a_mask(
    cli: Cli, fake: FakeTowline, shape: tuple[str, str], mask: dict[str, Any]
) -> None:
    assert cli(*EDIT, *shape, "-o", "out.png").code == 0
    (job,) = fake.jobs.all.values()
    assert job["request"]["mask"] == mask


def test_no_wait_says_the_id_alone(cli: Cli, fake: FakeTowline) -> None:
    fake.hold_jobs()
    ran = cli(*EDIT, "--no-wait", "-q")
    assert (ran.code, ran.out.strip(), ran.err) == (0, next(iter(fake.jobs.all)), "")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--drag", "1,2"), "there is no ':' between handle and target"),
        (("--rect", "5,5,1,1"), "nothing is inside"),
        (("--rect", "1,1,5,5", "--mask", "mask.png"), "Give one of --mask and --rect"),
        (("-o", "out.gif"), "the suffix must be one of .png"),
        (("-o", "out.png", "--option", "format=webp"), "out.png is png"),
        (("-o", "none/out.png"), "there is no folder none"),
        (("--option", "steps"), "NAME=VALUE"),
        (("--mask", "none.png"), "does not exist"),
        (("--candidates", "9"), "9 is not in the range"),
    ],
)
def test_wrong_use_says_what_is_wrong_and_sends_nothing(
    cli: Cli, fake: FakeTowline, options: tuple[str, ...], said: str
) -> None:
    ran = cli(*EDIT, *options)
    assert ran.code == 2
    assert said in ran.err
    assert "towline edit --help" in ran.err
    assert not fake.requests


def test_an_edit_that_is_not_valid_names_the_drag(cli: Cli) -> None:
    ran = cli(*EDIT, "--drag", "20,20:900,20", "-o", "out.png")
    assert ran.code == 2
    assert "--drag 2, target: (900, 20) is outside the picture" in ran.err


def test_an_edit_that_failed_says_why(cli: Cli, fake: FakeTowline, tmp_path: Path) -> None:
    look = fake.jobs.look

    def fail(job_id: str) -> Any:
        fake.finish_job(job_id, "failed", code="drag_not_reachable", message="It is too far.")
        return look(job_id)

    fake.jobs.look = fail  # type: ignore[method-assign]
    ran = cli(*EDIT, "-o", "out.png")
    assert ran.code == 1
    assert "It is too far. (drag_not_reachable)" in ran.out
    assert "drag less far" in ran.err
    assert not (tmp_path / "out.png").exists()


def test_an_edit_whose_events_are_refused_is_waited_for(cli: Cli, fake: FakeTowline) -> None:
    fake.fail(404, path="/v1/jobs/*/events", times=1)
    assert cli(*EDIT, "-o", "out.png").code == 1


# -- Ctrl-C -----------------------------------------------------------------------------------


def interrupt_at(
    server: FakedServer, command: Command, when: str, path: str, *, times: int = 1
) -> tuple[int, str]:
    """Ctrl-C at a request, and at others after it; the exit code, and what was said."""
    struck: list[str] = []
    process = command.start(*EDIT, "-o", "out.png")

    def watch(now: str, request: httpx.Request) -> bool:
        is_it = now == when and request.url.path.startswith(path) and request.method == "POST"
        if is_it and len(struck) < times:
            struck.append(request.url.path)
            process.send_signal(signal.SIGINT)
            return False
        return False

    server.watch = watch
    _, err = process.communicate(timeout=60)
    assert len(struck) == times
    return process.returncode, err


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
def test_ctrl_c_while_an_edit_is_submitted_cancels_that_very_job(
    server: FakedServer, command: Command, when: str
) -> None:
    server.fake.hold_jobs()
    code, err = interrupt_at(server, command, when, "/v1/jobs")
    assert code == 130, err
    (job,) = server.fake.jobs.all.values()
    assert job["status"] == "canceled"
    assert f"{job['id']} is canceled" in err
    assert "Traceback" not in err


@pytest.mark.slow
def test_ctrl_c_before_anything_was_submitted_makes_no_job(
    server: FakedServer, command: Command
) -> None:
    code, err = interrupt_at(server, command, "before", "/v1/images")
    assert code == 130, err
    assert not server.fake.jobs.all


@pytest.mark.slow
def test_a_second_ctrl_c_leaves_the_job(server: FakedServer, command: Command) -> None:
    server.fake.hold_jobs()
    server.fake.fail(503, path="/v1/jobs/*/cancel", times=100)
    process = command.start(*EDIT, "-o", "out.png")
    seen: list[str] = []

    def watch(when: str, request: httpx.Request) -> bool:
        is_new = request.url.path not in seen
        if when == "after" and is_new and request.url.path.endswith(("/events", "/cancel")):
            seen.append(request.url.path)
            process.send_signal(signal.SIGINT)
        return False

    server.watch = watch
    _, err = process.communicate(timeout=60)
    (job,) = server.fake.jobs.all.values()
    assert process.returncode == 130, err
    assert f"{job['id']} was left as it is" in err
    assert f"towline cancel {job['id']}" in err
    assert job["status"] == "queued"


# -- jobs -------------------------------------------------------------------------------------


def test_jobs_are_listed_newest_first(cli: Cli, fake: FakeTowline) -> None:
    for _ in range(3):
        assert cli(*EDIT, "-o", "out.png", "--metadata", "a=b").code == 0
    ids = [line.split("\t")[0] for line in cli("jobs", "-n", "2").out.splitlines()]
    assert ids == sorted(fake.jobs.all, reverse=True)[:2]
    lines = cli("jobs", "--json", "--status", "succeeded", "--metadata", "a=b").out.splitlines()
    assert [json.loads(line)["id"] for line in lines] == sorted(fake.jobs.all, reverse=True)
    assert cli("jobs", "--metadata", "a=c").out == ""


def test_a_job_is_shown_waited_for_and_saved(cli: Cli, fake: FakeTowline, tmp_path: Path) -> None:
    fake.hold_jobs()
    job_id = cli(*EDIT, "--no-wait").out.strip()
    shown = cli("job", job_id)
    assert (shown.code, "status     queued" in shown.out) == (0, True)
    fake.hold_jobs(held=False)
    assert cli("job", job_id, "-o", "again.png").code == 0
    assert (tmp_path / "again.png").exists()


def test_jobs_are_canceled_and_tried_again(cli: Cli, fake: FakeTowline) -> None:
    fake.hold_jobs()
    first, second = (cli(*EDIT, "--no-wait").out.strip() for _ in range(2))
    assert cli("retry", first).code == 1  # it has not ended
    ran = cli("cancel", first, second)
    assert [line.split("\t")[1] for line in ran.out.splitlines()] == ["canceled"] * 2
    assert cli("job", first).code == 1
    fake.hold_jobs(held=False)
    ran = cli("retry", first, "-o", "out.png", "--json")
    assert (ran.json["retried_from"], ran.json["status"]) == (first, "succeeded")


def test_engines_are_listed_with_their_options(cli: Cli) -> None:
    ran = cli("engines")
    assert "warp: up, the default" in ran.err
    assert ran.out.split() == ["candidates", "1", "1", "...", "8"]
    assert cli("engines", "--json").json["name"] == "warp"


# -- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (401, 3, "towline login"),
        (403, 3, "towline doctor"),
        (404, 1, ""),
        (422, 2, ""),
        (429, 5, "try again in 100 s"),
        (500, 4, "towline doctor"),
    ],
)
def test_an_error_of_the_service_is_an_exit_code_and_what_to_do(
    cli: Cli, fake: FakeTowline, status: int, code: int, said: str
) -> None:
    fake.fail(status, path="/v1/jobs/*", times=100, retry_after=100)
    ran = cli("job", "job_x")
    assert ran.code == code
    assert said in ran.err
    assert "Traceback" not in ran.err


def test_a_service_that_is_not_there_is_an_exit_code(
    cli: Cli, fake: FakeTowline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    fake.fail("unreachable", times=100)
    ran = cli("jobs", "--json")
    assert ran.code == 4
    error = json.loads(ran.err)["error"]
    assert (error["code"], error["exit_code"]) == ("unreachable", 4)
    assert "towline doctor" in error["hint"]


def test_wrong_use_is_json_too(cli: Cli) -> None:
    error = json.loads(cli("job", "--json").err)["error"]
    assert (error["code"], error["exit_code"]) == ("usage", 2)


def test_what_came_from_elsewhere_cannot_colour_the_terminal(cli: Cli, fake: FakeTowline) -> None:
    assert cli(*EDIT, "--no-wait").code == 0
    (job_id,) = fake.jobs.all
    fake.finish_job(job_id, "failed", message="\x1b[31mred\x07 alert")
    ran = cli("job", job_id)
    assert "red" in ran.out
    assert "\x1b" not in ran.out + ran.err
    assert "\x07" not in ran.out + ran.err


@pytest.mark.slow
def test_a_reader_that_leaves_is_no_error(server: FakedServer, command: Command) -> None:
    ran = command("engines", code="import os; r, w = os.pipe(); os.close(r); os.dup2(w, 1)")
    assert ran.code == 0, ran.err
    assert "Traceback" not in ran.err


# -- login ------------------------------------------------------------------------------------


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:
    """No key in the environment."""
    monkeypatch.delenv("TOWLINE_API_KEY")
    monkeypatch.delenv("TOWLINE_URL")


def given(monkeypatch: pytest.MonkeyPatch, text: str, tmp_path: Path) -> None:
    """On standard input."""
    (tmp_path / "stdin").write_text(text)
    monkeypatch.setattr(sys, "stdin", (tmp_path / "stdin").open())


@pytest.mark.usefixtures("nobody")
def test_login_keeps_a_key_that_the_service_knows(
    cli: Cli, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli("jobs").code == 3
    given(monkeypatch, f"{KEY}\n", tmp_path)
    ran = cli("login", "--url", "https://towline.test/")
    assert ran.code == 0, ran.err
    assert KEY not in ran.out + ran.err
    path = config / "towline" / "credentials.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert cli("jobs").code == 0
    assert cli("logout").code == 0
    assert KEY not in path.read_text()
    assert cli("jobs").code == 3


@pytest.mark.usefixtures("nobody")
def test_login_keeps_no_key_that_the_service_does_not_know(
    cli: Cli, fake: FakeTowline, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.api_key = "tow_another_key"
    given(monkeypatch, KEY, tmp_path)
    ran = cli("login", "--url", "https://towline.test")
    assert ran.code == 3
    assert "does not know this key. Nothing was kept" in ran.err
    assert not (config / "towline").exists()


@pytest.mark.usefixtures("nobody")
def test_login_without_a_key_says_how(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(monkeypatch, "", tmp_path)
    ran = cli("login")
    assert ran.code == 2
    assert "< key.txt" in ran.err


@pytest.mark.usefixtures("nobody")
def test_profiles_are_told_apart(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, KEY, tmp_path)
    assert cli("login", "--profile", "work", "--url", "https://work.test").code == 0
    ran = cli("jobs")
    assert ran.code == 3
    assert "No API key is known" in ran.err
    assert cli("jobs", "--profile", "work").code == 0
    assert cli("--profile", "work", "jobs").code == 0
    monkeypatch.setenv("TOWLINE_PROFILE", "work")
    assert cli("jobs").code == 0
    ran = cli("jobs", "--profile", "home")
    assert "There is no profile home (there are: work)" in ran.err


@pytest.mark.usefixtures("nobody")
def test_a_profiles_key_is_not_sent_to_another_address(
    cli: Cli, fake: FakeTowline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(monkeypatch, KEY, tmp_path)
    assert cli("login", "--url", "https://towline.test").code == 0
    before = len(fake.requests)
    monkeypatch.setenv("TOWLINE_URL", "https://elsewhere.test")
    ran = cli("jobs")
    assert ran.code == 3
    assert "the key of profile default is for https://towline.test" in ran.err
    assert len(fake.requests) == before


@pytest.mark.usefixtures("nobody")
def test_keys_that_others_may_read_are_warned_of(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(monkeypatch, KEY, tmp_path)
    assert cli("login", "--url", "https://towline.test").code == 0
    config_file().chmod(0o644)
    ran = cli("jobs")
    assert ran.code == 0
    assert "others may read your keys: chmod 600" in ran.err


@pytest.mark.usefixtures("nobody")
def test_profiles_that_cannot_be_read_are_said(cli: Cli, config: Path) -> None:
    (config / "towline").mkdir(parents=True)
    config_file().write_text("{")
    ran = cli("jobs")
    assert ran.code == 1
    assert "is not what `towline login` writes" in ran.err


# -- help, completion -------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_can_complete(cli: Cli, shell: str) -> None:
    ran = cli("completion", shell)
    assert ran.code == 0
    assert "_TOWLINE_COMPLETE" in ran.out


def test_completion_knows_commands_and_choices(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_TOWLINE_COMPLETE", "bash_complete")
    for words, expected in (
        ("towline ba", "plain,batch"),
        ("towline batch re", "plain,retry"),
        ("towline jobs --status suc", "plain,succeeded"),
        ("towline edit --pol", "plain,--polygon"),
    ):
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
        with pytest.raises(SystemExit):
            run([])
        assert capsys.readouterr().out.split() == [expected]


def test_every_command_says_what_it_does(cli: Cli) -> None:
    names = [*_commands(cli("--help").out)]
    assert len(names) > 10
    for name in names:
        ran = cli(name, "--help")
        assert ran.code == 0
        assert "--json" in ran.out or "Commands:" in ran.out


def _commands(text: str) -> list[str]:
    return [line.split()[0] for line in text.split("Commands:")[1].splitlines() if line.strip()]


def test_every_command_is_documented(cli: Cli) -> None:
    page = Path(__file__).parents[3] / "docs" / "howto" / "command-line.md"
    text = page.read_text()
    for name in _commands(cli("--help").out):
        assert name in text
    for name in _commands(cli("batch", "--help").out):
        assert name in text
