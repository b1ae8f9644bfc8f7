"""Secrets of the tests: each stands for one of an operator, and `tests/leaks.py` looks for it."""

from __future__ import annotations

import base64

SECRET_KEY = "planted-secret-key-5d1f0c77"
DATABASE_PASSWORD = "planted-database-password-5d1f0c77"  #: in the URL of PostgreSQL
REDIS_PASSWORD = "planted-redis-password-5d1f0c77"  #: in the URL of Redis
S3_SECRET_KEY = "planted-s3-secret-hush-5d1f0c77"
COLLECTOR_KEY = "planted-collector-key-5d1f0c77"  #: in the headers of OTLP
_BYTES = b"planted-webhook-secret-5d1f0c77!"
#: Of the endpoints that `tests/factories.py` makes; spelt by parts, so that this line is none.
WEBHOOK_SECRET = "whsec" + "_" + base64.b64encode(_BYTES).decode()
PLANTED = (
    SECRET_KEY,
    DATABASE_PASSWORD,
    REDIS_PASSWORD,
    S3_SECRET_KEY,
    COLLECTOR_KEY,
    WEBHOOK_SECRET.partition("_")[2],
    _BYTES.decode(),
)
