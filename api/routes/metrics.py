"""`/metrics`: what this API counts, all of its processes together, and what the database says."""

from __future__ import annotations

import os

from flask import Response
from flask_openapi3 import APIBlueprint, Tag
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from api.context import context
from api.openapi import operation_id, plain_text

FOLDER = "PROMETHEUS_MULTIPROC_DIR"  #: where processes put their numbers together; theirs to name

FOLDER_PREFIX = "towline-metrics-"  #: of one that we made

metrics = APIBlueprint(
    "metrics", __name__, abp_tags=[Tag(name="health")], operation_id_callback=operation_id
)


@metrics.get("/metrics", responses=plain_text())
def show_metrics() -> Response:
    """Prometheus' text format. Gauges from the database are the same at every API: take `max`."""
    counted = REGISTRY
    if FOLDER in os.environ:
        counted = CollectorRegistry()
        MultiProcessCollector(counted)  # type: ignore[no-untyped-call]
    asked = CollectorRegistry()
    asked.register(context().gauges)
    text = generate_latest(counted) + generate_latest(asked)
    return Response(text, content_type=CONTENT_TYPE_LATEST)
