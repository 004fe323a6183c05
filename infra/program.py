"""The Pulumi program: a table of contents. Each line creates the component of the file that has its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pulumi

from images.plan import SERVICES
from infra import events, settings
from infra.account import Account, AccountArgs
from infra.alarms import Alarms, AlarmsArgs, list_expected_jobs
from infra.bastion import Bastion, BastionArgs
from infra.budget import Budget, BudgetArgs
from infra.cluster import Cluster, ClusterArgs
from infra.dashboard import Dashboard, DashboardArgs
from infra.deploy_role import DeployRole, DeployRoleArgs
from infra.events import Events, EventsArgs
from infra.flows import Flows, FlowsArgs
from infra.images import Images, ImagesArgs
from infra.job_secrets import JobSecrets, JobSecretsArgs
from infra.jobs import Jobs, JobsArgs, check_datasets, check_names
from infra.keys import Keys, KeysArgs
from infra.network import Network, NetworkArgs
from infra.parameters import check_parameters, list_scheduled
from infra.permissions_boundary import PermissionsBoundary, PermissionsBoundaryArgs
from infra.prefect_server import PrefectServer, PrefectServerArgs
from infra.prefect_worker import PrefectWorker, PrefectWorkerArgs
from infra.preview_role import PreviewRole, PreviewRoleArgs
from infra.registration import Registration, RegistrationArgs
from infra.stack_description import describe_stack
from infra.storage import Storage, StorageArgs
from infra.warehouse import Warehouse, WarehouseArgs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobs.catalogue import JobSpec


def create_stack(specs: Sequence[JobSpec]) -> None:
    """Create the stack that Pulumi runs, with the choices of its Pulumi.<stack>.yaml, for the jobs of a catalogue."""
    chosen = settings.load()
    check_names(specs, chosen.name)
    check_datasets(specs)
    check_parameters(specs, chosen.parameters)
    name = chosen.name

    keys = Keys(name, KeysArgs(chosen))
    boundary_policy = PermissionsBoundary(f"{name}-boundary", PermissionsBoundaryArgs(chosen, keys)).policy
    boundary = boundary_policy.arn
    network = Network(name, NetworkArgs(chosen, keys, boundary))

    account = Account(name, AccountArgs(chosen))
    deploy_role = DeployRole(f"{name}-deploy", DeployRoleArgs(chosen, account.github_provider_arn, boundary_policy))
    preview_role = PreviewRole(f"{name}-preview", PreviewRoleArgs(chosen, account.github_provider_arn))

    drop_reader = events.find_drop_reader(specs)
    service_images = ("orchestration", events.FUNCTION) if drop_reader else ("orchestration",)
    services = [service for service in SERVICES if service.name in service_images]
    images = Images(name, ImagesArgs(chosen, keys, [*specs, *services]))
    orchestration = images.by_name["orchestration"].digest

    storage = Storage(name, StorageArgs(chosen, keys))
    warehouse = Warehouse(f"{name}-warehouse", WarehouseArgs(chosen, keys, network))
    secrets = JobSecrets(name, JobSecretsArgs(chosen, keys, specs))

    cluster = Cluster(name, ClusterArgs(chosen, keys))
    server = PrefectServer(f"{name}-prefect", PrefectServerArgs(chosen, keys, boundary, network, cluster, orchestration))
    jobs = Jobs(name, JobsArgs(chosen, keys, boundary, storage, secrets, images, specs, server.client_secrets()))
    flows = Flows(f"{name}-flows", FlowsArgs(chosen, keys, boundary, orchestration, server))
    tasks = {**jobs.tasks, "flows": flows.task}
    worker = PrefectWorker(f"{name}-worker", PrefectWorkerArgs(chosen, keys, boundary, network, cluster, orchestration, server))
    stack = describe_stack(chosen, network, storage, warehouse, secrets, tasks, has_drop=drop_reader is not None)
    registration = Registration(
        f"{name}-register", RegistrationArgs(chosen, keys, boundary, orchestration, server, storage, warehouse, secrets, stack)
    )
    bastion_args = BastionArgs(chosen, keys, boundary, network, orchestration, server, storage, warehouse)
    bastion = Bastion(f"{name}-bastion", bastion_args)
    drop = None
    if drop_reader:
        events_args = EventsArgs(chosen, keys, boundary, network, storage, images.by_name[events.FUNCTION], server, drop_reader)
        drop = Events(f"{name}-{events.FUNCTION}", events_args)

    expected = list_expected_jobs(specs, list(list_scheduled(specs, stack["parameters"])))
    alarms = Alarms(f"{name}-alarms", AlarmsArgs(chosen, keys, cluster, warehouse, server, worker, drop, jobs.tasks, expected))
    dead_letters = (worker.events.dead_letters, alarms.dead_letters, *([drop.dead_letters] if drop else []))
    if chosen.insights:
        Dashboard(name, DashboardArgs(chosen, (warehouse.database, server.database), dead_letters))
    Budget(name, BudgetArgs(chosen, alarms.topic, alarms.topic_policy))

    outputs = {
        "api_url": server.api_url,
        "cluster": cluster.name,
        "deploy_role": deploy_role.arn,
        "lake": storage.lake.bucket,
        "operator_policy": bastion.operator_policy.arn,
        "preview_role": preview_role.arn,
        "reader_policy": bastion.reader_policy.arn,
        "register": registration.task.definition.arn,
        "register_security_groups": [network.security_group_id("jobs")],
        "site": storage.site_host,
        "stack": stack,
        "subnets": network.subnet_ids,
        "tasks": {task_name: task.definition.arn for task_name, task in tasks.items()},
    }
    for output, value in outputs.items():
        pulumi.export(output, value)
