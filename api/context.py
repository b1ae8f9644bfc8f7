"""What a request may reach: the services of this process, and whose request it is."""

from __future__ import annotations

from dataclasses import dataclass
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, cast

from flask import current_app, g

if TYPE_CHECKING:
    from collections.abc import Callable

    from api.feeds import Feeds
    from api.notifier import Notifier
    from api.places import Places
    from api.waiting import FinalWatcher
    from shared.accounts.account import Caller
    from shared.gauges import DatabaseGauges
    from shared.objects import ClientUrls
    from shared.services import Services
    from shared.signed_urls import UrlSigner
    from shared.submission.understand import Surroundings

EXTENSION = "towline"


@dataclass(frozen=True, slots=True)
class Context:
    """One for each process.

    notifier: looks for those who wait (`watcher`, `batch_watcher`) and those who listen (`feeds`).
    urls: what clients are given; signer: what `/objects` accepts.
    surroundings: what submissions are checked against.
    archives, results: held while one of a batch is sent: each may keep a thread for long.
    gauges: what the database says of the service, for `/metrics`.
    is_ending: whether this process was told to end, and should get no more requests.
    decoding: held while a picture or a mask is in memory as pixels: hundreds of megabytes each.
    """

    services: Services
    urls: ClientUrls
    signer: UrlSigner
    notifier: Notifier
    watcher: FinalWatcher
    batch_watcher: FinalWatcher
    archives: Places
    results: Places
    feeds: Feeds
    gauges: DatabaseGauges
    decoding: BoundedSemaphore
    surroundings: Surroundings
    is_ending: Callable[[], bool]


def context() -> Context:
    """The context of the app that serves this request."""
    return cast("Context", current_app.extensions[EXTENSION])


def services() -> Services:
    """The services of this process."""
    return context().services


def account_id() -> str:
    """The account whose key came with the request."""
    return caller().account_id


def caller() -> Caller:
    """Whose request it is, by which key."""
    return cast("Caller", g.caller)
