"""The hosts, paths and names inside the stack of docker-compose.yml, for its preparation and for flows on it."""

from __future__ import annotations

from typing import Any

POOL = KIND = "docker"
BUCKET = "finelt"
S3_URL = "http://s3:8333"
VENDORS_URL = "http://vendors:8000"
WAREHOUSE_HOST = "postgres"
WAREHOUSE = "finelt"  # the database
SECRETS = "/secrets"  # a volume that only jobs mount
ROLES, AWS_CREDENTIALS, SAMPLE_TOKEN = (f"{SECRETS}/{name}" for name in ("roles", "aws", "sample-token"))  # ROLES: a file for each job
JOB_USER = 65532


def pool_defaults(project: str) -> dict[str, Any]:
    """Return the pool defaults for every job: the stack's network, the secrets and the S3 endpoint."""
    environment = {"AWS_ENDPOINT_URL": S3_URL, "AWS_SHARED_CREDENTIALS_FILE": AWS_CREDENTIALS, "AWS_DEFAULT_REGION": "us-east-1"}
    return {"networks": [project], "volumes": [f"{project}-secrets:{SECRETS}:ro"], "env": environment}


def flow_parameters(extracts: dict[str, dict[str, object]]) -> dict[str, Any]:
    """Return the parameters of the flow `daily` on this stack."""
    return {
        "lake": f"s3://{BUCKET}/lake",
        "warehouse": f"postgresql://{{job}}@{WAREHOUSE_HOST}:5432/{WAREHOUSE}",  # each job as the role of its name
        "warehouse_password": f"file://{ROLES}/{{job}}",
        "docs": f"s3://{BUCKET}/docs",
        "site": f"s3://{BUCKET}/site",
        "extracts": extracts,
    }
