"""Every route that is served, and an address for each."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.api.calling import NOBODY

if TYPE_CHECKING:
    from flask import Flask
    from werkzeug.routing import Rule

#: The part of an address that is an id, and the kind of thing it names. A route with a part
#: that is not here fails the tests that walk all of them: see `test_api_foreign.py`.
IDS = {
    "image_id": "img",
    "job_id": "job",
    "batch_id": "bat",
    "endpoint_id": "ep",
    "delivery_id": "dlv",
}
OTHERS = {"key", "name"}  #: of objects and of pages: no account's ids


def rules(app: Flask) -> list[tuple[str, str]]:
    """Every method and address that is served."""
    return [
        (method, braced(rule))
        for rule in app.url_map.iter_rules()
        for method in sorted(rule.methods or ())
    ]


def braced(rule: Rule) -> str:
    """Its address, with its parts as `{job_id}`."""
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)


def parts_of(rule: str) -> list[str]:
    """The names of its variable parts."""
    return re.findall(r"{(\w+)}", rule)


def address_of(rule: str, **ids: str) -> str:
    """An address of a rule; an id that is not given is nobody's."""
    unknown = [name for name in parts_of(rule) if name not in IDS and name not in OTHERS]
    assert not unknown, f"{rule}: say in tests/api/routes.py what {unknown} are ids of"
    nobodys = {name: f"{kind}_{NOBODY}" for name, kind in IDS.items()}
    return rule.format(**{**nobodys, **dict.fromkeys(OTHERS, "x"), **ids})
