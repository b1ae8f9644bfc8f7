"""`python -m api account ...` and `python -m api key ...`: what an operator does.

Answers are lines for people, or with `--json` one JSON document. A key is shown when it is made
and never again; it is alone on stdout, and its end is told on stderr. Each change is in the audit
log, under the name of whoever ran the command.
"""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from shared.accounts.keys import Scope
from shared.accounts.limits import LIMITS
from shared.audit.trail import Actor, act_as
from shared.times import rfc3339

if TYPE_CHECKING:
    from shared.accounts.account import Account, KeyInfo
    from shared.accounts.deletion import Removed
    from shared.accounts.keys import NewKey
    from shared.services import Services

DAY_S, HOUR_S = 86_400.0, 3600.0
LONGEST_DAYS = 36_500.0


def add_commands(commands: Any) -> None:
    """Teach a parser the commands `account` and `key`."""
    account = commands.add_parser("account", help="accounts").add_subparsers(
        dest="verb", required=True
    )
    for verb, told in (
        ("create", "make an account"),
        ("list", "every account"),
        ("show", "one account: limits, usage, keys"),
        ("limits", "set limits of its own"),
        ("delete", "remove it with its jobs, images, keys and objects, for good"),
    ):
        parser = _add(account, verb, told)
        if verb != "list":
            is_new = verb == "create"
            parser.add_argument("name", type=_new_account_name if is_new else _account_name)
        if verb == "limits":
            _add_limits(parser)
        if verb == "delete":
            parser.add_argument("--yes", action="store_true", help="do not ask")
    _add_key_commands(commands)


def _add_key_commands(commands: Any) -> None:
    key = commands.add_parser("key", help="API keys").add_subparsers(dest="verb", required=True)
    create = _add(key, "create", "make a key and print it: it is shown this once")
    create.add_argument(
        "--account", required=True, type=_new_account_name, help="made if it is new"
    )
    create.add_argument("--name", type=_key_name, help="what it is for")
    create.add_argument("--scopes", type=_scopes, default=tuple(Scope), help="read,write,admin")
    create.add_argument("--expires-in-days", type=_days, help="never, unless given")
    _add(key, "list", "an account's keys").add_argument(
        "--account", required=True, type=_account_name
    )
    _add(key, "revoke", "let a key open nothing from now on").add_argument("key_id")
    rotate = _add(key, "rotate", "make a key like this one and print it; the old one ends later")
    rotate.add_argument("key_id")
    rotate.add_argument(
        "--overlap-hours", type=_hours, default=24.0, help="how long both work (24); 0: not at all"
    )


def _add(commands: Any, verb: str, told: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(verb, help=told)
    parser.add_argument("--json", action="store_true", help="answer in JSON")
    return parser


def _add_limits(parser: argparse.ArgumentParser) -> None:
    for limit in LIMITS:
        parser.add_argument(
            f"--{limit.replace('_', '-')}",
            dest=limit,
            type=_limit,
            default=argparse.SUPPRESS,
            metavar="N|none|default",
        )


def run_command(chosen: argparse.Namespace, services: Services) -> None:
    """Do it and say so; `TowlineError`."""
    act_as(Actor("cli", _who()))
    try:
        document, lines = _COMMANDS[chosen.command, chosen.verb](chosen, services)
    finally:
        act_as(None)
    print("\n".join([json.dumps(document)] if chosen.json else lines))


Answer = tuple[Any, list[str]]


def _create_account(chosen: argparse.Namespace, services: Services) -> Answer:
    account = services.accounts.create_account(chosen.name)
    return _account_json(account), [account.id]


def _list_accounts(_: argparse.Namespace, services: Services) -> Answer:
    accounts = services.accounts.all()
    return [_account_json(account) for account in accounts], [
        f"{account.id}  {account.name}{'  (being deleted)' if account.deleting_at else ''}"
        for account in accounts
    ]


def _show_account(chosen: argparse.Namespace, services: Services) -> Answer:
    account = services.accounts.named(chosen.name)
    usage = asdict(services.accounts.usage(account.id))
    usage["month_ends_at"] = rfc3339(usage["month_ends_at"])
    keys = services.accounts.keys_of(account.name)
    document = {
        **_account_json(account),
        "usage": usage,
        "keys": [_key_json(key) for key in keys],
    }
    return document, [
        f"{account.name}  {account.id}  since {rfc3339(account.created_at)}",
        *_limit_lines(account, usage),
        *[f"key  {line}" for line in map(_key_line, keys)],
    ]


def _set_limits(chosen: argparse.Namespace, services: Services) -> Answer:
    changes = {name: getattr(chosen, name) for name in LIMITS if hasattr(chosen, name)}
    account = services.accounts.set_limits(chosen.name, changes)
    return _account_json(account), _limit_lines(account, {})


def _delete_account(chosen: argparse.Namespace, services: Services) -> Answer:
    account = services.accounts.named(chosen.name)
    if not chosen.yes and not _is_confirmed(account.name):
        raise SystemExit("nothing was deleted; say --yes to do it without being asked")
    removed = services.account_deletion.delete(account.name, _tell_progress)
    counts = asdict(removed)
    line = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items())
    return {"id": account.id, "removed": counts}, [f"deleted {account.name} ({account.id}): {line}"]


def _is_confirmed(name: str) -> bool:
    if not sys.stdin.isatty():
        return False
    return input(f"Delete the account {name!r} for good? Type its name: ") == name


def _tell_progress(removed: Removed) -> None:
    if sys.stderr.isatty():
        done = f"{removed.jobs} jobs, {removed.images} images, {removed.objects} objects"
        print(f"\rdeleted {done}", end="", file=sys.stderr, flush=True)


def _create_key(chosen: argparse.Namespace, services: Services) -> Answer:
    days = chosen.expires_in_days
    key = services.accounts.create_key(
        chosen.account,
        name=chosen.name,
        scopes=chosen.scopes,
        expires_in_s=None if days is None else days * DAY_S,
    )
    return _new_key(chosen, key)


def _list_keys(chosen: argparse.Namespace, services: Services) -> Answer:
    keys = services.accounts.keys_of(chosen.account)
    return [_key_json(key) for key in keys], [_key_line(key) for key in keys]


def _revoke_key(chosen: argparse.Namespace, services: Services) -> Answer:
    key = services.accounts.revoke_key(_key_id(chosen.key_id))
    return _key_json(key), [_key_line(key)]


def _rotate_key(chosen: argparse.Namespace, services: Services) -> Answer:
    overlap_s = chosen.overlap_hours * HOUR_S
    key = services.accounts.rotate_key(_key_id(chosen.key_id), overlap_s=overlap_s)
    return _new_key(chosen, key)


_COMMANDS = {
    ("account", "create"): _create_account,
    ("account", "list"): _list_accounts,
    ("account", "show"): _show_account,
    ("account", "limits"): _set_limits,
    ("account", "delete"): _delete_account,
    ("key", "create"): _create_key,
    ("key", "list"): _list_keys,
    ("key", "revoke"): _revoke_key,
    ("key", "rotate"): _rotate_key,
}


def _new_key(chosen: argparse.Namespace, key: NewKey) -> Answer:
    document: dict[str, Any] = {
        "id": key.id,
        "key": key.text,
        "expires_at": _time(key.expires_at),
    }
    ends = [(key.id, key.expires_at)]
    if key.replaces is not None:
        ends.append((key.replaces, key.replaced_until))
        document["replaces"] = {"id": key.replaces, "expires_at": _time(key.replaced_until)}
    if not chosen.json:
        for key_id, end in ends:
            said = "never expires" if end is None else f"expires {rfc3339(end)}"
            print(f"key {key_id} {said}", file=sys.stderr)
    return document, [key.text]


def _account_json(account: Account) -> dict[str, Any]:
    return {
        "id": account.id,
        "name": account.name,
        "created_at": rfc3339(account.created_at),
        "is_being_deleted": account.deleting_at is not None,
        "limits": asdict(account.limits),
        "own_limits": dict(account.own_limits),
    }


def _key_json(key: KeyInfo) -> dict[str, Any]:
    times = ("created_at", "expires_at", "revoked_at", "last_used_at")
    return {
        "id": key.id,
        "name": key.name,
        "scopes": [scope.value for scope in key.scopes],
        **{name: _time(getattr(key, name)) for name in times},
    }


def _time(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else rfc3339(milliseconds)


def _key_line(key: KeyInfo) -> str:
    said = [key.id, ",".join(scope.value for scope in key.scopes), key.name or "(no name)"]
    said += [
        f"{verb} {rfc3339(when)}"
        for verb, when in (
            ("made", key.created_at),
            ("last used", key.last_used_at),
            ("expires", key.expires_at),
            ("revoked", key.revoked_at),
        )
        if when is not None
    ]
    return "  ".join(said)


def _limit_lines(account: Account, used: dict[str, Any]) -> list[str]:
    lines = []
    for name in LIMITS:
        limit = getattr(account.limits, name)
        origin = "default" if account.own_limits[name] is None else "its own"
        line = f"{name}  {'no limit' if limit is None else limit} ({origin})"
        lines.append(f"{line}, now {used[name]}" if name in used else line)
    return lines


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "unknown"


def _key_id(text: str) -> str:
    """The id, of which a whole key is accepted too: it is what people have at hand."""
    return text.split("_")[1] if text.startswith("tow_") and text.count("_") > 0 else text


def _account_name(text: str) -> str:
    if not 1 <= len(text.strip()) <= 200:
        raise argparse.ArgumentTypeError("an account's name has 1 to 200 characters")
    return text.strip()


def _new_account_name(text: str) -> str:
    """Those that are older than this rule can still be shown and deleted."""
    return _printable("an account's name", _account_name(text))


def _key_name(text: str) -> str:
    if not 1 <= len(text.strip()) <= 100:
        raise argparse.ArgumentTypeError("a key's name has 1 to 100 characters")
    return _printable("a key's name", text.strip())


def _printable(what: str, text: str) -> str:
    """Lists show it, one to a line, on terminals."""
    if not text.isprintable():
        raise argparse.ArgumentTypeError(f"{what} has no line breaks or control characters")
    return text


def _scopes(text: str) -> tuple[Scope, ...]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in list(Scope)]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"scopes are {','.join(Scope)}, at least one of them")
    return tuple(Scope(name) for name in names)


def _days(text: str) -> float:
    return _number(text, "days", 0.0, LONGEST_DAYS)


def _hours(text: str) -> float:
    return _number(text, "hours", -1.0, 24 * LONGEST_DAYS)


def _number(text: str, unit: str, above: float, most: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not above < value <= most or value < 0:
        raise argparse.ArgumentTypeError(f"a number of {unit}, at most {most:.0f}")
    return value


def _limit(text: str) -> int | None:
    """As it is stored: 0 is none, None the default."""
    if text == "default":
        return None
    if text == "none":
        return 0
    if not text.isdecimal() or not 1 <= int(text) < 2**63:
        raise argparse.ArgumentTypeError("a whole number from 1 on, `none`, or `default`")
    return int(text)
