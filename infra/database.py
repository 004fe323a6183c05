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
CA_FILE = "/etc/ssl/rds-and-public.pem"  # in each image (images/harden.py): the CAs of RDS, and the public ones
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


LOG_EXPORTS = ("postgresql", "upgrade")


class PostgresDatabase(pulumi.ComponentResource):
    """An RDS instance. RDS creates, stores and rotates the master password.

    Changes apply at once, not in the next maintenance window: Pulumi deletes the old parameter group at the end of the same update.
    """

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
        log_groups = [
            aws.cloudwatch.LogGroup(
                f"{name}-{export}",
                name=f"/aws/rds/instance/{name}/{export}",  # RDS would create it without retention and without our key
                retention_in_days=settings.log_days,
                kms_key_id=args.keys.logs.arn,
                opts=pulumi.ResourceOptions(parent=self),
            )
            for export in LOG_EXPORTS
        ]
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
            # Unique for each life of the stack: its key is new each time, and the snapshot of the previous life may still exist.
            final_snapshot_identifier=args.keys.data.key_id.apply(lambda key: f"{name}-last-{key[:8]}") if settings.protect else None,
            auto_minor_version_upgrade=True,
            allow_major_version_upgrade=True,
            apply_immediately=True,
            performance_insights_enabled=True,
            performance_insights_kms_key_id=key_arn,
            enabled_cloudwatch_logs_exports=list(LOG_EXPORTS),
            opts=child_of(self, protect=settings.protect, depends_on=log_groups),
        )
        self.register_outputs({"address": self.instance.address})

    def login_arn(self, settings: Settings, role: str) -> pulumi.Output[str]:
        """Return the resource of `rds-db:connect` for a role that logs in with IAM tokens."""
        return pulumi.Output.concat(f"arn:aws:rds-db:{settings.region}:{settings.account}:dbuser:", self.instance.resource_id, f"/{role}")

    def admin_secrets(self, user_variable: str, password_variable: str) -> dict[str, Text]:
        """Return the task secrets that give a container the master user and its password in two environment variables."""
        secret_arn = self.instance.master_user_secrets[0].secret_arn
        return {
            user_variable: pulumi.Output.concat(secret_arn, ":username::"),
            password_variable: pulumi.Output.concat(secret_arn, ":password::"),
        }
