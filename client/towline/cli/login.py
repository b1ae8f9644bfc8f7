"""`towline login` and `towline logout`."""

from __future__ import annotations

import sys
from urllib.parse import urlsplit

import click

from towline import Account, errors
from towline._core.context import DEFAULT_URL
from towline.cli.failures import DENIED, USAGE, CommandFailed
from towline.cli.profiles import DEFAULT, Place, Profiles, config_file
from towline.cli.session import Session, common, pass_session

LOCAL = ("127.0.0.1", "localhost", "::1")


@click.command()
@click.option("--url", metavar="URL", help="Where the service is; else you are asked.")
@common
@pass_session
def login(session: Session, url: str | None) -> None:
    """Keep an address and a key, once the service has said that it knows the key.

    You are asked for the key; where nobody can be asked, it is the first line of standard input:
    `towline login --url URL < key.txt`. It is never a part of the command, which others may see.
    """
    name = session.profile or DEFAULT
    profiles = Profiles.read(config_file())
    kept = profiles.places.get(name)
    url = (url or _ask_url(kept.url if kept else DEFAULT_URL)).strip().rstrip("/")
    key = _ask_key()
    account = _account_of(session, Place(url, key, "login"))
    if is_open(url):
        session.terminal.warn(f"{url} is not https: whoever is between can read the key.")
    profiles.keep(name, url, key)
    if session.terminal.is_json:
        session.terminal.json({"profile": name, "url": url, "account": account.id})
        return
    scopes = ", ".join(account.key.scopes)
    session.terminal.note(f"{url} knows you: account {account.name}, a key that may {scopes}.")
    session.terminal.note(f"Kept as profile {name} in {profiles.path}.")


@click.command()
@common
@pass_session
def logout(session: Session) -> None:
    """Forget what `towline login` kept. The key stays valid."""
    name = session.profile or DEFAULT
    if not Profiles.read(config_file()).forget(name):
        raise CommandFailed(f"There is no profile {name}.")
    session.terminal.note(f"Profile {name} is forgotten. Its key is valid until it is revoked.")


def is_open(url: str) -> bool:
    """Whether a key would travel in the open, beyond this machine."""
    parts = urlsplit(url)
    return parts.scheme == "http" and (parts.hostname or "") not in LOCAL


def _ask_url(suggested: str) -> str:
    if not sys.stdin.isatty():
        return suggested
    return str(click.prompt("Address of the service", default=suggested, err=True))


def _ask_key() -> str:
    if sys.stdin.isatty():
        return str(click.prompt("API key (not shown)", hide_input=True, err=True)).strip()
    key = sys.stdin.readline().strip()
    if not key:
        raise CommandFailed(
            "There is no key on standard input.",
            hint="towline login --url URL < key.txt",
            exit_code=USAGE,
        )
    return key


def _account_of(session: Session, place: Place) -> Account:
    try:
        with session.client_of(place) as client:
            return client.account.get()
    except errors.Unauthorized:
        raise CommandFailed(
            f"{place.url} does not know this key. Nothing was kept.",
            hint="is it whole (`tow_..._...`), of this service, not revoked, not expired?",
            exit_code=DENIED,
            code="unauthorized",
        ) from None
