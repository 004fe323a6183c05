"""Prefect's server: its own database, a private DNS name and a generated password. The network alone can reach it.

Before each start, a container prepares the database: it creates the server's role and migrates the schema. The server itself logs in as
that role with IAM tokens, so that it has neither a password, which RDS would rotate, nor the rights of the master user.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws

from infra import policies
from infra.database import CA_FILE, PostgresDatabase, PostgresDatabaseArgs
from infra.fargate_service import FargateService, FargateServiceArgs
from infra.fargate_task import FargateTaskArgs, InitContainer
from infra.job_secrets import create_secret
from infra.options import child_of
from infra.permissions_boundary import DATABASE_ROLE
from infra.redis import Redis, RedisArgs
from infra.security_groups import POSTGRES_PORT, PREFECT_PORT

if TYPE_CHECKING:
    from infra.cluster import Cluster
    from infra.keys import Keys
    from infra.network import Network
    from infra.policies import Text
    from infra.settings import Settings

DOMAIN = "finelt.internal"
DATABASE_NAME, DATABASE_GB = "prefect", 20
SERVER_COMMAND = ["python", "-m", "prefect", "server", "start", "--host", "0.0.0.0", "--port", str(PREFECT_PORT)]  # noqa: S104  in a container
BACKGROUND_COMMAND = ["python", "-m", "prefect", "server", "services", "start"]
PREPARE_COMMAND = ["python", "-m", "orchestration.ecs.prepare_prefect"]
HEALTH_CHECK = f"import urllib.request as u; u.urlopen('http://127.0.0.1:{PREFECT_PORT}/api/ready')"  # 503 if the database refuses


@dataclass(frozen=True)
class PrefectServerArgs:
    """Arguments of `PrefectServer`. `image` is the orchestration image by digest."""

    settings: Settings
    keys: Keys
    boundary: Text
    network: Network
    cluster: Cluster
    image: Text


class PrefectServer(pulumi.ComponentResource):
    """The server. With several replicas, its background services run in a service of their own, and all share a Redis."""

    api_url: pulumi.Output[str]
    auth_secret: aws.secretsmanager.Secret
    database: PostgresDatabase
    services: list[FargateService]

    def __init__(self, name: str, args: PrefectServerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("finelt:infra:PrefectServer", name, None, opts)
        settings, child = args.settings, pulumi.ResourceOptions(parent=self)
        namespace, discovery = self._create_discovery(name, args)
        self.api_url = pulumi.Output.concat("http://", discovery.name, ".", namespace.name, f":{PREFECT_PORT}/api")
        self.auth_secret = self._create_auth_secret(args)
        database_args = PostgresDatabaseArgs(
            settings, args.keys, args.network, "prefect-database", DATABASE_NAME, settings.prefect_class, DATABASE_GB
        )
        self.database = PostgresDatabase(name, database_args, child)
        has_replicas = settings.server_replicas > 1
        environment = _server_environment(settings, self.database)
        if has_replicas:
            environment |= Redis(f"{settings.name}-redis", RedisArgs(settings, args.keys, args.network), child).server_environment()
        self.services = [self._create_web_service(args, environment, discovery, has_replicas=has_replicas)]
        if has_replicas:
            self.services.append(self._create_background_service(args, environment))
        self.register_outputs({"api_url": self.api_url})

    def client_environment(self, settings: Settings) -> dict[str, Text]:
        """Return the environment of a task that calls Prefect's API."""
        return {"PREFECT_API_URL": self.api_url, "AWS_REGION": settings.region, "DO_NOT_TRACK": "1"}

    def client_secrets(self) -> dict[str, Text]:
        """Return the secrets of a task that calls Prefect's API."""
        return {"PREFECT_API_AUTH_STRING": self.auth_secret.arn}

    def _server_secrets(self) -> dict[str, Text]:
        return {"PREFECT_SERVER_API_AUTH_STRING": self.auth_secret.arn}

    def _prepare_container(self) -> InitContainer:
        return InitContainer("prepare", PREPARE_COMMAND, self.database.admin_secrets("FINELT_MASTER_USER", "FINELT_MASTER_PASSWORD"))

    def _create_auth_secret(self, args: PrefectServerArgs) -> aws.secretsmanager.Secret:
        """Create the API's user and password, as user:password, which is the form that Prefect expects."""
        secret = create_secret(args.settings, args.keys, "prefect/auth", child_of(self), recovery_days=30 if args.settings.protect else 0)
        password = aws.secretsmanager.get_random_password_output(password_length=40, exclude_punctuation=True).random_password
        aws.secretsmanager.SecretVersion(
            f"{args.settings.name}-prefect-auth",
            secret_id=secret.id,
            secret_string=pulumi.Output.concat("finelt:", pulumi.Output.secret(password)),
            opts=child_of(self, ignore_changes=["secretString"]),  # each run of the program generates another password
        )
        return secret

    def _create_discovery(
        self, name: str, args: PrefectServerArgs
    ) -> tuple[aws.servicediscovery.PrivateDnsNamespace, aws.servicediscovery.Service]:
        """Create the server's name in the VPC. What calls the server takes the name from here, and so starts after it exists."""
        domain = f"{args.settings.stack}.{DOMAIN}"
        namespace = aws.servicediscovery.PrivateDnsNamespace(args.settings.name, name=domain, vpc=args.network.vpc_id, opts=child_of(self))
        dns_config = {"namespace_id": namespace.id, "dns_records": [{"type": "A", "ttl": 10}], "routing_policy": "MULTIVALUE"}
        service = aws.servicediscovery.Service(
            name,
            name="prefect",
            dns_config=dns_config,
            force_destroy=True,  # a namespace with registered tasks cannot be deleted
            opts=child_of(self),
        )
        return namespace, service

    def _create_web_service(
        self, args: PrefectServerArgs, environment: dict[str, Text], discovery: aws.servicediscovery.Service, *, has_replicas: bool
    ) -> FargateService:
        task = FargateTaskArgs(
            args.settings,
            args.keys,
            args.boundary,
            name="prefect",
            image=args.image,
            cpu=512,
            memory=1024,
            command=[*SERVER_COMMAND, "--no-services"] if has_replicas else SERVER_COMMAND,
            environment=environment,
            secrets=self._server_secrets(),
            statements=[policies.allow(("rds-db:connect",), [self.database.login_arn(args.settings, DATABASE_ROLE)])],
            port=PREFECT_PORT,
            health_check=HEALTH_CHECK,
            init=self._prepare_container(),
        )
        service = FargateServiceArgs(args.cluster, args.network, "prefect", task, args.settings.server_replicas, discovery)
        return FargateService(f"{args.settings.name}-prefect", service, pulumi.ResourceOptions(parent=self))

    def _create_background_service(self, args: PrefectServerArgs, environment: dict[str, Text]) -> FargateService:
        task = FargateTaskArgs(
            args.settings,
            args.keys,
            args.boundary,
            name="prefect-services",
            image=args.image,
            cpu=256,
            memory=1024,
            command=BACKGROUND_COMMAND,
            environment=environment,
            secrets=self._server_secrets(),
            statements=[policies.allow(("rds-db:connect",), [self.database.login_arn(args.settings, DATABASE_ROLE)])],
            health_check=connection_check(POSTGRES_PORT),
            init=self._prepare_container(),
        )
        service = FargateServiceArgs(args.cluster, args.network, "prefect", task)
        return FargateService(f"{args.settings.name}-prefect-services", service, pulumi.ResourceOptions(parent=self))


def connection_check(port: int) -> str:
    """Return Python code that fails unless the container has a connection to the port.

    The background services answer no request and may hang instead of ending. As long as they work, they are connected to the database.
    Source of the columns: "proc_net_tcp" in the kernel's documentation; state 01 is an established connection.
    """
    return (
        "import sys; rows = [line.split() for name in ('tcp', 'tcp6') for line in open('/proc/net/' + name)];"
        f" sys.exit(not any(row[2].endswith(':{port:04X}') and row[3] == '01' for row in rows))"
    )


def _server_environment(settings: Settings, database: PostgresDatabase) -> dict[str, Text]:
    return {
        "AWS_REGION": settings.region,
        "DO_NOT_TRACK": "1",
        "PREFECT_INTEGRATIONS_AWS_RDS_IAM_ENABLED": "true",
        "PREFECT_INTEGRATIONS_AWS_RDS_IAM_REGION_NAME": settings.region,
        "PREFECT_PLUGINS_ENABLED": "true",  # the login with tokens is a plugin of prefect-aws
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_CANCELLING_TIMEOUT_SECONDS": "60",  # a job stops within ten
        "PREFECT_SERVER_DATABASE_DRIVER": "postgresql+asyncpg",
        "PREFECT_SERVER_DATABASE_HOST": database.instance.address,
        "PREFECT_SERVER_DATABASE_PORT": str(POSTGRES_PORT),
        "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "false",
        "PREFECT_SERVER_DATABASE_NAME": DATABASE_NAME,
        "PREFECT_SERVER_DATABASE_SQLALCHEMY_MAX_OVERFLOW": "15",  # a burst used up the 15 connections of the defaults
        "PREFECT_SERVER_DATABASE_SQLALCHEMY_POOL_SIZE": "10",
        "PREFECT_SERVER_UI_API_URL": f"http://127.0.0.1:{PREFECT_PORT}/api",  # as the browser of scripts/stack connect reaches it
        "PREFECT_SERVER_DATABASE_USER": DATABASE_ROLE,
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": "/tmp/ui",  # noqa: S108  a container's own
        "SSL_CERT_FILE": CA_FILE,
    }
