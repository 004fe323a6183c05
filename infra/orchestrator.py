"""Prefect: its server on a database of its own, reachable inside the network only, its worker, and what registers deployments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pulumi
import pulumi_aws as aws

from infra import data as stores
from infra import policies, tasks
from infra.jobs import by_job
from infra.network import PREFECT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infra.data import Data
    from infra.keys import Keys
    from infra.network import Network
    from infra.policies import Text
    from infra.settings import Settings
    from infra.tasks import Made

DOMAIN = "finelt.internal"
POOL = "ecs"
FLOW_CPU, FLOW_MEMORY = 256, 1024
RECEIVES_BEFORE_DEAD = 3
HEALTHY = "import urllib.request as u; u.urlopen('http://127.0.0.1:{port}{path}')"
PREFECT_GB = 20


@dataclass(frozen=True)
class Orchestrator:
    """What the rest of the program wants to know of Prefect."""

    api_url: Text
    flows: Made
    register: Made
    dead_letters: aws.sqs.Queue
    database: aws.rds.Instance
    services: list[aws.ecs.Service]
    stack: dict[str, Any]


def auth(settings: Settings, keys: Keys) -> aws.secretsmanager.Secret:
    """The password of Prefect's API, made once: user and password in one, as Prefect wants them."""
    secret = stores.secret(settings, keys, "prefect/auth")
    word = aws.secretsmanager.get_random_password_output(password_length=40, exclude_punctuation=True).random_password
    aws.secretsmanager.SecretVersion(
        f"{settings.name}-prefect-auth",
        secret_id=secret.id,
        secret_string=pulumi.Output.concat("finelt:", pulumi.Output.secret(word)),
        opts=pulumi.ResourceOptions(ignore_changes=["secretString"]),  # another is drawn each time the program runs
    )
    return secret


def reporting(secret: aws.secretsmanager.Secret) -> dict[str, Text]:
    """The secrets of a task that speaks to Prefect's API."""
    return {"PREFECT_API_AUTH_STRING": secret.arn}


def make(
    settings: Settings,
    keys: Keys,
    network: Network,
    data: Data,
    cluster: aws.ecs.Cluster,
    image: Text,
    jobs: Mapping[str, Made],
    secret: aws.secretsmanager.Secret,
) -> Orchestrator:
    """Server, worker, and the task definitions of flows and of the registration."""
    namespace = aws.servicediscovery.PrivateDnsNamespace(f"{settings.name}", name=f"{settings.stack}.{DOMAIN}", vpc=network.vpc_id)
    api_url = f"http://prefect.{settings.stack}.{DOMAIN}:{PREFECT}/api"
    client = {"PREFECT_API_URL": api_url, "AWS_REGION": settings.region, "DO_NOT_TRACK": "1"}
    database = stores.database(settings, keys, network, "prefect", settings.prefect_class, PREFECT_GB)
    server = _server(settings, keys, network, cluster, image, database, namespace, secret)
    flows = tasks.make(
        settings,
        keys,
        tasks.Task(
            "flows",
            image,
            FLOW_CPU,
            FLOW_MEMORY,
            ["python", "-m", "orchestration.runtime.entrypoint"],
            environment=client,
            secrets=reporting(secret),
        ),
    )
    events, dead_letters = _events(settings, keys, cluster)
    worker = _worker(settings, keys, network, cluster, image, client, secret, {**jobs, "flows": flows}, events)
    told = stack(settings, data, {**jobs, "flows": flows}, network)
    register = _register(settings, keys, data, image, client, secret, told)
    return Orchestrator(api_url, flows, register, dead_letters, database, [server, worker], told)


def _server(
    settings: Settings,
    keys: Keys,
    network: Network,
    cluster: aws.ecs.Cluster,
    image: Text,
    database: aws.rds.Instance,
    namespace: aws.servicediscovery.PrivateDnsNamespace,
    secret: aws.secretsmanager.Secret,
) -> aws.ecs.Service:
    """The server; with two or more replicas the background services are one of its own and all share a Redis."""
    environment: dict[str, Text] = {
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_DATABASE_DRIVER": "postgresql+asyncpg",
        "PREFECT_SERVER_DATABASE_HOST": database.address,
        "PREFECT_SERVER_DATABASE_PORT": "5432",
        "PREFECT_SERVER_DATABASE_NAME": stores.PREFECT,
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": "/tmp/ui",  # noqa: S108  a container's own
    }
    master = database.master_user_secrets[0].secret_arn
    secrets: dict[str, Text] = {
        "PREFECT_SERVER_API_AUTH_STRING": secret.arn,
        "PREFECT_SERVER_DATABASE_USER": pulumi.Output.concat(master, ":username::"),
        "PREFECT_SERVER_DATABASE_PASSWORD": pulumi.Output.concat(master, ":password::"),
    }
    command = ["python", "-m", "prefect", "server", "start", "--host", "0.0.0.0", "--port", str(PREFECT)]  # noqa: S104  a container
    several = settings.server_replicas > 1
    if several:
        environment |= {
            "PREFECT_MESSAGING_BROKER": "prefect_redis.messaging",
            "PREFECT_MESSAGING_CACHE": "prefect_redis.messaging",
            "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING": "prefect_redis.ordering",
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect_redis.lease_storage",
            "PREFECT_REDIS_MESSAGING_HOST": _redis(settings, keys, network),
            "PREFECT_REDIS_MESSAGING_PORT": "6379",
            "PREFECT_REDIS_MESSAGING_SSL": "true",
        }
    healthy = HEALTHY.format(port=PREFECT, path="/api/health")
    web = tasks.Task(
        "prefect",
        image,
        512,
        1024,
        [*command, "--no-services"] if several else command,
        environment=environment,
        secrets=secrets,
        port=PREFECT,
        health=healthy,
    )
    discovery = aws.servicediscovery.Service(
        f"{settings.name}-prefect",
        name="prefect",
        dns_config={"namespace_id": namespace.id, "dns_records": [{"type": "A", "ttl": 10}], "routing_policy": "MULTIVALUE"},
    )
    service = _service(network, cluster, tasks.make(settings, keys, web), "prefect", settings.server_replicas, discovery)
    if several:
        background = tasks.Task(
            "prefect-services",
            image,
            256,
            1024,
            ["python", "-m", "prefect", "server", "services", "start"],
            environment=environment,
            secrets=secrets,
        )
        _service(network, cluster, tasks.make(settings, keys, background), "prefect", 1, None)
    return service


def _redis(settings: Settings, keys: Keys, network: Network) -> Text:
    """The host of a Redis that the server's replicas share."""
    name = f"{settings.name}-redis"
    subnets = aws.elasticache.SubnetGroup(name, subnet_ids=network.subnet_ids)
    redis = aws.elasticache.ReplicationGroup(
        name,
        description=name,
        engine="valkey",
        node_type="cache.t4g.micro",
        num_cache_clusters=2 if settings.multi_az else 1,
        automatic_failover_enabled=settings.multi_az,
        subnet_group_name=subnets.name,
        security_group_ids=[network.group_id("redis")],
        at_rest_encryption_enabled=True,
        kms_key_id=keys.data.arn,
        transit_encryption_enabled=True,
    )
    return redis.primary_endpoint_address


def _worker(
    settings: Settings,
    keys: Keys,
    network: Network,
    cluster: aws.ecs.Cluster,
    image: Text,
    client: Mapping[str, Text],
    secret: aws.secretsmanager.Secret,
    runs: Mapping[str, Made],
    events: aws.sqs.Queue,
) -> aws.ecs.Service:
    """The worker: it may run our own task definitions on our own cluster, and nothing else."""
    families = [f"arn:aws:ecs:{settings.region}:{settings.account}:task-definition/{settings.name}-{name}:*" for name in runs]
    here = {"ArnEquals": {"ecs:cluster": cluster.arn}}
    started = f"arn:aws:ecs:{settings.region}:{settings.account}:task/{settings.name}/*"
    roles = [role.arn for made in runs.values() for role in (made.role, made.execution_role)]
    allowed = [
        policies.allow(("ecs:RunTask",), families, here),
        policies.allow(("ecs:DescribeTasks", "ecs:StopTask"), [started], here),
        policies.allow(("ecs:TagResource",), [started], {"StringEquals": {"ecs:CreateAction": "RunTask"}}),
        policies.allow(("ecs:DescribeTaskDefinition",), ["*"]),  # which has no resource
        policies.allow(("iam:PassRole",), roles, {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}}),
        policies.allow(("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueUrl", "sqs:GetQueueAttributes"), [events.arn]),
        policies.allow(("kms:Decrypt",), [keys.messages.arn]),
    ]
    environment = {
        **client,
        "PREFECT_INTEGRATIONS_AWS_ECS_OBSERVER_ENABLED": "true",
        "PREFECT_INTEGRATIONS_AWS_ECS_OBSERVER_SQS_QUEUE_NAME": events.name,
        "PREFECT_PROFILES_PATH": "/app/source/orchestration/workers/profiles.toml",
        "PREFECT_WORKER_QUERY_SECONDS": "2",
    }
    command = ["python", "-m", "orchestration.workers.process", POOL, "ecs", "at once"]
    task = tasks.Task(
        "worker",
        image,
        256,
        1024,
        command,
        environment=environment,
        secrets=reporting(secret),
        allowed=allowed,
        health=HEALTHY.format(port=8080, path="/health"),
    )
    return _service(network, cluster, tasks.make(settings, keys, task), "worker", 1, None)


def stack(settings: Settings, data: Data, runs: Mapping[str, Made], network: Network) -> dict[str, Any]:
    """What whoever starts jobs has to know of a stack: orchestration/ecs/register_stack.py describes it, and scripts/emit takes it too."""
    bucket = data.lake.bucket
    return {
        "tasks": {name: made.definition.arn for name, made in runs.items()},
        "pool": {
            "cluster": settings.name,
            "subnets": network.subnet_ids,
            "security_groups": [network.group_id("jobs")],
            "capacity_provider": "FARGATE_SPOT" if settings.spot else "FARGATE",
        },
        "parameters": {
            "lake": pulumi.Output.concat("s3://", bucket, "/lake"),
            "docs": pulumi.Output.concat("s3://", bucket, "/docs"),
            "site": pulumi.Output.concat("s3://", data.site.bucket, "/site"),
            "warehouse": pulumi.Output.concat("postgresql://{job}@", data.warehouse.address, f":5432/{stores.WAREHOUSE}"),
            "warehouse_password": f"secretsmanager://{settings.name}/{{job}}/{stores.PASSWORD}",
            "audience": settings.audience,
            "drop": pulumi.Output.concat("s3://", bucket, "/drop"),
            **by_job({key: pulumi.Output.concat("secretsmanager://", own.name) for key, own in data.tokens().items()}),
        },
        "warehouse": {"host": data.warehouse.address, "secrets": {job: own.arn for job, own in data.passwords().items()}},
    }


def _register(
    settings: Settings,
    keys: Keys,
    data: Data,
    image: Text,
    client: Mapping[str, Text],
    secret: aws.secretsmanager.Secret,
    told: Mapping[str, Any],
) -> Made:
    """What makes the warehouse's roles, the work pool and the deployments: run once after each deploy, in the network, where they are."""
    master = data.warehouse.master_user_secrets[0].secret_arn
    task = tasks.Task(
        "register",
        image,
        256,
        512,
        ["python", "-m", "orchestration.ecs.register_stack"],
        environment={**client, "FINELT_STACK": pulumi.Output.json_dumps(told)},
        secrets={
            **reporting(secret),
            "FINELT_MASTER_USER": pulumi.Output.concat(master, ":username::"),
            "FINELT_MASTER_PASSWORD": pulumi.Output.concat(master, ":password::"),
        },
        allowed=[
            policies.allow(
                ("secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue"), [own.arn for own in data.passwords().values()]
            ),
            policies.allow(("kms:Decrypt", "kms:GenerateDataKey"), [keys.data.arn]),
        ],
    )
    return tasks.make(settings, keys, task)


def _events(settings: Settings, keys: Keys, cluster: aws.ecs.Cluster) -> tuple[aws.sqs.Queue, aws.sqs.Queue]:
    """How the worker hears of every task that changes its state, and what nobody could read."""
    name = f"{settings.name}-task-events"
    dead = aws.sqs.Queue(f"{name}-dead", name=f"{name}-dead", kms_master_key_id=keys.messages.arn, message_retention_seconds=14 * 86_400)
    queue = aws.sqs.Queue(
        name,
        name=name,
        kms_master_key_id=keys.messages.arn,
        visibility_timeout_seconds=300,
        redrive_policy=pulumi.Output.json_dumps({"deadLetterTargetArn": dead.arn, "maxReceiveCount": RECEIVES_BEFORE_DEAD}),
    )
    pattern = {"source": ["aws.ecs"], "detail-type": ["ECS Task State Change"], "detail": {"clusterArn": [cluster.arn]}}
    rule = aws.cloudwatch.EventRule(name, name=name, event_pattern=pulumi.Output.json_dumps(pattern))
    aws.cloudwatch.EventTarget(name, rule=rule.name, arn=queue.arn, dead_letter_config={"arn": dead.arn})
    for target in (queue, dead):
        sender = policies.service("events", ("sqs:SendMessage",), [target.arn], {"ArnEquals": {"aws:SourceArn": rule.arn}})
        plain = policies.deny(("sqs:*",), [target.arn], {"Bool": {"aws:SecureTransport": "false"}})
        label = name if target is queue else f"{name}-dead"
        aws.sqs.QueuePolicy(label, queue_url=target.url, policy=policies.document(sender, plain))
    return queue, dead


def _service(
    network: Network,
    cluster: aws.ecs.Cluster,
    made: Made,
    group: str,
    replicas: int,
    discovery: aws.servicediscovery.Service | None,
) -> aws.ecs.Service:
    """A task that always runs; a new version that does not come up is taken back."""
    name = made.definition._name  # noqa: SLF001  the name we gave it
    return aws.ecs.Service(
        name,
        name=name,
        cluster=cluster.arn,
        task_definition=made.definition.arn,
        desired_count=replicas,
        launch_type="FARGATE",
        platform_version="LATEST",
        enable_execute_command=False,
        propagate_tags="SERVICE",
        deployment_circuit_breaker={"enable": True, "rollback": True},
        deployment_minimum_healthy_percent=100 if replicas > 1 else 0,
        network_configuration={
            "subnets": network.subnet_ids,
            "security_groups": [network.group_id(group)],
            "assign_public_ip": False,
        },
        service_registries={"registry_arn": discovery.arn} if discovery else None,
    )
