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
from tests.planted import (
    DATABASE_PASSWORD,
    PLANTED,
    REDIS_PASSWORD,
    S3_SECRET_KEY,
    SECRET_KEY,
    WEBHOOK_SECRET,
)

REPOSITORY = Path(__file__).parents[2]

QUIET = "def test_it():\n    print('nothing to see')\n"
PRINTS = "def test_it():\n    print('the URL is', {secret!r})\n"
LOGS = "import logging\ndef test_it():\n    logging.getLogger().warning('%s', {secret!r})\n"
WRITES = "def test_it(tmp_path):\n    (tmp_path / 'worker.log').write_text({secret!r})\n"
FAILS = "def test_it():\n    held = {secret!r}\n    assert held == 'another'\n"
RAISES = "def test_it():\n    raise ValueError('no answer from ' + {secret!r})\n"
IMPORTS = "raise ValueError('no answer from ' + {secret!r})\n"
WARNS = "import warnings\ndef test_it():\n    warnings.warn('held ' + {secret!r})\n"
IN_MEMORY = (
    "import pytest, tempfile\n"
    "from pathlib import Path\n"
    "from tests.search import refuse\n"
    "@pytest.fixture\n"
    "def folder():\n"
    "    with tempfile.TemporaryDirectory() as name:\n"
    "        yield Path(name)\n"
    "        refuse(Path(name))\n"
    "def test_it(folder):\n"
    "    (folder / 'log').write_text('refused ' + {secret!r})\n"
)
KEEPS = (
    "def test_it(tmp_path):\n"
    "    (tmp_path / 'secret').write_text('x' * 20 + {secret!r})\n"
    "    (tmp_path / 'api.log').write_text('it is ' + 'x' * 20 + {secret!r})\n"
)


QUERY = f"postgresql://towline:{DATABASE_PASSWORD}@127.0.0.1/towline"


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
        "prints a webhook secret": (PRINTS.format(secret=WEBHOOK_SECRET), 1),
        "prints it without its prefix": (PRINTS.format(secret=WEBHOOK_SECRET[6:]), 1),
        "logs a key of S3": (LOGS.format(secret=S3_SECRET_KEY), 1),
        "logs a URL": (LOGS.format(secret=QUERY), 1),
        "in memory": (IN_MEMORY.format(secret=QUERY), 1),
        "warns": (WARNS.format(secret=SECRET_KEY), 1),
    }  # fmt: skip
    for name, (test, status) in cases.items():
        folder = tmp_path / name
        folder.mkdir()
        run = run_of(folder, test)
        assert run.returncode == status, (name, run.stdout)
        assert "1 passed" in run.stdout
        assert ("secrets in the output" in run.stdout) == (status == 1)
        if name != "warns":  # it is pytest that says it there
            assert not [secret for secret in (*PLANTED, key) if secret in run.stdout]
        for path in (folder / "temp").rglob("*.log"):  # or this very run would find it
            path.unlink()


@pytest.mark.slow
def test_the_look_names_the_test_when_a_secret_is_in_a_traceback(tmp_path: Path) -> None:
    """It fails anyway; whoever mends the test must know what else it showed."""
    for name, test in {"fails": FAILS, "raises": RAISES, "imports": IMPORTS}.items():
        folder = tmp_path / name
        folder.mkdir()
        run = run_of(folder, test.format(secret=QUERY))
        assert run.returncode != 0
        _, _, found = run.stdout.partition("secrets in the output")
        assert "traceback: a planted secret" in found, run.stdout


def test_no_secret_is_shown_when_what_holds_it_is_printed(tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path,
        secret_key=SECRET_KEY,
        database_url=f"postgresql://towline:{DATABASE_PASSWORD}@127.0.0.1:1/towline",
        redis_url=f"redis://:{REDIS_PASSWORD}@127.0.0.1:1/0",
        s3_url="http://127.0.0.1:1",
        s3_bucket="towline",
        s3_access_key="access",
        s3_secret_key=S3_SECRET_KEY,
    )
    services = build_services(settings)
    things = (settings, services, services.limiter, services.wakeups, services.database.engine,
              services.objects, services.webhooks)  # fmt: skip
    shown = "".join(f"{thing!r} {thing}" for thing in (*things, services.database.engine.url))
    assert [secret for secret in PLANTED if secret in shown] == []
    services.database.close()
