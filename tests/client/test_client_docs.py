"""The client's documentation: every example is run, and every public name has one."""

from __future__ import annotations

import ast
import inspect
import io
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import towline
import towline.testing
from client import generate
from tests.client.blocking import RESOURCES, Blocking
from tests.client.conftest import SMALL, noise
from tests.integration.embedded.running import REPOSITORY, EmbeddedService
from towline import AsyncTowline, Towline, errors
from towline._drivers import asynchronous, blocking
from towline.testing import FakeTowline

CLIENT = REPOSITORY / "client"
PAGES = sorted((CLIENT / "docs").glob("*.md"))
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
GIVES = re.compile(r"# -> (.*)$")


def code_of(page: Path) -> str:
    """Its examples, each where it stands, so that a failure names the line."""
    text = page.read_text()
    lines = [""] * (text.count("\n") + 1)
    for block in BLOCK.finditer(text):
        first = text.count("\n", 0, block.start(1))
        for number, line in enumerate(block[1].splitlines()):
            lines[first + number] = line
    return "\n".join(lines)


def run(page: Path, names: dict[str, Any]) -> int:
    """How many values were compared; fails for one that is another than was said."""
    source = code_of(page)
    lines, compared = source.splitlines(), 0

    def given(line: int, value: Any) -> None:
        nonlocal compared
        said = GIVES.search(lines[line - 1])
        assert said is not None
        assert repr(value) == said[1], f"{page.name}:{line}"
        compared += 1

    tree = ast.parse(source, str(page))
    ast.fix_missing_locations(_Compared(lines).visit(tree))
    exec(compile(tree, str(page), "exec"), {**names, "__given__": given})  # noqa: S102
    return compared


class _Compared(ast.NodeTransformer):
    """An expression whose line says what it gives is compared with that."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self.names: set[int] = set()

    def visit_Expr(self, node: ast.Expr) -> ast.Expr:
        line = node.end_lineno or node.lineno
        if not GIVES.search(self._lines[line - 1]):
            return node
        function = ast.Name("__given__", ast.Load())
        call = ast.Call(function, [ast.Constant(line), node.value], [])
        return ast.copy_location(ast.Expr(call), node)


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with the files that the examples name."""
    monkeypatch.chdir(tmp_path)
    Path("photo.png").write_bytes(noise(*SMALL))
    mask = io.BytesIO()
    Image.new("L", SMALL, 255).save(mask, "PNG")
    Path("mask.png").write_bytes(mask.getvalue())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_examples_of_a_page_give_what_they_say(
    page: Path, form: Callable[..., Any], workplace: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeTowline()
    for module in (blocking, asynchronous):
        _speak_to(fake, module, monkeypatch)
    with form("https://towline.test", "tow_...") as client:
        monkeypatch.setattr(client, "close", lambda: None)
        assert run(page, {"client": client, "fake": fake}) >= 1
        monkeypatch.undo()


def _speak_to(fake: FakeTowline, module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that was given no transport has the fake's."""
    make = module.Driver.__init__
    monkeypatch.setattr(module.Driver, "__init__", lambda self, given: make(self, given or fake))


def examples() -> str:
    return "\n".join(code_of(page) for page in PAGES)


def _methods(kind: type) -> Iterator[str]:
    """Those that it does not owe to httpx."""
    for name, method in inspect.getmembers(kind, inspect.isfunction):
        if not name.startswith(("_", "handle_")) and method.__module__.startswith("towline."):
            yield name


def test_every_public_name_has_an_example() -> None:
    code = examples()
    names = [*towline.__all__, *towline.testing.__all__]
    missing = [name for name in names if not re.search(rf"\b{re.escape(name)}\b", code)]
    for resource in RESOURCES:
        kind = type(getattr(Towline("https://towline.test", "k"), resource))
        calls = [f"client.{resource}.{name}" for name in _methods(kind)]
        missing += [call for call in calls if not re.search(rf"{re.escape(call)}\b", code)]
    missing += [name for name in _methods(Towline) if f"client.{name}(" not in code]
    missing += [name for name in _methods(FakeTowline) if f"fake.{name}(" not in code]
    assert missing == []


def test_every_public_name_says_what_it_is() -> None:
    things: list[Any] = [getattr(errors, name) for name in errors.__all__]
    for name in towline.__all__:
        things.append(getattr(towline, name))
    for resource in RESOURCES:
        kind = type(getattr(Towline("https://towline.test", "k"), resource))
        things += [kind, *(getattr(kind, name) for name in _methods(kind))]
    undocumented = [thing for thing in things if not isinstance(thing, str) and not thing.__doc__]
    assert undocumented == []


def test_what_is_made_is_what_would_be_made_now() -> None:
    """Run `python -m client.generate` after a change of `client.py` or of the service's codes."""
    for path, source in generate.sources().items():
        assert path.read_text() == source, path.name


def test_each_code_of_the_service_has_a_class_of_its_own() -> None:
    from api.codes import CODES
    from towline._problems import BY_CODE

    wanted = {code for code, entry in CODES.items() if entry.status is not None}
    assert set(BY_CODE) == wanted
    for code, kind in BY_CODE.items():
        assert getattr(errors, kind.__name__) is kind
        assert kind.own_code == code
    assert len(set(BY_CODE.values())) == len(BY_CODE)


def test_both_clients_have_the_same_names() -> None:
    sync, other = Towline("https://x", "k"), AsyncTowline("https://x", "k")
    for name in RESOURCES:
        assert set(_methods(type(getattr(sync, name)))) == set(_methods(type(getattr(other, name))))
    assert set(_methods(Towline)) == set(_methods(AsyncTowline))
    assert set(RESOURCES) == {name for name in vars(sync) if not name.startswith("_")}
    assert Blocking is not None


def first_example(page: Path) -> str:
    block = BLOCK.search(page.read_text())
    assert block is not None
    return block[1]


def test_the_readmes_begin_with_the_same_ten_lines() -> None:
    code = first_example(REPOSITORY / "README.md")
    assert code == first_example(CLIENT / "README.md")
    assert len(code.splitlines()) <= 10


@pytest.mark.slow
def test_the_first_example_works_when_a_stranger_copies_it(
    service: EmbeddedService, tmp_path: Path
) -> None:
    (tmp_path / ".towline").mkdir()
    (tmp_path / ".towline" / "key").write_text(service.key + "\n")
    (tmp_path / "infra").symlink_to(REPOSITORY / "infra")
    (tmp_path / "first.py").write_text(first_example(REPOSITORY / "README.md"))
    done = subprocess.run(
        [sys.executable, "first.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(CLIENT), "TOWLINE_URL": service.url},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "edited.png\n", "")
    with Image.open(tmp_path / "edited.png") as after:
        assert after.size == Image.open(REPOSITORY / "infra/embedded/sample/image.png").size
