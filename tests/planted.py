"""Secrets of the tests: each stands for one of an operator, and `tests/leaks.py` looks for it."""

from __future__ import annotations

SECRET_KEY = "planted-secret-key-5d1f0c77"
DATABASE_PASSWORD = "planted-database-password-5d1f0c77"
REDIS_PASSWORD = "planted-redis-password-5d1f0c77"
S3_SECRET_KEY = "planted-s3-secret-hush-5d1f0c77"
PLANTED = (SECRET_KEY, DATABASE_PASSWORD, REDIS_PASSWORD, S3_SECRET_KEY)

#: Spelt by parts, so that this very line is none. Of a key its secret is enough to be found.
