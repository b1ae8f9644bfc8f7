"""The look for secrets finds them, fails the run, and does not say them itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shared.accounts.keys import new_key
from shared.services import build_services
from shared.settings import Settings
from tests.planted import DATABASE_PASSWORD, PLANTED, REDIS_PASSWORD, SECRET_KEY

REPOSITORY = Path(__file__).parents[2]

QUIET = "def test_it():\n    print('nothing to see')\n"
PRINTS = "def test_it():\n    print('the URL is', {secret!r})\n"
LOGS = "import logging\ndef test_it():\n    logging.getLogger().warning('%s', {secret!r})\n"
WRITES = "def test_it(tmp_path):\n    (tmp_path / 'worker.log').write_text({secret!r})\n"
KEEPS = (
    "def test_it(tmp_path):\n"
    "    (tmp_path / 'secret').write_text('x' * 20 + {secret!r})\n"
    "    (tmp_path / 'api.log').write_text('it is ' + 'x' * 20 + {secret!r})\n"
)


def run_of(folder: Path, test: str) -> subprocess.CompletedProcess[str]:
    """A run of pytest of its own, with the plugin."""
    (folder / "test_it.py").write_text(test)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "tests.leaks", "-p", "no:cacheprovider",
         f"--basetemp={folder / 'temp'}", "test_it.py"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )  # fmt: skip


@pytest.mark.slow
def test_a_run_fails_when_a_secret_is_printed_logged_or_written_and_only_then(
    tmp_path: Path,
) -> None:
    key = new_key().text
    cases = {
        "quiet": (QUIET, 0), "prints": (PRINTS.format(secret=SECRET_KEY), 1),
        "prints a key": (PRINTS.format(secret=f"a {key}."), 1),
        "logs": (LOGS.format(secret=DATABASE_PASSWORD), 1),
        "writes": (WRITES.format(secret=REDIS_PASSWORD), 1),
        "keeps": (KEEPS.format(secret="made by itself"), 1),
    }  # fmt: skip
    for name, (test, status) in cases.items():
        folder = tmp_path / name
        folder.mkdir()
        run = run_of(folder, test)
        assert run.returncode == status, (name, run.stdout)
        assert "1 passed" in run.stdout
        assert ("secrets in the output" in run.stdout) == (status == 1)
        assert not [secret for secret in (*PLANTED, key) if secret in run.stdout]
        for path in (folder / "temp").rglob("*.log"):  # or this very run would find it
            path.unlink()


def test_no_secret_is_shown_when_what_holds_it_is_printed(tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path,
        secret_key=SECRET_KEY,
        database_url=f"postgresql://towline:{DATABASE_PASSWORD}@127.0.0.1:1/towline",
        redis_url=f"redis://:{REDIS_PASSWORD}@127.0.0.1:1/0",
    )
    services = build_services(settings)
    things = (settings, services, services.limiter, services.wakeups, services.database.engine)
    shown = "".join(f"{thing!r} {thing}" for thing in (*things, services.database.engine.url))
    assert [secret for secret in PLANTED if secret in shown] == []
    services.database.close()
