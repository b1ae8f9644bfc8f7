"""URLs of the API that open one object, for one method, until a time, without a key.

Used where clients do not reach the object storage itself (`ObjectStore.urls`).

`/objects/<key>?expires=<unix seconds>&signature=<hex>`: HMAC-SHA-256 (RFC 2104) over the
method, the object's key, the expiry, and for an upload the exact size it may have.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from urllib.parse import quote, urlencode

from shared.objects import Upload

PATH = "/objects/"


class UrlSigner:
    """Signs and checks; `base_url` is where clients reach the API."""

    def __init__(self, secret: str, base_url: str) -> None:
        if not secret:
            raise ValueError("TOWLINE_SECRET_KEY is not set: URLs cannot be signed")
        self._key = hashlib.sha256(b"towline signed urls\0" + secret.encode()).digest()
        self._base_url = base_url

    def download(self, key: str, ttl_s: int, content_type: str) -> str:
        """To read an object; the API tells its type from the bytes."""
        return self.sign("GET", key, ttl_s)

    def upload(self, key: str, ttl_s: int, size_bytes: int, content_type: str) -> Upload:
        """To PUT just so many bytes."""
        url = self.sign("PUT", key, ttl_s, size_bytes)
        return Upload(url, {"Content-Type": content_type})

    def sign(self, method: str, key: str, ttl_s: int, size_bytes: int | None = None) -> str:
        """A URL that is good for `ttl_s` seconds."""
        expires = int(time.time()) + ttl_s
        query = {"expires": str(expires)}
        if size_bytes is not None:
            query["size"] = str(size_bytes)
        query["signature"] = self._signature(method, key, expires, size_bytes)
        return f"{self._base_url}{PATH}{quote(key)}?{urlencode(query)}"

    def accepts(
        self, method: str, key: str, expires: int, size_bytes: int | None, signature: str
    ) -> bool:
        """Whether this was signed here, for just this, and is still good."""
        wanted = self._signature(method, key, expires, size_bytes)
        return (
            hmac.compare_digest(wanted.encode(), signature.encode("utf-8", "surrogatepass"))
            and time.time() < expires
        )

    def _signature(self, method: str, key: str, expires: int, size_bytes: int | None) -> str:
        size = "" if size_bytes is None else str(size_bytes)
        text = "\n".join((method, key, str(expires), size))
        return hmac.new(
            self._key, text.encode("utf-8", "surrogatepass"), hashlib.sha256
        ).hexdigest()
