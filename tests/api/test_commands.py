"""`python -m api account ...` and `key ...`: what is said, what is done, and the exit status."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from api.__main__ import AWAY, REFUSED, main
from shared.accounts.keys import Scope, parse_key
from shared.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.services import Services

    Run = Callable[..., str]


@pytest.fixture
def run(
    services: Services, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Run a command on the services of the test; what it printed."""
    settings = services.settings
    monkeypatch.setenv("TOWLINE_HOME", str(settings.home))
    monkeypatch.setenv("TOWLINE_DATABASE_URL", settings.database)

    def run(*arguments: str, status: int = 0) -> str:
        capsys.readouterr()
        assert main(list(arguments)) == status
        said = capsys.readouterr()
        told = [line for line in said.err.splitlines() if not line.startswith("key ")]
        assert (told == []) == (status == 0)
        return said.out if status == 0 else said.err

    return run


def in_json(run: Run, *arguments: str) -> Any:
    return json.loads(run(*arguments, "--json"))


def test_a_key_is_all_that_is_printed_when_one_is_made_for_a_new_account(
    run: Run, services: Services
) -> None:
    text = run("key", "create", "--account", " local ")
    assert text.endswith("\n")
    caller = services.accounts.identify(text.strip())
    assert caller.key.scopes == tuple(Scope)
    assert services.accounts.named("local").id == caller.account_id


def test_a_key_is_as_it_was_asked_for_when_options_are_given(run: Run, services: Services) -> None:
    options = ("--name", "ci", "--scopes", "write,read", "--expires-in-days", "0.5")
    made = in_json(run, "key", "create", "--account", "mine", *options)
    key = services.accounts.identify(made["key"]).key
    assert (key.id, key.name, key.scopes) == (made["id"], "ci", (Scope.READ, Scope.WRITE))
    assert key.expires_at == key.created_at + 43_200_000
    (listed,) = in_json(run, "key", "list", "--account", "mine")
    assert (listed["id"], listed["scopes"]) == (made["id"], ["read", "write"])
    line = run("key", "list", "--account", "mine")
    assert made["id"] in line
    assert "ci" in line
    assert made["key"].rpartition("_")[2] not in line


def test_a_key_is_rotated_and_revoked_when_its_id_or_the_key_itself_is_given(
    run: Run, services: Services
) -> None:
    old = run("key", "create", "--account", "mine").strip()
    new = run("key", "rotate", old.split("_")[1], "--overlap-hours", "0").strip()
    assert services.accounts.account_of(old) is None
    assert services.accounts.account_of(new) is not None
    assert "revoked" in run("key", "revoke", new)
    assert services.accounts.account_of(new) is None
    parsed = parse_key(new)
    assert parsed is not None
    assert f"no usable key {parsed.id}" in run("key", "rotate", new, status=REFUSED)


def test_the_ends_of_both_keys_are_said_when_one_is_rotated(
    run: Run, services: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    old = in_json(run, "key", "create", "--account", "mine")
    assert old["expires_at"] is None
    new = in_json(run, "key", "rotate", old["id"])
    first, second = in_json(run, "key", "list", "--account", "mine")
    assert (new["id"], new["expires_at"]) == (second["id"], None)
    assert new["replaces"] == {"id": old["id"], "expires_at": first["expires_at"]}
    assert first["expires_at"] is not None
    command = ["key", "create", "--account", "mine", "--expires-in-days", "1"]
    assert main(command) == 0
    said = capsys.readouterr()
    *_, third = in_json(run, "key", "list", "--account", "mine")
    assert said.err == f"key {third['id']} expires {third['expires_at']}\n"
    assert len(said.out.split()) == 1, "the key is alone on stdout"
    assert main(["key", "rotate", new["id"], "--overlap-hours", "1"]) == 0
    ends = capsys.readouterr().err.splitlines()
    assert ends[0].endswith("never expires")
    assert ends[1].startswith(f"key {new['id']} expires 2")


@pytest.mark.parametrize("overlap", ["24", "0"])
def test_a_rotation_is_refused_and_names_the_successor_when_the_key_was_rotated(
    run: Run, overlap: str
) -> None:
    old = in_json(run, "key", "create", "--account", "mine")["id"]
    new = in_json(run, "key", "rotate", old, "--overlap-hours", overlap)["id"]
    said = run("key", "rotate", old, status=REFUSED)
    assert said == f"The key {old} was rotated already: {new} replaces it. Rotate that one.\n"
    assert len(in_json(run, "key", "list", "--account", "mine")) == 2
    assert in_json(run, "key", "rotate", new)["expires_at"] is None


def test_an_account_is_made_listed_and_shown_when_it_is_asked_for(run: Run) -> None:
    made = run("account", "create", "mine").strip()
    run("key", "create", "--account", "mine", "--name", "first")
    assert [account["id"] for account in in_json(run, "account", "list")] == [made]
    assert "mine" in run("account", "list")
    shown = in_json(run, "account", "show", "mine")
    assert shown["usage"]["queued_jobs"] == 0
    assert [key["name"] for key in shown["keys"]] == ["first"]
    assert "first" in run("account", "show", "mine")


def test_limits_are_an_accounts_own_until_they_are_the_default_again(run: Run) -> None:
    run("account", "create", "mine")
    run("account", "limits", "mine", "--queued-jobs", "5", "--requests-per-s", "none")
    limits = in_json(run, "account", "limits", "mine")
    assert limits["limits"]["queued_jobs"] == 5
    assert limits["limits"]["requests_per_s"] is None
    assert limits["own_limits"]["running_jobs"] is None
    run("account", "limits", "mine", "--requests-per-s", "default")
    said = run("account", "limits", "mine")
    assert "requests_per_s  1000 (default)" in said
    assert "queued_jobs  5 (its own)" in said


def test_a_command_is_refused_when_there_is_no_such_thing_or_one_already(run: Run) -> None:
    run("account", "create", "mine")
    assert "already" in run("account", "create", "mine", status=REFUSED)
    for command in (
        ("account", "show", "other"),
        ("account", "limits", "other", "--queued-jobs", "5"),
        ("account", "delete", "other", "--yes"),
        ("key", "list", "--account", "other"),
        ("key", "revoke", "0" * 16),
        ("key", "rotate", "0" * 16),
    ):
        assert "There is no" in run(*command, status=REFUSED)


@pytest.mark.parametrize(
    "command",
    [
        ("key", "create"),
        ("key", "create", "--account", ""),
        ("key", "create", "--account", "x" * 201),
        ("account", "create", "a\nb"),
        ("account", "create", "a\x1b[2Jb"),
        ("account", "create", "a\u202eb"),
        ("key", "create", "--account", "a\x00b"),
        ("key", "create", "--account", "a", "--name", "a\tb"),
        ("key", "create", "--account", "a", "--scopes", "read,root"),
        ("key", "create", "--account", "a", "--scopes", ","),
        ("key", "create", "--account", "a", "--expires-in-days", "0"),
        ("key", "create", "--account", "a", "--expires-in-days", "nan"),
        ("key", "create", "--account", "a", "--expires-in-days", "1e99"),
        ("key", "rotate", "x", "--overlap-hours", "-1"),
        ("account", "create"),
        ("account", "limits", "a", "--queued-jobs", "0"),
        ("account", "limits", "a", "--queued-jobs", "-5"),
        ("account", "limits", "a", "--queued-jobs", str(2**63)),
        ("account", "limits", "a", "--colours", "5"),
        ("account",),
        (),
    ],
)
def test_a_command_is_wrong_when_it_cannot_be_understood(
    run: Run, command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(*command)
    assert ended.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_the_status_says_try_again_when_the_database_is_away(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_away(*_: object) -> None:
        raise DatabaseUnavailable("The database did not answer.")

    monkeypatch.setattr("shared.db.Database.writing", is_away)
    said = run("account", "create", "mine", status=AWAY)
    assert said == "The database did not answer.\n"


def test_an_account_is_not_deleted_when_nobody_says_yes(run: Run, services: Services) -> None:
    run("account", "create", "mine")
    with pytest.raises(SystemExit, match="--yes"):
        run("account", "delete", "mine")
    assert services.accounts.named("mine").deleting_at is None


def test_an_account_is_gone_and_the_answer_says_what_went_when_it_is_deleted(run: Run) -> None:
    run("account", "create", "mine")
    run("key", "create", "--account", "mine")
    removed = in_json(run, "account", "delete", "mine", "--yes")["removed"]
    assert removed == {
        "keys": 1, "batches": 0, "jobs": 0, "images": 0, "deliveries": 0, "endpoints": 0,
        "audit_entries": 3, "objects": 0, "stored_bytes": 0,
    }  # fmt: skip
    assert in_json(run, "account", "list") == []


def test_what_a_command_changes_is_in_the_audit_log_under_its_users_name(
    run: Run, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "operator")
    account_id = run("account", "create", "mine").strip()
    key = run("key", "create", "--account", "mine").strip()
    run("account", "limits", "mine", "--queued-jobs", "5")
    run("key", "rotate", key)
    run("key", "revoke", key)
    entries = services.audit_log.page(account_id, limit=20)
    assert [entry.action for entry in reversed(entries)] == [
        "account.created", "key.created", "account.limits_changed", "key.created", "key.rotated",
        "key.revoked",
    ]  # fmt: skip
    assert {(entry.actor, entry.actor_id) for entry in entries} == {("cli", "operator")}
    assert entries[3].details == {"queued_jobs": 5}
