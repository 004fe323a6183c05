# One recipe, one image per job. `scripts/images build` names the arguments; by hand, from the top of the repository:
#   docker build -f images/job.Dockerfile --build-arg JOB=extract-ecb-fx-rates .
# Behind a TLS proxy: --secret id=ca,src=/etc/ssl/certs/ca-certificates.crt
# There is no syntax line: BuildKit would pull that image from a registry.
ARG PYTHON_IMAGE=python:3.13.15-slim-trixie@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b
# If PYTHON_IMAGE has no shell and no pip: an image that has them, with the same Python in the same place.
ARG BUILD_IMAGE=${PYTHON_IMAGE}

# The build tools. No image contains them.
FROM ${BUILD_IMAGE} AS tools
# No image runs as this user: each sets its own.
# hadolint ignore=DL3002
USER 0:0
WORKDIR /src
ENV PATH=/tools/bin:${PATH} PYTHONDONTWRITEBYTECODE=1 PYTHONHASHSEED=0 \
    UV_LINK_MODE=copy UV_PROJECT_ENVIRONMENT=/app UV_PYTHON=python3 UV_PYTHON_DOWNLOADS=never UV_SYSTEM_CERTS=1
COPY images/build-requirements.txt images/
# pip's cache is a mount and not part of a layer.
# hadolint ignore=DL3042
RUN --mount=type=secret,id=ca --mount=type=cache,target=/root/.cache \
    if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi; \
    python3 -m pip install --quiet --disable-pip-version-check --target /tools --no-deps --require-hashes -r images/build-requirements.txt
COPY images/assemble.py images/lock.py images/

# The base of every image, as one layer: a layer on top that removes files would keep them below it, and add a time stamp.
FROM ${PYTHON_IMAGE} AS original

FROM tools AS hardened
COPY images/harden.py images/rds-ca.pem images/
COPY --from=original / /base
RUN python3 images/harden.py /base images/rds-ca.pem

FROM scratch AS base
COPY --from=hardened /base /

# The pruned locks: another job's dependency does not change them, and jobs with the same lock share a layer.
FROM tools AS locks
ARG JOB
ARG EXTRAS=""
COPY uv.lock ./
RUN mkdir /locks && python3 images/lock.py "jobkit[${EXTRAS}]" <uv.lock >/locks/runtime && python3 images/lock.py "${JOB}" <uv.lock >/locks/job

# The libraries of jobkit with the job's extras. Jobs with the same extras share this layer.
FROM tools AS runtime
ARG EXTRAS=""
COPY pyproject.toml ./
COPY jobs/jobkit/pyproject.toml jobs/jobkit/
COPY --from=locks /locks/runtime uv.lock
# Each extra is a word of its own.
# hadolint ignore=SC2086
RUN --mount=type=secret,id=ca --mount=type=cache,target=/root/.cache \
    if [ -s /run/secrets/ca ]; then export SSL_CERT_FILE=/run/secrets/ca; fi; \
    uv sync --quiet --frozen --no-dev --no-install-workspace --no-build --package jobkit $(for extra in ${EXTRAS}; do echo --extra ${extra}; done) \
    && python3 images/assemble.py /app /layers runtime

# The libraries of the job itself, then the job.
FROM runtime AS build
ARG JOB
COPY jobs/${JOB}/pyproject.toml jobs/${JOB}/
COPY --from=locks /locks/job uv.lock
RUN --mount=type=secret,id=ca --mount=type=cache,target=/root/.cache \
    if [ -s /run/secrets/ca ]; then export SSL_CERT_FILE=/run/secrets/ca; fi; \
    uv sync --quiet --frozen --no-dev --no-install-workspace --no-build --package "${JOB}" \
    && python3 images/assemble.py /app /layers libraries
COPY jobs/jobkit jobs/jobkit
COPY jobs/${JOB} jobs/${JOB}
RUN --mount=type=cache,target=/root/.cache \
    PYTHONPATH=/tools uv sync --quiet --offline --frozen --no-dev --no-editable --no-build-isolation --package "${JOB}" \
    && python3 images/assemble.py /app /layers job "${JOB}" && python3 images/assemble.py /app /layers rest "${JOB}"

# The image of a job.
FROM base AS job
COPY --from=runtime /layers/runtime /
COPY --from=build /layers/libraries /
COPY --from=build /layers/job /
COPY --from=build /layers/rest /
# glibc keeps a heap for each thread, up to eight for each core: with two, extractors take a tenth to a fifth less memory, and no more time.
ENV PATH=/app/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 HOME=/tmp DO_NOT_TRACK=1 \
    MALLOC_ARENA_MAX=2 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
ENTRYPOINT ["/app/bin/job"]
ARG PYTHON_IMAGE
ARG JOB
ARG VERSION=""
ARG DESCRIPTION=""
ARG SOURCE=""
ARG REVISION=""
ARG LICENSES=""
ARG CREATED=""
ARG DESCRIBE="{}"
LABEL org.opencontainers.image.title="${JOB}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.description="${DESCRIPTION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="${LICENSES}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}" \
      finelt.describe="${DESCRIBE}"

# The image of a job that runs dbt also has the project and its parse.
FROM build AS project
COPY dbt /app/dbt
RUN /app/bin/python -m transform_warehouse.manifest_cache /app/dbt && python3 images/assemble.py /app /layers project

FROM job AS dbt
COPY --from=project /layers/project /
ENV FINELT_PROJECT=/app/dbt

# What a site takes from npm. Node is in this stage only.
FROM tools AS web
COPY images/node-requirements.txt images/
# hadolint ignore=DL3042
RUN --mount=type=secret,id=ca --mount=type=cache,target=/root/.cache \
    if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi; \
    python3 -m pip install --quiet --disable-pip-version-check --target /node --no-deps --require-hashes -r images/node-requirements.txt
ARG JOB
COPY jobs/${JOB}/web web
RUN --mount=type=secret,id=ca \
    if [ -s /run/secrets/ca ]; then export NODE_EXTRA_CA_CERTS=/run/secrets/ca; fi; \
    export PATH=/node/bin:${PATH} PYTHONPATH=/node \
    && npm --prefix web ci --ignore-scripts --no-audit --no-fund && npm --prefix web run build

# The image of a job that publishes a site also has the site's scripts.
FROM build AS scripts
COPY --from=web /src/web/build /app/web
RUN python3 images/assemble.py /app /layers project

FROM job AS site
COPY --from=scripts /layers/project /
ENV FINELT_WEB=/app/web

# A service: the libraries of one dependency group, and source.
FROM tools AS installed
ARG GROUP
ENV MORE_AWS_APIS="ec2 ecs events logs sqs"
COPY pyproject.toml uv.lock ./
RUN --mount=type=secret,id=ca --mount=type=cache,target=/root/.cache \
    if [ -s /run/secrets/ca ]; then export SSL_CERT_FILE=/run/secrets/ca; fi; \
    uv sync --quiet --frozen --no-install-workspace --only-group "${GROUP}" && python3 images/assemble.py /app /layers libraries
COPY source /app/source
RUN python3 images/assemble.py /app /layers source && python3 images/assemble.py /app /layers rest

FROM base AS service
COPY --from=installed /layers/libraries /
COPY --from=installed /layers/source /
COPY --from=installed /layers/rest /
ENV PATH=/app/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 HOME=/tmp DO_NOT_TRACK=1 \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PYTHONPATH=/app/source:/app/source/jobs/jobkit
WORKDIR /app/source
USER 65532:65532
ARG PYTHON_IMAGE
ARG JOB
ARG VERSION=""
ARG DESCRIPTION=""
ARG SOURCE=""
ARG REVISION=""
ARG LICENSES=""
ARG CREATED=""
LABEL org.opencontainers.image.title="${JOB}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.description="${DESCRIPTION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="${LICENSES}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}"

# The default target of `docker build`.
FROM job
