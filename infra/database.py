"""A PostgreSQL database in RDS that only its own security group can reach, by TLS only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws

from infra.options import child_of

if TYPE_CHECKING:
    from infra.keys import Keys
    from infra.network import Network
    from infra.policies import Text
    from infra.settings import Settings

POSTGRES_VERSION, PARAMETER_FAMILY = "17", "postgres17"
ADMIN_USER = "keeper"  # a deployed database keeps its master user: another name would replace the database
PARAMETERS = {"rds.force_ssl": "1", "log_min_duration_statement": "5000", "log_connections": "1"}


@dataclass(frozen=True)
class PostgresDatabaseArgs:
    """Arguments of `PostgresDatabase`. `database` is the name of the database that RDS creates in the instance."""

    settings: Settings
    keys: Keys
    network: Network
    security_group: str
    database: str
    instance_class: str
    storage_gb: int


class PostgresDatabase(pulumi.ComponentResource):
    """An RDS instance. RDS creates, stores and rotates the master password."""

    instance: aws.rds.Instance

    def __init__(self, name: str, args: PostgresDatabaseArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("finelt:infra:PostgresDatabase", name, None, opts)
        settings, key_arn = args.settings, args.keys.data.arn
        subnets = aws.rds.SubnetGroup(name, subnet_ids=args.network.subnet_ids, opts=child_of(self))
        parameters = aws.rds.ParameterGroup(
            name,
            family=PARAMETER_FAMILY,
            parameters=[{"name": key, "value": value} for key, value in PARAMETERS.items()],
            opts=child_of(self),
        )
        self.instance = aws.rds.Instance(
            name,
            identifier=name,
            engine="postgres",
            engine_version=POSTGRES_VERSION,
            instance_class=args.instance_class,
            allocated_storage=args.storage_gb,
            max_allocated_storage=4 * args.storage_gb,
            storage_type="gp3",
            storage_encrypted=True,
            kms_key_id=key_arn,
            db_name=args.database,
            username=ADMIN_USER,
            manage_master_user_password=True,
            master_user_secret_kms_key_id=key_arn,
            db_subnet_group_name=subnets.name,
            vpc_security_group_ids=[args.network.security_group_id(args.security_group)],
            parameter_group_name=parameters.name,
            publicly_accessible=False,
            multi_az=settings.multi_az,
            iam_database_authentication_enabled=True,
            backup_retention_period=settings.backup_days,
            copy_tags_to_snapshot=True,
            deletion_protection=settings.protect,
            skip_final_snapshot=not settings.protect,
            final_snapshot_identifier=f"{name}-last" if settings.protect else None,
            auto_minor_version_upgrade=True,
            performance_insights_enabled=True,
            performance_insights_kms_key_id=key_arn,
            enabled_cloudwatch_logs_exports=["postgresql", "upgrade"],
            opts=child_of(self, protect=settings.protect),
        )
        self.register_outputs({"address": self.instance.address})

    def admin_secrets(self, user_variable: str, password_variable: str) -> dict[str, Text]:
        """Return the task secrets that give a container the master user and its password in two environment variables."""
        secret_arn = self.instance.master_user_secrets[0].secret_arn
        return {
            user_variable: pulumi.Output.concat(secret_arn, ":username::"),
            password_variable: pulumi.Output.concat(secret_arn, ":password::"),
        }
