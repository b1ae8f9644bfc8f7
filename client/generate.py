"""Write what is made from something else: `python -m client.generate` from the repository's root.

    towline/_problems.py    an exception for each code, from `api/codes.py`
    towline/aio.py          the asynchronous client, from the synchronous one, `towline/client.py`

A test fails when either is not what this would write.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from api.codes import CODES, PROBLEMS, VIOLATIONS, Code

if TYPE_CHECKING:
    from collections.abc import Iterable

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "client" / "towline"
GENERAL = {"invalid_request": "InvalidRequest"}  #: codes of classes written by hand

_HEAD = '''"""An exception for each code; made by `client/generate.py` from `api/codes.py`."""

from __future__ import annotations

from towline._failures import (
{imports}
)

__all__ = [
{names}
]
'''
_CLASS = '''

class {name}({base}):
    """{title}."""

    own_code = "{code}"
'''
_TAIL = """
BY_CODE: dict[str, type[APIError]] = {{
{rows}
}}
"""


def problems() -> str:
    """The source of `towline/_problems.py`."""
    own = {code: entry for code, entry in CODES.items() if entry.status and code not in GENERAL}
    bases = {code: _base_of(code, entry.status or 0) for code, entry in own.items()}
    classes = [
        _CLASS.format(name=class_name(code), base=bases[code], title=_title(entry, code), code=code)
        for code, entry in own.items()
    ]
    names = [class_name(code) for code in own]
    rows = [f'    "{code}": {name},' for code, name in {**GENERAL, **_named(own)}.items()]
    head = _HEAD.format(
        imports=_lines(sorted({"APIError", *GENERAL.values(), *bases.values()}), "    {},"),
        names=_lines(sorted(names), '    "{}",'),
    )
    return head + "".join(classes) + _TAIL.format(rows="\n".join(rows))


def _named(codes: Iterable[str]) -> dict[str, str]:
    return {code: class_name(code) for code in codes}


def _lines(names: Iterable[str], form: str) -> str:
    return "\n".join(form.format(name) for name in names)


def class_name(code: str) -> str:
    """`image_in_use` is raised as `ImageInUse`."""
    return "".join(part.capitalize() for part in code.split("_"))


def _title(entry: Code, code: str) -> str:
    title = entry.title.rstrip(".")
    return f"`{code}`" if title == VIOLATIONS["unknown_field"].title else title


def _base_of(code: str, status: int) -> str:
    by_status = {409: "Conflict", 422: "InvalidRequest", 429: "LimitExceeded"}
    if code in PROBLEMS and status == 422 and code.startswith("idempotency"):
        return "RequestError"
    return by_status.get(status, "ServerError" if status >= 500 else "RequestError")


#: What is called otherwise in the asynchronous client.
_RENAMED = {
    r"towline\._drivers\.blocking": "towline._drivers.asynchronous",
    r"httpx\.BaseTransport": "httpx.AsyncBaseTransport",
    r"\bIterator\b": "AsyncIterator",
    r"\bTowline\b(?!`? for| as)": "AsyncTowline",
    r"__enter__": "__aenter__",
    r"__exit__": "__aexit__",
    r"\bself\._driver\.run\(": "await self._driver.run(",
    r"\bself\._driver\.close\(": "await self._driver.close(",
    r"\bself\.close\(": "await self.close(",
    r"a `with`": "an `async with`",
    r"Threads may share it": "Tasks of one event loop may share it",
}
_HEADLINE = '"""The client for asyncio; made by `client/generate.py` from `towline/client.py`."""\n'
_METHOD = re.compile(r"^    def .*?(?=^    (?:def|async|@)|^class |\Z)", re.MULTILINE | re.DOTALL)


def asynchronous() -> str:
    """The source of `towline/aio.py`."""
    source = (PACKAGE / "client.py").read_text()
    for pattern, name in _RENAMED.items():
        source = re.sub(pattern, name, source)
    source = re.sub(r'\A""".*?"""\n', _HEADLINE, source, flags=re.DOTALL)
    return _METHOD.sub(_with_async, source)


def _with_async(method: re.Match[str]) -> str:
    """`async` for those that wait for something."""
    text = method[0]
    waits = "await " in text or "__aenter__" in text
    return text.replace("    def ", "    async def ", 1) if waits else text


def formatted(source: str) -> str:
    """As the rest of the code."""
    for command in (["check", "--fix", "--quiet", "--select", "I"], ["format"]):
        source = subprocess.run(
            [
                sys.executable,
                "-m",
                "ruff",
                *command,
                "--stdin-filename",
                "client/towline/x.py",
                "-",
            ],
            input=source,
            capture_output=True,
            text=True,
            check=True,
            cwd=REPOSITORY,
        ).stdout
    return source


def sources() -> dict[Path, str]:
    """What the files should be."""
    made = {"_problems.py": problems(), "aio.py": asynchronous()}
    return {PACKAGE / name: formatted(source) for name, source in made.items()}


def main() -> None:
    """Write both."""
    for path, source in sources().items():
        path.write_text(source)


if __name__ == "__main__":
    main()
