"""What a flow can ask of the driver that runs it, and what it is given in return.

    Send      a request, its answer read in full       Answer
    Open      a request whose answer is read in parts  Opened
    Next      the next part                            bytes, or None at the end
    Close     no more of it                            None
    Sleep     time passes                              None
    Work      a function that may block (files)        what it returns
    Item      a value for whoever iterates             None

Whatever goes wrong on the way is thrown into the flow as a `TransportError`. What a flow has
opened is closed when the flow ends, however it ends.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeAlias, TypeVar, cast

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Payload(Protocol):
    """Bytes to be sent, as often as need be; read in parts."""

    @property
    def size_bytes(self) -> int:
        """How many."""
        ...

    def chunks(self) -> Iterator[bytes]:
        """All of them, from the beginning."""
        ...


@dataclass(frozen=True, slots=True)
class Request:
    """One request. Headers and the URL may hold secrets, so `repr` shows neither."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: Payload | None
    deadline: float  #: on `time.monotonic()`
    connect_s: float
    silence_s: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Opened:
    """An answer whose body is still to be read; `handle` is the driver's."""

    status: int
    headers: Mapping[str, str]
    handle: Any = field(repr=False)


@dataclass(frozen=True, slots=True)
class Send:
    request: Request


@dataclass(frozen=True, slots=True)
class Open:
    request: Request


@dataclass(frozen=True, slots=True)
class Next:
    opened: Opened


@dataclass(frozen=True, slots=True)
class Close:
    opened: Opened


@dataclass(frozen=True, slots=True)
class Sleep:
    seconds: float


@dataclass(frozen=True, slots=True)
class Work:
    function: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Item(Generic[T_co]):
    value: T_co


Effect: TypeAlias = Send | Open | Next | Close | Sleep | Work
Flow: TypeAlias = Generator[Effect, Any, T]
Items: TypeAlias = Generator[Effect | Item[T], Any, None]


def send(request: Request) -> Flow[Answer]:
    """Its answer, read in full."""
    return cast("Answer", (yield Send(request)))


def open_(request: Request) -> Flow[Opened]:
    """Its answer, to be read."""
    return cast("Opened", (yield Open(request)))


def next_part(opened: Opened) -> Flow[bytes | None]:
    """Some of its body; None at the end."""
    return cast("bytes | None", (yield Next(opened)))


def close(opened: Opened) -> Flow[None]:
    """No more of it."""
    yield Close(opened)


def sleep(seconds: float) -> Flow[None]:
    """Time passes."""
    yield Sleep(seconds)


def work(function: Callable[[], T]) -> Flow[T]:
    """What a function returns that may block."""
    return cast("T", (yield Work(function)))
