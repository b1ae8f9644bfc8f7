"""Lists, page by page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from towline._core.calling import call, json_of
from towline._core.context import Ask, Context
from towline._core.decoding import decode
from towline._core.effects import Item, Items
from towline._failures import UnreadableAnswer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from towline._core.effects import Answer

T = TypeVar("T")


def pages(
    context: Context, path: str, kind: type[T], query: Sequence[tuple[str, str]], page_size: int
) -> Items[T]:
    """Every entry of a list; a page is fetched when the one before was used up."""

    def read(answer: Answer) -> tuple[list[T], str | None]:
        body = json_of(answer)
        if not isinstance(body, dict) or not isinstance(body.get("data"), list):
            raise UnreadableAnswer("The answer is not a page of a list.")
        return [decode(kind, entry) for entry in body["data"]], body.get("next_cursor")

    cursor: str | None = None
    while True:
        asked = [*query, ("limit", str(page_size))]
        if cursor is not None:
            asked.append(("cursor", cursor))
        found, cursor = yield from call(context, Ask(method="GET", path=path, query=asked), read)
        for entry in found:
            yield Item(entry)
        if cursor is None:
            return


def given(**parameters: Any) -> list[tuple[str, str]]:
    """Those that were given."""
    return [(name, str(value)) for name, value in parameters.items() if value is not None]
