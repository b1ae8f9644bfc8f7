"""The environment: unknown and wrong variables stop the start, and are named."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from shared.settings import Settings, SettingsError, read_settings

REPOSITORY = Path(__file__).parents[2]


def _said(monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        read_settings()
    return str(caught.value)


def test_the_start_succeeds_when_nothing_is_set() -> None:
    settings = read_settings()
    assert settings.engines == ("warp",)
    assert settings.default_engine == "warp"
    assert settings.database == f"sqlite:///{Path('.towline').absolute()}/towline.db"
    assert settings.base_url == "http://127.0.0.1:8000"


def test_what_clients_read_stops_no_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOWLINE_URL", "https://towline.example")
    monkeypatch.setenv("TOWLINE_API_KEY", "tow_a_b")
    monkeypatch.setenv("TOWLINE_PROFILE", "work")
    assert read_settings().base_url == "http://127.0.0.1:8000"


def test_the_start_is_stopped_when_a_variable_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _said(monkeypatch, TOWLINE_PROT="8001") == "TOWLINE_PROT: no such setting"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TOWLINE_SECRET_KEY", "change-me"),
        ("TOWLINE_DATABASE_URL", "postgresql://towline:change-me@postgres/towline"),
        ("TOWLINE_REDIS_URL", "redis://:change-me@redis:6379/0"),
        ("TOWLINE_S3_SECRET_KEY", "change-me"),
    ],
)
def test_the_start_is_stopped_when_a_secret_is_that_of_the_example(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    assert f"{name}: still has `change-me`" in _said(monkeypatch, **{name: value})


def test_the_start_is_stopped_when_an_unknown_variable_is_in_small_letters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "towline_prot" in _said(monkeypatch, towline_prot="8001")


def test_every_wrong_variable_is_named_when_several_are(monkeypatch: pytest.MonkeyPatch) -> None:
    said = _said(
        monkeypatch,
        TOWLINE_PROT="8001",
        TOWLINE_PORT="eighty",
        TOWLINE_LEASE_S="-1",
        TOWLINE_LOG_LEVEL="LOUD",
    )
    names = [line.split(":")[0] for line in said.splitlines()]
    assert sorted(names) == [
        "TOWLINE_LEASE_S", "TOWLINE_LOG_LEVEL", "TOWLINE_PORT", "TOWLINE_PROT"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TOWLINE_HEARTBEAT_S", "20"),  # of a lease of 30
        ("TOWLINE_API_THREADS", "450"),  # for 150 waits and 300 streams
        ("TOWLINE_ENGINES", "warp,magic"),
        ("TOWLINE_ENGINES", ","),
        ("TOWLINE_PORT", "0"),
        ("TOWLINE_PORT", "65536"),
        ("TOWLINE_LEASE_S", "inf"),
        ("TOWLINE_LEASE_S", "nan"),
        ("TOWLINE_SWEEP_S", "inf"),
        ("TOWLINE_DRAIN_S", "inf"),
        ("TOWLINE_RESULT_RETENTION_DAYS", "inf"),
        ("TOWLINE_MAX_LOSSES", "0"),
        ("TOWLINE_DATABASE_URL", "mysql://me:secret@host/towline"),
        ("TOWLINE_DATABASE_URL", "postgresql://me:pa@ss/word@host/towline"),
        ("TOWLINE_REDIS_URL", "redis://:pa/ss@host:6379/0"),
        ("TOWLINE_REDIS_URL", "redis://:pa#ss@host:6379/0"),
        ("TOWLINE_CORS_ORIGINS", "*"),
        ("TOWLINE_CORS_ORIGINS", "https://app.example/"),
        ("TOWLINE_CORS_ORIGINS", "https://app.example,app.example"),
        ("TOWLINE_LIMIT_QUEUED_JOBS", "-1"),
        ("TOWLINE_AUDIT_RETENTION_DAYS", "0"),
        ("TOWLINE_ORPHAN_GRACE_HOURS", "24"),
        ("TOWLINE_S3_URL", "s3.example"),
        ("TOWLINE_S3_URL", "https://s3.example/bucket"),
        ("TOWLINE_S3_URL", "https://user:hush@s3.example"),
        ("TOWLINE_S3_BUCKET", "Two Words"),
        ("TOWLINE_S3_ADDRESSING", "dns"),
        ("TOWLINE_S3_TIMEOUT_S", "0"),
        ("TOWLINE_WEBHOOK_PORTS", "0"),
        ("TOWLINE_WEBHOOK_PORTS", "443,https"),
        ("TOWLINE_WEBHOOK_PORTS", "65536"),
        ("TOWLINE_WEBHOOK_NETWORKS", "10.0.0.1/8"),
        ("TOWLINE_WEBHOOK_NETWORKS", "localhost"),
        ("TOWLINE_WEBHOOK_TIME_SCALE", "0"),
        ("TOWLINE_WEBHOOK_TIME_SCALE", "2"),
    ],
)
def test_a_message_begins_with_the_variable_when_its_value_cannot_be(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    said = _said(monkeypatch, **{name: value})
    assert said.startswith(f"{name}: "), said
    assert "Value error" not in said
    assert "secret" not in said
    assert len(said.splitlines()) == 1


def test_a_message_does_not_show_a_secret_when_another_variable_is_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    secrets = {
        "TOWLINE_SECRET_KEY": "hush-1",
        "TOWLINE_REDIS_URL": "redis://:hush-2@localhost",
        "TOWLINE_DATABASE_URL": "postgresql://me:hush-3@localhost/towline",
    }
    assert "hush" not in _said(monkeypatch, TOWLINE_PORT="x", **secrets)
    monkeypatch.delenv("TOWLINE_PORT")
    assert "hush" not in repr(read_settings())


def test_a_variable_is_as_if_not_set_when_it_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOWLINE_PORT", "")
    assert read_settings().port == 8000


def test_engines_are_read_from_a_list_when_it_has_spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOWLINE_ENGINES", " warp , ")
    assert read_settings().engines == ("warp",)


def test_settings_stay_as_they_are_when_someone_tries_to_change_them() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().port = 1


def test_the_public_url_is_used_without_its_last_slash_when_it_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TOWLINE_PUBLIC_URL", "https://towline.example/")
    assert read_settings().base_url == "https://towline.example"


S3 = {
    "TOWLINE_S3_URL": "https://s3.example",
    "TOWLINE_S3_ACCESS_KEY": "hush-4",
    "TOWLINE_S3_SECRET_KEY": "hush-5",
    "TOWLINE_S3_PUBLIC_URL": "https://files.example:8443/",
}


@pytest.mark.parametrize(
    ("without", "also", "blamed"),
    [
        ("TOWLINE_S3_SECRET_KEY", {}, "TOWLINE_S3_SECRET_KEY"),
        ("TOWLINE_S3_ACCESS_KEY", {}, "TOWLINE_S3_ACCESS_KEY"),
        ("TOWLINE_S3_URL", {}, "TOWLINE_S3_URL"),
        ("", {"TOWLINE_S3_PUBLIC_URL": "files.example"}, "TOWLINE_S3_PUBLIC_URL"),
        ("", {"TOWLINE_URL_TTL_S": "604801"}, "TOWLINE_URL_TTL_S"),
    ],
)
def test_the_start_is_stopped_when_the_settings_of_s3_do_not_fit_each_other(
    monkeypatch: pytest.MonkeyPatch, without: str, also: dict[str, str], blamed: str
) -> None:
    said = _said(monkeypatch, **{k: v for k, v in (S3 | also).items() if k != without})
    assert said.startswith(f"{blamed}: "), said
    assert "hush" not in said


def test_the_start_is_stopped_when_s3_is_asked_for_and_its_library_is_not_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shared.settings.find_spec", lambda name: None)
    said = _said(monkeypatch, **S3)
    assert said == "TOWLINE_S3_URL: boto3 is missing, install the extra `s3`"


def test_no_key_of_s3_is_shown_when_the_settings_are_printed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in S3.items():
        monkeypatch.setenv(name, value)
    assert "hush" not in repr(read_settings())


def test_boto3_is_not_loaded_when_objects_are_in_a_folder() -> None:
    program = """
import sys
import api.app, worker.app
from shared.services import build_services
from shared.settings import Settings
build_services(Settings(home=sys.argv[1]))
assert "boto3" not in sys.modules and "botocore" not in sys.modules
"""
    with tempfile.TemporaryDirectory() as home:
        subprocess.run([sys.executable, "-c", program, home], cwd=REPOSITORY, check=True)
