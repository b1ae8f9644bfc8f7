# Workers and beat. Targets: `cpu` (warp, webhooks, maintenance; no torch), `gpu` (lightningdrag, with the
# CUDA build of torch that PyPI has).
#   docker build -f infra/docker/worker.Dockerfile --target cpu -t towline/worker .
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS source
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/towline
WORKDIR /src
# What we need first, by an empty package with our pyproject.toml: an image of another version repeats only what follows.
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN mkdir shared api worker && echo '__version__ = "0"' > shared/__init__.py && touch api/__init__.py worker/__init__.py

FROM source AS build-cpu
RUN /opt/towline/bin/pip install --no-compile -c constraints.txt '.[worker,s3,tracing]' \
 && python -m compileall -q -j 0 /opt/towline/lib
COPY shared shared
COPY api api
COPY worker worker
RUN /opt/towline/bin/pip install --no-compile --no-deps --force-reinstall -c constraints.txt . \
 && /opt/towline/bin/pip uninstall --yes pip setuptools \
 && python -m compileall -q -j 0 /opt/towline/lib

FROM source AS build-gpu
RUN /opt/towline/bin/pip install --no-compile -c constraints.txt '.[gpu,s3,tracing]' \
 && python -m compileall -q -j 0 /opt/towline/lib
COPY shared shared
COPY api api
COPY worker worker
RUN /opt/towline/bin/pip install --no-compile --no-deps --force-reinstall -c constraints.txt . \
 && /opt/towline/bin/pip uninstall --yes pip \
 && python -m compileall -q -j 0 /opt/towline/lib

FROM ${PYTHON_IMAGE} AS base
ARG VERSION=dev
LABEL org.opencontainers.image.title="towline-worker" \
      org.opencontainers.image.description="Workers of Towline, a job queue for drag-based image editing" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin towline
# Nothing is written but to /tmp: run it with a read-only root and a tmpfs there.
ENV PATH=/opt/towline/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    TOWLINE_HOST=0.0.0.0 TOWLINE_HOME=/tmp/towline TOWLINE_LOG_FORMAT=json TOWLINE_WORKER_PORT=8001
USER 10001
WORKDIR /tmp
EXPOSE 8001
HEALTHCHECK --interval=10s --timeout=6s --start-period=2m --retries=3 \
  CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8001/readyz', timeout=5)"]
ENTRYPOINT ["python", "-m", "worker"]

FROM base AS gpu
COPY --from=build-gpu /opt/towline /opt/towline
CMD ["run", "--queues", "lightningdrag"]

FROM base AS cpu
COPY --from=build-cpu /opt/towline /opt/towline
CMD ["run", "--queues", "warp"]
