"""Private subnets in two zones, a way out for the jobs, and none in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws

from infra import policies, tasks
from infra.settings import ZONES

if TYPE_CHECKING:
    from infra.keys import Keys
    from infra.settings import Settings

CIDR = "10.20.0.0/16"
ENDPOINTS = ("ecr.api", "ecr.dkr", "logs", "secretsmanager", "ecs", "sqs", "ssm", "sts")  # what tasks ask when there is no gateway
HTTPS, POSTGRES, PREFECT, REDIS = 443, 5432, 4200, 6379


@dataclass(frozen=True)
class Network:
    """Where tasks and databases live. `groups` are security groups by who is in them."""

    vpc_id: pulumi.Output[str]
    subnet_ids: list[pulumi.Output[str]]
    groups: dict[str, aws.ec2.SecurityGroup]

    def group_id(self, name: str) -> pulumi.Output[str]:
        """The security group of jobs, prefect, worker, events, warehouse, prefect-database or redis."""
        return self.groups[name].id


def make(settings: Settings, keys: Keys) -> Network:
    """The network of a stack."""
    vpc = aws.ec2.Vpc(f"{settings.name}", cidr_block=CIDR, enable_dns_hostnames=True, enable_dns_support=True)
    aws.ec2.DefaultSecurityGroup(f"{settings.name}-default", vpc_id=vpc.id, ingress=[], egress=[])
    _flow_logs(settings, keys, vpc)
    zones = aws.get_availability_zones_output(state="available").names
    private = [
        aws.ec2.Subnet(
            f"{settings.name}-private-{number}",
            vpc_id=vpc.id,
            cidr_block=f"10.20.{16 * number}.0/20",
            availability_zone=zones[number],
            map_public_ip_on_launch=False,
        )
        for number in range(ZONES)
    ]
    tables = [aws.ec2.RouteTable(f"{settings.name}-private-{number}", vpc_id=vpc.id) for number in range(ZONES)]
    for number, (subnet, table) in enumerate(zip(private, tables, strict=True)):
        aws.ec2.RouteTableAssociation(f"{settings.name}-private-{number}", subnet_id=subnet.id, route_table_id=table.id)
    aws.ec2.VpcEndpoint(
        f"{settings.name}-s3",
        vpc_id=vpc.id,
        service_name=f"com.amazonaws.{settings.region}.s3",
        vpc_endpoint_type="Gateway",
        route_table_ids=[table.id for table in tables],
    )
    groups = _groups(settings, vpc)
    if settings.egress == "endpoints":
        _endpoints(settings, vpc, private, groups)
    else:
        _gateways(settings, vpc, zones, tables)
    return Network(vpc.id, [subnet.id for subnet in private], groups)


def _gateways(settings: Settings, vpc: aws.ec2.Vpc, zones: pulumi.Output[list[str]], tables: list[aws.ec2.RouteTable]) -> None:
    """One NAT gateway for all zones, or one in each: then a zone that fails takes no other with it."""
    gateway = aws.ec2.InternetGateway(f"{settings.name}", vpc_id=vpc.id)
    public_table = aws.ec2.RouteTable(f"{settings.name}-public", vpc_id=vpc.id)
    aws.ec2.Route(f"{settings.name}-public", route_table_id=public_table.id, destination_cidr_block="0.0.0.0/0", gateway_id=gateway.id)
    ways_out: list[aws.ec2.NatGateway] = []
    for number in range(ZONES if settings.egress == "nat-per-zone" else 1):
        subnet = aws.ec2.Subnet(
            f"{settings.name}-public-{number}",
            vpc_id=vpc.id,
            cidr_block=f"10.20.{240 + number}.0/24",
            availability_zone=zones[number],
            map_public_ip_on_launch=False,
        )
        aws.ec2.RouteTableAssociation(f"{settings.name}-public-{number}", subnet_id=subnet.id, route_table_id=public_table.id)
        address = aws.ec2.Eip(f"{settings.name}-nat-{number}", domain="vpc")
        ways_out.append(aws.ec2.NatGateway(f"{settings.name}-{number}", subnet_id=subnet.id, allocation_id=address.id))
    for number, table in enumerate(tables):
        aws.ec2.Route(
            f"{settings.name}-private-{number}",
            route_table_id=table.id,
            destination_cidr_block="0.0.0.0/0",
            nat_gateway_id=ways_out[number % len(ways_out)].id,
        )


def _endpoints(settings: Settings, vpc: aws.ec2.Vpc, subnets: list[aws.ec2.Subnet], groups: dict[str, aws.ec2.SecurityGroup]) -> None:
    for name in ENDPOINTS:
        aws.ec2.VpcEndpoint(
            f"{settings.name}-{name}",
            vpc_id=vpc.id,
            service_name=f"com.amazonaws.{settings.region}.{name}",
            vpc_endpoint_type="Interface",
            private_dns_enabled=True,
            subnet_ids=[subnet.id for subnet in subnets],
            security_group_ids=[groups["endpoints"].id],
        )


def _groups(settings: Settings, vpc: aws.ec2.Vpc) -> dict[str, aws.ec2.SecurityGroup]:
    """Who may speak to whom. Every rule is between two groups, but for https to the outside."""
    names = ["jobs", "prefect", "worker", "events", "warehouse", "prefect-database"]
    talks = [
        ("jobs", "warehouse", POSTGRES),
        ("jobs", "prefect", PREFECT),
        ("worker", "prefect", PREFECT),
        ("events", "prefect", PREFECT),
        ("prefect", "prefect-database", POSTGRES),
    ]
    if settings.server_replicas > 1:
        names.append("redis")
        talks.append(("prefect", "redis", REDIS))
    outward = ["jobs", "prefect", "worker", "events"]
    if settings.egress == "endpoints":
        names.append("endpoints")
        talks += [(name, "endpoints", HTTPS) for name in outward]
    groups = {
        name: aws.ec2.SecurityGroup(f"{settings.name}-{name}", vpc_id=vpc.id, description=f"{settings.name} {name}", ingress=[], egress=[])
        for name in names
    }
    for one, other, port in talks:
        name = f"{settings.name}-{one}-to-{other}"
        aws.vpc.SecurityGroupEgressRule(
            name,
            security_group_id=groups[one].id,
            referenced_security_group_id=groups[other].id,
            ip_protocol="tcp",
            from_port=port,
            to_port=port,
        )
        aws.vpc.SecurityGroupIngressRule(
            name,
            security_group_id=groups[other].id,
            referenced_security_group_id=groups[one].id,
            ip_protocol="tcp",
            from_port=port,
            to_port=port,
        )
    for name in outward:
        aws.vpc.SecurityGroupEgressRule(
            f"{settings.name}-{name}-https",
            security_group_id=groups[name].id,
            cidr_ipv4="0.0.0.0/0",
            ip_protocol="tcp",
            from_port=HTTPS,
            to_port=HTTPS,
        )
    return groups


def _flow_logs(settings: Settings, keys: Keys, vpc: aws.ec2.Vpc) -> None:
    name = f"{settings.name}-flow-logs"
    logs = aws.cloudwatch.LogGroup(
        name, name=f"/finelt/{settings.stack}/flow-logs", retention_in_days=settings.log_days, kms_key_id=keys.logs.arn
    )
    source = f"arn:aws:ec2:{settings.region}:{settings.account}:vpc-flow-log/*"
    role = aws.iam.Role(
        name,
        assume_role_policy=policies.trust("vpc-flow-logs", settings.account, source),
        permissions_boundary=tasks.boundary_arn(settings),
        name=name,
    )
    written = ("logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams")
    aws.iam.RolePolicy(
        name, role=role.id, policy=policies.document(policies.allow(written, [logs.arn, pulumi.Output.concat(logs.arn, ":*")]))
    )
    aws.ec2.FlowLog(name, vpc_id=vpc.id, traffic_type="ALL", iam_role_arn=role.arn, log_destination=logs.arn)
