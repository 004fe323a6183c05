"""The hosts, paths and names inside the stack of docker-compose.yml, for its preparation and for flows on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestration.compose.env_file import WAREHOUSE
from orchestration.local.extracts import build_sample_extracts_for
from orchestration.local.sample_parameters import SAMPLE_END, SAMPLE_MARKET_START

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestration.deployments.model import DeploymentSpec
    from orchestration.deployments.parameters import Settings

POOL = KIND = "docker"
BUCKET = "finelt"
S3_URL = "http://s3:8333"
VENDORS_URL = "http://vendors:8000"
WAREHOUSE_HOST = "postgres"
SECRETS = "/secrets"  # a volume that only jobs mount
ROLES, AWS_CREDENTIALS, SAMPLE_TOKEN = (f"{SECRETS}/{name}" for name in ("roles", "aws", "sample-token"))  # ROLES: a file for each job
JOB_USER = 65532


def pool_defaults(project: str) -> dict[str, Any]:
    """Return the pool defaults for every job: the stack's network, the secrets and the S3 endpoint."""
    environment = {"AWS_ENDPOINT_URL": S3_URL, "AWS_SHARED_CREDENTIALS_FILE": AWS_CREDENTIALS, "AWS_DEFAULT_REGION": "us-east-1"}
    return {"networks": [project], "volumes": [f"{project}-secrets:{SECRETS}:ro"], "env": environment}


def parameters(own: Settings, deployments: Sequence[DeploymentSpec]) -> tuple[dict[str, Any], list[str]]:
    """Return values for options, in the form of finelt.toml, so that every flow and job can be started in Prefect's UI.

    Jobs call the sample vendors, with a person's own settings. Also return what the sample vendors do not have of these.
    """
    extracts, notes = build_sample_extracts_for(own, deployments, VENDORS_URL, f"file://{SAMPLE_TOKEN}")
    undated = {job: {name: value for name, value in options.items() if name not in ("start", "end")} for job, options in extracts.items()}
    values = {
        "lake": f"s3://{BUCKET}/lake",
        "warehouse": f"postgresql://{{job}}@{WAREHOUSE_HOST}:5432/{WAREHOUSE}",  # each job as the role of its name
        "warehouse_password": f"file://{ROLES}/{{job}}",
        "docs": f"s3://{BUCKET}/docs",
        "site": f"s3://{BUCKET}/site",
        **extracts,
        "daily": {"extracts": extracts},
        "backfill": {"extracts": undated, "start": SAMPLE_MARKET_START, "end": SAMPLE_END},
    }
    return values, notes
