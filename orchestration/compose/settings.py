"""What is where inside the stack of docker-compose.yml, for the one that prepares it and the one that runs flows on it."""

from __future__ import annotations

from typing import Any

POOL = KIND = "docker"
BUCKET = "finelt"
S3_URL = "http://s3:8333"
VENDORS_URL = "http://vendors:8000"
PREFECT_HOST, WAREHOUSE_HOST = "prefect", "postgres"
WAREHOUSE = "finelt"  # the database
SECRETS = "/secrets"  # a volume: every job sees it, and nobody else
ROLES, AWS_CREDENTIALS, SAMPLE_TOKEN = (f"{SECRETS}/{name}" for name in ("roles", "aws", "sample-token"))  # ROLES: a file per job
JOB_USER = 65532


def pool_defaults(project: str) -> dict[str, Any]:
    """What every job on the pool gets: the stack's network, the secrets, and where S3 is."""
    environment = {"AWS_ENDPOINT_URL": S3_URL, "AWS_SHARED_CREDENTIALS_FILE": AWS_CREDENTIALS, "AWS_DEFAULT_REGION": "us-east-1"}
    return {"networks": [project], "volumes": [f"{project}-secrets:{SECRETS}:ro"], "env": environment}


def parameters(extracts: dict[str, dict[str, object]]) -> dict[str, Any]:
    """Of the flow `daily`, on this stack."""
    return {
        "lake": f"s3://{BUCKET}/lake",
        "warehouse": f"postgresql://{{job}}@{WAREHOUSE_HOST}:5432/{WAREHOUSE}",  # each job as the role of its name
        "warehouse_password": f"file://{ROLES}/{{job}}",
        "docs": f"s3://{BUCKET}/docs",
        "site": f"s3://{BUCKET}/site",
        "extracts": extracts,
    }
