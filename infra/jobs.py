"""A task definition per job of the catalogue, whose role may do what the catalogue says the job does, and no more."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, TypeVar

import pulumi

from infra import policies, tasks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pulumi_aws as aws

    from infra.data import Data
    from infra.images import JobImage
    from infra.keys import Keys
    from infra.policies import Statement
    from infra.settings import Settings
    from infra.tasks import Made
    from jobs.catalogue import JobSpec

T = TypeVar("T")
READ, WRITE = ("s3:GetObject",), ("s3:GetObject", "s3:PutObject")
TAKE = (*WRITE, "s3:DeleteObject")
DROP = "drop"  # beside the lake too: whoever takes dropped files puts them aside there
DOCS_WRITERS, DOCS_READERS = "warehouse/marts", "site"  # dbt's documentation lies beside the lake: whoever makes marts writes it


class CatalogueError(Exception):
    """A job asks for what no job makes; the message names it and the fix."""


# A job that a state machine of `scripts/emit` has started says how it ended. IAM knows no resource here: the task token is the key.
ANSWERS = policies.allow(("states:SendTaskSuccess", "states:SendTaskFailure", "states:SendTaskHeartbeat"), ["*"])


def make(
    settings: Settings,
    keys: Keys,
    data: Data,
    images: Mapping[str, JobImage],
    specs: Sequence[JobSpec],
    reporting: Mapping[str, policies.Text],
) -> dict[str, Made]:
    """The task definitions by job. `reporting` are the secrets with which a job tells Prefect how it goes."""
    check(specs)
    return {
        spec.name: tasks.make(
            settings,
            keys,
            tasks.Task(
                name=spec.name,
                image=images[spec.name].digest,
                cpu=spec.cpu,
                memory=spec.memory,
                command=["run"],
                environment={"AWS_REGION": settings.region, "FINELT_IMAGE_DIGEST": images[spec.name].digest},
                secrets=reporting,
                allowed=[*allowed(spec, data, keys), ANSWERS],
            ),
        )
        for spec in specs
    }


def check(specs: Sequence[JobSpec]) -> None:
    """Nothing. Raises CatalogueError when a job reads a dataset that nobody writes."""
    written = {dataset for spec in specs for dataset in spec.writes}
    for spec in specs:
        for dataset in spec.reads:
            if not any(fnmatchcase(name, dataset) for name in written):
                known = ", ".join(sorted(written))
                raise CatalogueError(f"{spec.name}: it reads {dataset!r}, which no job writes; correct it to one of {known}")


def allowed(spec: JobSpec, data: Data, keys: Keys) -> list[Statement]:
    """What a job may do in S3 and Secrets Manager: its lake prefixes, the site, its own secrets."""
    secrets = [data.secrets[spec.name, option].arn for option in spec.secrets]
    found = [*_in(data.lake, lake_prefixes(spec)), *_in(data.site, {"site/": WRITE} if "site" in spec.writes else {})]
    if secrets:
        found.append(policies.allow(("secretsmanager:GetSecretValue",), secrets))
    return [*found, policies.allow(("kms:Decrypt", "kms:GenerateDataKey"), [keys.data.arn])] if found else []


def lake_prefixes(spec: JobSpec) -> dict[str, tuple[str, ...]]:
    """Where in the lake's bucket a job may do what."""
    prefixes: dict[str, tuple[str, ...]] = {}
    for datasets, actions in ((spec.reads, READ), (spec.writes, WRITE)):
        names = [dataset.removesuffix("*").rstrip("/") for dataset in datasets if dataset.startswith("raw/")]
        prefixes.update({f"lake/{name}/": actions for name in names})
    if DROP in spec.writes:
        prefixes[f"{DROP}/"] = TAKE
    if DOCS_WRITERS in spec.writes:
        prefixes["docs/"] = WRITE
    elif DOCS_READERS in spec.writes:
        prefixes["docs/"] = READ
    return prefixes


def by_job(values: Mapping[tuple[str, str], T]) -> dict[str, dict[str, T]]:
    """Values by job and option, as options by job."""
    found: dict[str, dict[str, T]] = {}
    for (job, option), value in values.items():
        found.setdefault(job, {})[option] = value
    return found


def _in(bucket: aws.s3.Bucket, prefixes: Mapping[str, tuple[str, ...]]) -> list[Statement]:
    """Objects below each prefix, and the list of them."""
    objects = [policies.allow(actions, [pulumi.Output.concat(bucket.arn, f"/{prefix}*")]) for prefix, actions in prefixes.items()]
    listed = {"StringLike": {"s3:prefix": [f"{prefix}*" for prefix in prefixes]}}
    return [*objects, policies.allow(("s3:ListBucket",), [bucket.arn], listed)] if prefixes else []
