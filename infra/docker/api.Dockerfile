# The API, and what an operator runs once: migrations, `python -m api account|key`.
#   docker build -f infra/docker/api.Dockerfile -t towline/api .
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/towline
WORKDIR /src
# What we need first, by an empty package with our pyproject.toml: an image of another version repeats only what follows.
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN mkdir shared api worker && echo '__version__ = "0"' > shared/__init__.py && touch api/__init__.py worker/__init__.py \
 && /opt/towline/bin/pip install --no-compile -c constraints.txt '.[api,s3,tracing]' \
 && python -m compileall -q -j 0 /opt/towline/lib
COPY shared shared
COPY api api
COPY worker worker
RUN /opt/towline/bin/pip install --no-compile --no-deps --force-reinstall -c constraints.txt . \
 && /opt/towline/bin/pip uninstall --yes pip setuptools \
 && python -m compileall -q -j 0 /opt/towline/lib

FROM ${PYTHON_IMAGE}
ARG VERSION=dev
LABEL org.opencontainers.image.title="towline-api" \
      org.opencontainers.image.description="HTTP API of Towline, a job queue for drag-based image editing" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin towline
COPY --from=build /opt/towline /opt/towline
# Nothing is written but to /tmp: run it with a read-only root and a tmpfs there.
ENV PATH=/opt/towline/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    TOWLINE_HOST=0.0.0.0 TOWLINE_HOME=/tmp/towline TOWLINE_LOG_FORMAT=json
USER 10001
WORKDIR /tmp
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=6s --start-period=2m --retries=3 \
  CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/readyz', timeout=5)"]
CMD ["python", "-m", "api", "serve"]
