"""The HTTP API, put together."""

from __future__ import annotations

import os
from threading import BoundedSemaphore
from typing import TYPE_CHECKING

from flask import request
from pydantic import ValidationError
from werkzeug.routing import BaseConverter

from api.auth import register_identification
from api.context import EXTENSION, Context
from api.cors import register_cors
from api.docs import docs
from api.feeds import Feeds
from api.notifier import Notifier
from api.openapi import make_app
from api.places import Places
from api.problems import register_error_handlers
from api.routes.account import account
from api.routes.batches import batches
from api.routes.engines import engines
from api.routes.events import events
from api.routes.health import health
from api.routes.images import images
from api.routes.jobs import jobs
from api.routes.metrics import metrics
from api.routes.objects import objects
from api.routes.webhooks import webhooks
from api.scopes import require_declared_scopes
from api.strict_json import StrictRequest
from api.studio import studio
from api.tracing import register_tracing
from api.waiting import FinalWatcher
from shared.errors import InvalidRequest, Violation
from shared.gauges import DatabaseGauges
from shared.ids import id_form
from shared.signed_urls import UrlSigner
from shared.submission.json_text import json_pointer, shape_violation
from shared.submission.understand import Surroundings

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask_openapi3 import OpenAPI

    from shared.services import Services


class _ImageId(BaseConverter):
    regex = id_form("img")


class _JobId(BaseConverter):
    regex = id_form("job")


class _BatchId(BaseConverter):
    regex = id_form("bat")


class _EndpointId(BaseConverter):
    regex = id_form("ep")


class _DeliveryId(BaseConverter):
    regex = id_form("dlv")


MAX_ARCHIVES, ARCHIVES_OF_ONE = 8, 4  #: that one process sends at once; to one account
MAX_RESULTS, RESULTS_OF_ONE = 64, 16  #: of batches, line by line

#: Lists, and what else takes parameters.
TAKES_QUERY = {
    "jobs.list_jobs",
    "batches.create_batch",
    "batches.list_batches",
    "batches.get_batch_results",
    "account.list_audit_log",
    "webhooks.list_webhook_endpoints",
    "webhooks.list_webhook_deliveries",
    "webhooks.replay_failed_deliveries",
}


def create_app(services: Services, is_ending: Callable[[], bool] = lambda: False) -> OpenAPI:
    """A WSGI app over these services; `ValueError` without a secret key."""
    settings = services.settings
    signer = UrlSigner(settings.secret_key.get_secret_value(), settings.base_url)
    notifier = Notifier()
    decoding = BoundedSemaphore(os.cpu_count() or 1)
    app = make_app(__name__)
    app.request_class = StrictRequest
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.extensions[EXTENSION] = Context(
        services=services,
        urls=services.objects.urls or signer,
        signer=signer,
        notifier=notifier,
        watcher=FinalWatcher(services.jobs, notifier, limit=settings.max_waits),
        batch_watcher=FinalWatcher(services.batches, notifier, limit=settings.max_waits),
        archives=Places(MAX_ARCHIVES, share=ARCHIVES_OF_ONE),
        results=Places(MAX_RESULTS, share=RESULTS_OF_ONE),
        feeds=Feeds(services.histories, services.accounts, notifier, limit=settings.max_streams),
        decoding=decoding,
        surroundings=Surroundings(
            settings=settings,
            images=services.images,
            known_images=services.known_images,
            objects=services.objects,
            rules=services.webhooks.rules,
            decoding=decoding,
        ),
        is_ending=is_ending,
        gauges=DatabaseGauges(services.database, alive_s=settings.lease_s),
    )
    app.validation_error_callback = _refuse
    app.url_map.converters.update(
        image=_ImageId, job=_JobId, batch=_BatchId, endpoint=_EndpointId, delivery=_DeliveryId
    )
    register_tracing(app)
    register_cors(app)
    register_identification(app)
    app.before_request(_refuse_query)
    register_error_handlers(app)
    for api_blueprint in (
        images,
        jobs,
        batches,
        events,
        webhooks,
        engines,
        account,
        health,
        metrics,
    ):
        app.register_api(api_blueprint)
    app.register_blueprint(objects)
    app.register_blueprint(docs)
    app.register_blueprint(studio)
    require_declared_scopes(app)
    return app


def _refuse_query() -> None:
    """Few addresses under `/v1` take parameters; the others refuse all."""
    # Without an endpoint it is another refusal's turn: no such address, or no such method there.
    if request.endpoint is None or not request.path.startswith("/v1/"):
        return
    if request.args and request.endpoint not in TAKES_QUERY:
        raise InvalidRequest(
            Violation(json_pointer([name]), "unknown_field", "there is no such parameter")
            for name in request.args
        )


def _refuse(error: ValidationError) -> None:
    """A body or a query that has not its form."""
    raise InvalidRequest(
        shape_violation(entry)
        for entry in error.errors(include_url=False, include_context=False, include_input=False)
    )
