"""One task definition for each job of the catalogue."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import pulumi

from infra.fargate_task import EXECUTION_ROLE_ENDING, FargateTask, FargateTaskArgs
from infra.job_permissions import glue_databases, job_statements
from jobs.catalogue import ICEBERG, CatalogueError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from infra.images import Images
    from infra.job_secrets import JobSecrets
    from infra.keys import Keys
    from infra.policies import Text
    from infra.settings import Settings
    from infra.storage import Storage
    from jobs.catalogue import JobSpec

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")  # of a repository in ECR, which is the strictest
LONGEST_ROLE_NAME = 64  # Source: "IAM and AWS STS quotas" in the IAM user guide
RESERVED_NAMES = frozenset(
    {
        *("bastion", "deploy", "flow-logs", "flows", "orchestration", "prefect", "prefect-services", "preview", "register"),
        *("start-dropped-files", "warehouse", "worker"),
    }
)


@dataclass(frozen=True)
class JobsArgs:
    """Arguments of `Jobs`. `reporting_secrets` let a job report its state to Prefect."""

    settings: Settings
    keys: Keys
    boundary: Text
    storage: Storage
    secrets: JobSecrets
    images: Images
    specs: Sequence[JobSpec]
    reporting_secrets: Mapping[str, Text]


class Jobs(pulumi.ComponentResource):
    """The jobs' tasks by job name."""

    tasks: dict[str, FargateTask]

    def __init__(self, name: str, args: JobsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("finelt:infra:Jobs", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        self.tasks = {spec.name: FargateTask(f"{args.settings.name}-{spec.name}", _task_args(spec, args), child) for spec in args.specs}
        self.register_outputs({"definitions": {job: task.definition.arn for job, task in self.tasks.items()}})


def check_names(specs: Sequence[JobSpec], stack_name: str) -> None:
    """Raise CatalogueError for a job whose name AWS refuses, or would give to the job and to something else in the stack."""
    for spec in specs:
        if not NAME.fullmatch(spec.name) or spec.name.endswith(EXECUTION_ROLE_ENDING):
            raise CatalogueError(
                f"{spec.name}: a job's name has lower-case letters, digits and single hyphens between them, "
                f"and does not end with {EXECUTION_ROLE_ENDING}; rename it"
            )
        if spec.name in RESERVED_NAMES:
            raise CatalogueError(
                f"{spec.name}: the stack itself has something of this name; rename the job, for instance extract-{spec.name}"
            )
        longest = LONGEST_ROLE_NAME - len(f"{stack_name}-{EXECUTION_ROLE_ENDING}")
        if len(spec.name) > longest:
            raise CatalogueError(f"{spec.name}: in {stack_name}, a job's name has at most {longest} characters, or IAM refuses its role's")


def check_datasets(specs: Sequence[JobSpec]) -> None:
    """Raise CatalogueError if a job reads a dataset that no job writes."""
    written = {dataset for spec in specs for dataset in spec.writes}
    for spec in specs:
        for dataset in spec.reads:
            if not any(fnmatchcase(name, dataset) for name in written):
                known = ", ".join(sorted(written))
                raise CatalogueError(f"{spec.name}: it reads {dataset!r}, which no job writes; correct it to one of {known}")


def _task_args(spec: JobSpec, args: JobsArgs) -> FargateTaskArgs:
    digest = args.images.by_name[spec.name].digest
    return FargateTaskArgs(
        args.settings,
        args.keys,
        args.boundary,
        name=spec.name,
        image=digest,
        cpu=spec.cpu,
        memory=spec.memory,
        tmp=spec.tmp_mib,
        command=["run"],
        environment={"AWS_REGION": args.settings.region, "FINELT_IMAGE_DIGEST": digest, **_catalog_environment(spec, args.settings)},
        secrets=args.reporting_secrets,
        is_run=True,
        statements=job_statements(spec, args.settings, args.storage, args.secrets, args.keys),
    )


def _catalog_environment(spec: JobSpec, settings: Settings) -> dict[str, str]:
    """Return the options of a job that registers Iceberg tables."""
    return {"FINELT_CATALOG": "glue", **glue_databases(settings)} if ICEBERG in spec.writes else {}
