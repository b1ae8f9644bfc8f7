"""A real Chromium on the real service; without playwright or a Chromium these tests are skipped.

Neither is a dependency of `make test`: `pip install playwright` into any environment with the
project's own, and a `chromium` on the PATH (or `playwright install chromium`).
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.driving import Studio
from tests.integration.conftest import service, start_any_service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.integration.embedded.running import EmbeddedService

__all__ = ["service", "start_any_service"]

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A browser without a window."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        bundled = Path(driver.chromium.executable_path)
        found = bundled if bundled.exists() else next(filter(None, map(shutil.which, NAMES)), None)
        if found is None:
            pytest.skip("no Chromium: neither on the PATH nor playwright's own")
        browser = driver.chromium.launch(executable_path=str(found), args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def open_studio(browser: Any, service: EmbeddedService) -> Iterator[Callable[..., Studio]]:
    """Open the page in a tab of its own; afterwards it must have asked nobody else for anything."""
    opened: list[Studio] = []

    def open_studio(key: str | None = None, **options: Any) -> Studio:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        opened.append(Studio(context.new_page(), service))
        opened[-1].open(service.key if key is None else key)
        return opened[-1]

    yield open_studio
    for studio in opened:
        studio.page.context.close()
        assert studio.hosts == {f"127.0.0.1:{service.port}"}
        assert studio.complaints == []


@pytest.fixture
def studio(open_studio: Callable[..., Studio]) -> Studio:
    """The page, with its key."""
    return open_studio()
