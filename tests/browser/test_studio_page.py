"""What `/studio` is made of, without a browser: all of it is served, and from here alone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from api.app import create_app
from tests.integration.embedded.running import REPOSITORY

if TYPE_CHECKING:
    from flask.testing import FlaskClient

    from shared.services import Services

STATIC = REPOSITORY / "api" / "studio" / "static"
FILES = sorted(path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*.*"))
SERVED = [name for name in FILES if not name.endswith(".md")]
POLICY = [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data: blob:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
]
TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "png": "image/png",
}
MAX_LINES = 250


@pytest.fixture
def client(services: Services) -> FlaskClient:
    return create_app(services).test_client()


def test_the_page_has_a_strict_policy_when_it_is_opened(client: FlaskClient) -> None:
    for path in ("/studio", "/studio/"):
        page = client.get(path)
        assert page.status_code == 200
        assert page.content_type == TYPES["html"]
        assert page.headers["Content-Security-Policy"].split("; ") == POLICY
        assert page.headers["Referrer-Policy"] == "no-referrer"
        assert page.headers["X-Content-Type-Options"] == "nosniff"


def test_every_file_is_served_as_what_it_is_when_it_is_asked_for(client: FlaskClient) -> None:
    for name in SERVED:
        answer = client.get(f"/studio/{name}")
        assert answer.status_code == 200, name
        assert answer.content_type == TYPES[name.rpartition(".")[2]], name
        assert answer.headers["Content-Security-Policy"].split("; ") == POLICY
        assert answer.data == (STATIC / name).read_bytes()


def test_everything_that_is_named_is_there_when_the_page_loads_it(client: FlaskClient) -> None:
    named = {
        address
        for name in SERVED
        if not name.endswith(".png")
        for address in re.findall(r"""["'](/studio/[\w./-]+)["']""", (STATIC / name).read_text())
    }
    assert {"/studio/main.js", "/studio/base.css", "/studio/sample/image.png"} <= named
    assert {address for address in named if client.get(address).status_code != 200} == set()
    unused = {f"/studio/{name}" for name in SERVED} - named - {"/studio/index.html"}
    assert unused == set(), "nothing is shipped that nothing loads"


@pytest.mark.parametrize("name", [name for name in SERVED if not name.endswith(".png")])
def test_a_file_needs_no_other_host_and_no_inline_code_when_it_runs(name: str) -> None:
    text = (STATIC / name).read_text()
    assert not re.findall(r"""(?:https?:)//[\w$]""", text)
    assert not re.findall(r"""<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+="|javascript:""", text)
    assert not re.findall(
        r"\b(?:eval|innerHTML|outerHTML|insertAdjacentHTML|document\.write)\b", text
    )
    assert text.isascii(), "no pictographs"


@pytest.mark.parametrize("name", [name for name in SERVED if not name.endswith(".png")])
def test_a_file_is_small_and_says_what_it_is_for_when_it_is_read(name: str) -> None:
    lines = (STATIC / name).read_text().splitlines()
    assert len(lines) < MAX_LINES
    head = "\n".join(lines[:4])
    assert re.search(r"/\*\*?\s+\S+|<!-- \S+", head), "a sentence of purpose at its top"


@pytest.mark.parametrize(
    "name", ["none.js", "../__init__.py", "%2e%2e/__init__.py", "sample", "sample/README.md", "."]
)
def test_a_file_is_not_found_when_it_is_none_of_the_pages(client: FlaskClient, name: str) -> None:
    answer = client.get(f"/studio/{name}")
    assert answer.status_code == 404
    assert answer.content_type == "application/problem+json"


def test_the_page_is_not_read_again_when_it_has_not_changed(client: FlaskClient) -> None:
    first = client.get("/studio/main.js")
    assert first.headers["Cache-Control"] == "no-cache"
    headers = {"If-None-Match": first.headers["ETag"]}
    assert client.get("/studio/main.js", headers=headers).status_code == 304


@pytest.mark.parametrize("name", ["image.png", "mask.png"])
def test_the_sample_is_that_of_the_embedded_service_when_they_are_compared(name: str) -> None:
    original = REPOSITORY / "infra" / "embedded" / "sample" / name
    assert (STATIC / "sample" / name).read_bytes() == original.read_bytes()


def test_every_element_is_there_when_a_module_asks_for_it() -> None:
    ids = set(re.findall(r'\bid="([\w-]+)"', (STATIC / "index.html").read_text()))
    for path in STATIC.glob("*.js"):
        asked = re.findall(r"""\b(?:byId|onClick|show)\("([\w-]+)\"""", path.read_text())
        assert set(asked) <= ids, path.name
