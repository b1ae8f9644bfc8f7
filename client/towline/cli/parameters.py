"""Notation as parameters of click: what is wrong with one is told as wrong use."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from towline.cli import notation

if TYPE_CHECKING:
    Parameter = click.ParamType[Any]
else:  # it takes no type where click is older
    Parameter = click.ParamType


class Notation(Parameter):
    """A parameter that a function understands."""

    def __init__(self, name: str, read: Callable[[str], Any]) -> None:
        self.name = name
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._read(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


DRAG = Notation("X,Y:X,Y", notation.drag)
RECT = Notation("X0,Y0,X1,Y1", notation.rect)
POLYGON = Notation('"X,Y X,Y X,Y"', notation.polygon)
OPTION = Notation("NAME=VALUE", notation.option)
LABEL = Notation("NAME=VALUE", notation.label)
