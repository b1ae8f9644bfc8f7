"""One run of the command line: the terminal, and clients of the service that was chosen."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar

import click

from towline import AsyncTowline, Timeouts, Towline
from towline.cli.profiles import Place, config_file, find_place, is_exposed
from towline.cli.terminal import Terminal

F = TypeVar("F", bound=Callable[..., Any])


class Session:
    """transport: httpx's, in the place of the network (`towline.testing.FakeTowline`)."""

    def __init__(self, *, transport: Any = None) -> None:
        self.terminal = Terminal()
        self.profile: str | None = None
        self.transport = transport

    @cached_property
    def place(self) -> Place:
        """Whom to ask; `CommandFailed`."""
        place = find_place(self.profile)
        path = config_file()
        if place.source.startswith("profile ") and is_exposed(path):
            self.terminal.warn(f"others may read your keys: chmod 600 {path}")
        return place

    def client(self, timeout: float | Timeouts | None = None) -> Towline:
        """One that waits."""
        place = self.place
        return Towline(place.url, place.api_key, timeout=timeout, transport=self.transport)

    def async_client(self, timeout: float | Timeouts | None = None) -> AsyncTowline:
        """One for asyncio."""
        place = self.place
        return AsyncTowline(place.url, place.api_key, timeout=timeout, transport=self.transport)

    def client_of(self, place: Place) -> Towline:
        """One of another place, which nobody has chosen yet."""
        return Towline(
            place.url, place.api_key, timeout=15, max_retries=1, transport=self.transport
        )


pass_session = click.make_pass_decorator(Session)


def common(command: F) -> F:
    """The options that every command has."""

    def take_json(context: click.Context, _: click.Parameter, value: bool) -> None:
        session = context.find_object(Session)
        if session is not None and value:
            session.terminal.is_json = True

    def take_quiet(context: click.Context, _: click.Parameter, value: bool) -> None:
        session = context.find_object(Session)
        if session is not None and value:
            session.terminal.is_quiet = True

    def take_profile(context: click.Context, _: click.Parameter, value: str | None) -> None:
        session = context.find_object(Session)
        if session is not None and value is not None:
            session.profile = value

    options = [
        click.option(
            "--profile",
            metavar="NAME",
            expose_value=False,
            callback=take_profile,
            help="Use this profile of `towline login`.",
        ),
        click.option(
            "--quiet",
            "-q",
            is_flag=True,
            expose_value=False,
            callback=take_quiet,
            help="Say nothing but results and errors.",
        ),
        click.option(
            "--json",
            is_flag=True,
            expose_value=False,
            callback=take_json,
            is_eager=True,
            help="JSON on stdout, one object a line; errors as JSON on stderr.",
        ),
    ]
    for option in options:
        command = option(command)
    return command
