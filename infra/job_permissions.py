"""What the role of a job may do, derived from the job's declaration in the catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pulumi

from infra import policies
from jobs.catalogue import DROP, ICEBERG, LAKE

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pulumi_aws as aws

    from infra.job_secrets import JobSecrets
    from infra.keys import Keys
    from infra.policies import Statement
    from infra.settings import Settings
    from infra.storage import Storage
    from jobs.catalogue import JobSpec

READ_ACTIONS = ("s3:GetObject",)
WRITE_ACTIONS = ("s3:GetObject", "s3:PutObject")
MOVE_ACTIONS = (*WRITE_ACTIONS, "s3:DeleteObject")  # within drop/ and iceberg/, where old metadata is deleted
GLUE_ACTIONS = (
    "glue:GetDatabase",
    "glue:CreateDatabase",
    "glue:GetTable",
    "glue:GetTables",
    "glue:CreateTable",
    "glue:UpdateTable",
    "glue:DeleteTable",
)
DOCS_WRITER_DATASET, DOCS_READER_DATASET = "warehouse/marts", "site"  # the job that builds the marts also writes dbt's documentation
STEP_FUNCTIONS_STATEMENT = policies.allow(policies.STEP_FUNCTIONS_ACTIONS, ["*"])


def job_statements(spec: JobSpec, settings: Settings, storage: Storage, secrets: JobSecrets, keys: Keys) -> list[Statement]:
    """Return the permissions of a job: its prefixes in the lake, the site if it reads or writes it, its own secrets."""
    secret_arns = [secrets.by_option[spec.name, option].arn for option in spec.secrets]
    site_actions = WRITE_ACTIONS if "site" in spec.writes else READ_ACTIONS
    site_prefixes = {"site/": site_actions} if "site" in (*spec.reads, *spec.writes) else {}
    statements = [*_bucket_statements(storage.lake, lake_prefixes(spec)), *_bucket_statements(storage.site, site_prefixes)]
    if secret_arns:
        statements.append(policies.allow(("secretsmanager:GetSecretValue",), secret_arns))
    if ICEBERG in spec.writes:
        statements.append(policies.allow(GLUE_ACTIONS, glue_arns(settings)))
    if statements:
        statements.append(policies.allow(("kms:Decrypt", "kms:GenerateDataKey"), [keys.data.arn]))
    return [*statements, STEP_FUNCTIONS_STATEMENT]


def glue_databases(settings: Settings) -> dict[str, str]:
    """Return the names of the stack's Glue databases, which have the Iceberg tables, by the option for it. Athena takes no hyphens."""
    stack = settings.name.replace("-", "_")
    return {"FINELT_NAMESPACE": f"{stack}_raw", "FINELT_SITE_NAMESPACE": f"{stack}_published"}


def glue_arns(settings: Settings) -> list[policies.Text]:
    """Return what Glue compares with the rights to the databases and their tables."""
    scope = f"arn:aws:glue:{settings.region}:{settings.account}"
    databases = glue_databases(settings).values()
    tables = (f"{scope}:{kind}" for name in databases for kind in (f"database/{name}", f"table/{name}/*"))
    return [f"{scope}:catalog", *tables]


def lake_prefixes(spec: JobSpec) -> dict[str, tuple[str, ...]]:
    """Return the actions that a job may take in the lake's bucket, by key prefix."""
    prefixes: dict[str, tuple[str, ...]] = {}
    for datasets, actions in ((spec.reads, READ_ACTIONS), (spec.writes, WRITE_ACTIONS)):
        names = [dataset.removesuffix("*").rstrip("/") for dataset in datasets if dataset.startswith(LAKE)]
        prefixes.update({f"lake/{name}/": actions for name in names})
    if DROP in spec.writes:
        prefixes[f"{DROP}/"] = MOVE_ACTIONS
    if ICEBERG in spec.writes:
        prefixes[f"lake/{ICEBERG}/"] = MOVE_ACTIONS
    if DOCS_WRITER_DATASET in spec.writes:
        prefixes["docs/"] = WRITE_ACTIONS
    elif DOCS_READER_DATASET in spec.writes:
        prefixes["docs/"] = READ_ACTIONS
    return prefixes


def _bucket_statements(bucket: aws.s3.Bucket, prefixes: Mapping[str, tuple[str, ...]]) -> list[Statement]:
    """Return statements for the objects under each prefix, and for listing them."""
    if not prefixes:
        return []
    objects = [policies.allow(actions, [pulumi.Output.concat(bucket.arn, f"/{prefix}*")]) for prefix, actions in prefixes.items()]
    condition = {"StringLike": {"s3:prefix": [f"{prefix}*" for prefix in prefixes]}}
    return [*objects, policies.allow(("s3:ListBucket",), [bucket.arn], condition)]
