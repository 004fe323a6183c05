"""Security groups. Each rule connects two groups, but HTTPS to the internet, and SFTP where a job takes files from a server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import pulumi
import pulumi_aws as aws

from infra.options import child_of

if TYPE_CHECKING:
    from infra.settings import Settings

HTTPS_PORT, POSTGRES_PORT, PREFECT_PORT, REDIS_PORT = 443, 5432, 4200, 6379
HTTPS_CLIENTS = ("jobs", "prefect", "worker", "events", "bastion")


class Connection(NamedTuple):
    """A TCP connection from one security group to another."""

    client: str
    server: str
    port: int


CONNECTIONS = (
    Connection("jobs", "warehouse", POSTGRES_PORT),
    Connection("jobs", "prefect", PREFECT_PORT),
    Connection("worker", "prefect", PREFECT_PORT),
    Connection("events", "prefect", PREFECT_PORT),
    Connection("prefect", "prefect-database", POSTGRES_PORT),
    Connection("bastion", "prefect", PREFECT_PORT),
    Connection("bastion", "warehouse", POSTGRES_PORT),
)


@dataclass(frozen=True)
class SecurityGroupsArgs:
    """Arguments of `SecurityGroups`."""

    settings: Settings
    vpc_id: pulumi.Input[str]


class SecurityGroups(pulumi.ComponentResource):
    """Security groups by name: jobs, prefect, worker, events, bastion, warehouse, prefect-database, redis, endpoints, nat."""

    groups: dict[str, aws.ec2.SecurityGroup]

    def __init__(self, name: str, args: SecurityGroupsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("finelt:infra:SecurityGroups", name, None, opts)
        stack = args.settings.name
        connections = _list_connections(args.settings)
        names = dict.fromkeys(group for connection in connections for group in (connection.client, connection.server))
        self.groups = {
            group: aws.ec2.SecurityGroup(
                f"{stack}-{group}",
                vpc_id=args.vpc_id,
                description=f"{stack} {group}",
                ingress=[],
                egress=[],
                opts=child_of(self),
            )
            for group in names
        }
        for connection in connections:
            suffix = f"-{connection.port}" if connection.port in args.settings.sftp_ports else ""
            self._allow_connection(f"{stack}-{connection.client}-to-{connection.server}{suffix}", connection)
        gateways = ["nat"] if "nat" in self.groups else []
        for group in (*HTTPS_CLIENTS, *gateways):
            self._allow_internet(f"{stack}-{group}-https", group, HTTPS_PORT)
        for port in args.settings.sftp_ports:
            for group in ("jobs", *gateways):
                self._allow_internet(f"{stack}-{group}-sftp-{port}", group, port)
        self.register_outputs({"groups": {group: resource.id for group, resource in self.groups.items()}})

    def _allow_connection(self, name: str, connection: Connection) -> None:
        client, server, port = self.groups[connection.client].id, self.groups[connection.server].id, connection.port
        aws.vpc.SecurityGroupEgressRule(
            name,
            security_group_id=client,
            referenced_security_group_id=server,
            ip_protocol="tcp",
            from_port=port,
            to_port=port,
            opts=child_of(self),
        )
        aws.vpc.SecurityGroupIngressRule(
            name,
            security_group_id=server,
            referenced_security_group_id=client,
            ip_protocol="tcp",
            from_port=port,
            to_port=port,
            opts=child_of(self),
        )

    def _allow_internet(self, name: str, group: str, port: int) -> None:
        aws.vpc.SecurityGroupEgressRule(
            name,
            security_group_id=self.groups[group].id,
            cidr_ipv4="0.0.0.0/0",
            ip_protocol="tcp",
            from_port=port,
            to_port=port,
            opts=child_of(self),
        )


def _list_connections(settings: Settings) -> list[Connection]:
    connections = list(CONNECTIONS)
    if settings.server_replicas > 1:
        connections.append(Connection("prefect", "redis", REDIS_PORT))
    ways_out = {"endpoints": "endpoints", "nat-instance": "nat"}
    if server := ways_out.get(settings.egress):
        connections += [Connection(group, server, HTTPS_PORT) for group in HTTPS_CLIENTS]
    if settings.egress == "nat-instance":
        connections += [Connection("jobs", "nat", port) for port in settings.sftp_ports]
    return connections
