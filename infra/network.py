"""The VPC: private subnets in two availability zones, a route to the internet for the jobs, and no inbound route."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws

from infra.flow_logs import FlowLogs, FlowLogsArgs
from infra.nat_instance import NatInstance, NatInstanceArgs
from infra.options import child_of
from infra.security_groups import SecurityGroups, SecurityGroupsArgs
from infra.settings import ZONES

if TYPE_CHECKING:
    from infra.keys import Keys
    from infra.settings import Settings

CIDR = "10.20.0.0/16"
INTERNET = "0.0.0.0/0"
ENDPOINT_SERVICES = ("ecr.api", "ecr.dkr", "logs", "secretsmanager", "ecs", "sqs", "ssm", "ssmmessages", "sts")  # what tasks call


@dataclass(frozen=True)
class NetworkArgs:
    """Arguments of `Network`."""

    settings: Settings
    keys: Keys
    boundary: pulumi.Input[str]


class Network(pulumi.ComponentResource):
    """The VPC with its private subnets, routes, endpoints, security groups and flow logs."""

    vpc_id: pulumi.Output[str]
    subnet_ids: list[pulumi.Output[str]]
    security_groups: SecurityGroups

    def __init__(self, name: str, args: NetworkArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("finelt:infra:Network", name, None, opts)
        settings, child = args.settings, pulumi.ResourceOptions(parent=self)
        vpc = aws.ec2.Vpc(name, cidr_block=CIDR, enable_dns_hostnames=True, enable_dns_support=True, opts=child_of(self))
        aws.ec2.DefaultSecurityGroup(f"{name}-default", vpc_id=vpc.id, ingress=[], egress=[], opts=child_of(self))
        FlowLogs(f"{name}-flow-logs", FlowLogsArgs(settings, args.keys, args.boundary, vpc.id), child)
        zones = aws.get_availability_zones_output(state="available").names
        self.vpc_id = vpc.id
        self.subnet_ids, route_tables = self._create_private_subnets(name, zones)
        self.security_groups = SecurityGroups(name, SecurityGroupsArgs(settings, vpc.id), child)
        self._create_s3_endpoint(settings, route_tables)
        if settings.egress == "endpoints":
            self._create_interface_endpoints(settings)
        elif settings.egress == "nat-instance":
            self._create_nat_instance(settings, zones, route_tables)
        else:
            self._create_nat_gateways(settings, zones, route_tables)
        self.register_outputs({"vpc_id": self.vpc_id, "subnet_ids": self.subnet_ids})

    def security_group_id(self, name: str) -> pulumi.Output[str]:
        """Return the ID of a security group. The names are those in security_groups.py."""
        return self.security_groups.groups[name].id

    def _create_private_subnets(
        self, name: str, zones: pulumi.Output[list[str]]
    ) -> tuple[list[pulumi.Output[str]], list[aws.ec2.RouteTable]]:
        """Create a subnet and its route table in each zone; return the subnets' IDs and the route tables."""
        subnet_ids, route_tables = [], []
        for number in range(ZONES):
            subnet = self._create_subnet(f"{name}-private-{number}", f"10.20.{16 * number}.0/20", zones[number])
            route_table = aws.ec2.RouteTable(f"{name}-private-{number}", vpc_id=self.vpc_id, opts=child_of(self))
            self._associate(f"{name}-private-{number}", subnet, route_table)
            subnet_ids.append(subnet.id)
            route_tables.append(route_table)
        return subnet_ids, route_tables

    def _create_subnet(self, name: str, cidr: str, zone: pulumi.Output[str]) -> aws.ec2.Subnet:
        return aws.ec2.Subnet(
            name, vpc_id=self.vpc_id, cidr_block=cidr, availability_zone=zone, map_public_ip_on_launch=False, opts=child_of(self)
        )

    def _associate(self, name: str, subnet: aws.ec2.Subnet, route_table: aws.ec2.RouteTable) -> None:
        aws.ec2.RouteTableAssociation(name, subnet_id=subnet.id, route_table_id=route_table.id, opts=child_of(self))

    def _create_nat_instance(self, settings: Settings, zones: pulumi.Output[list[str]], route_tables: list[aws.ec2.RouteTable]) -> None:
        """Create a small machine that forwards the traffic of all zones. If it fails, AWS restarts it within minutes; jobs retry."""
        public_table, way_out = self._create_public_routes(settings.name)
        subnet = self._create_subnet(f"{settings.name}-public-0", "10.20.240.0/24", zones[0])
        self._associate(f"{settings.name}-public-0", subnet, public_table)
        args = NatInstanceArgs(subnet.id, way_out, self.security_group_id("nat"))
        instance = NatInstance(f"{settings.name}-nat", args, pulumi.ResourceOptions(parent=self))
        for number, route_table in enumerate(route_tables):
            aws.ec2.Route(
                f"{settings.name}-private-{number}",
                route_table_id=route_table.id,
                destination_cidr_block=INTERNET,
                network_interface_id=instance.network_interface_id,
                opts=child_of(self),
            )

    def _create_public_routes(self, name: str) -> tuple[aws.ec2.RouteTable, aws.ec2.Route]:
        """Create the internet gateway; return the route table of public subnets and its route."""
        internet_gateway = aws.ec2.InternetGateway(name, vpc_id=self.vpc_id, opts=child_of(self))
        public_table = aws.ec2.RouteTable(f"{name}-public", vpc_id=self.vpc_id, opts=child_of(self))
        way_out = aws.ec2.Route(
            f"{name}-public",
            route_table_id=public_table.id,
            destination_cidr_block=INTERNET,
            gateway_id=internet_gateway.id,
            opts=child_of(self),
        )
        return public_table, way_out

    def _create_nat_gateways(self, settings: Settings, zones: pulumi.Output[list[str]], route_tables: list[aws.ec2.RouteTable]) -> None:
        """Create one NAT gateway for all zones, or one in each, so that the failure of a zone affects no other."""
        name = settings.name
        public_table, way_out = self._create_public_routes(name)
        count = ZONES if settings.egress == "nat-per-zone" else 1
        gateways = [self._create_nat_gateway(name, number, zones[number], public_table, way_out) for number in range(count)]
        for number, route_table in enumerate(route_tables):
            aws.ec2.Route(
                f"{name}-private-{number}",
                route_table_id=route_table.id,
                destination_cidr_block=INTERNET,
                nat_gateway_id=gateways[number % count].id,
                opts=child_of(self),
            )

    def _create_nat_gateway(
        self, name: str, number: int, zone: pulumi.Output[str], public_table: aws.ec2.RouteTable, way_out: aws.ec2.Route
    ) -> aws.ec2.NatGateway:
        """Create a NAT gateway in a public subnet. AWS refuses it, and its address, in a VPC without an internet gateway."""
        subnet = self._create_subnet(f"{name}-public-{number}", f"10.20.{240 + number}.0/24", zone)
        self._associate(f"{name}-public-{number}", subnet, public_table)
        address = aws.ec2.Eip(f"{name}-nat-{number}", domain="vpc", opts=child_of(self, depends_on=[way_out]))
        return aws.ec2.NatGateway(
            f"{name}-{number}", subnet_id=subnet.id, allocation_id=address.id, opts=child_of(self, depends_on=[way_out])
        )

    def _create_s3_endpoint(self, settings: Settings, route_tables: list[aws.ec2.RouteTable]) -> None:
        aws.ec2.VpcEndpoint(
            f"{settings.name}-s3",
            vpc_id=self.vpc_id,
            service_name=f"com.amazonaws.{settings.region}.s3",
            vpc_endpoint_type="Gateway",
            route_table_ids=[route_table.id for route_table in route_tables],
            opts=child_of(self),
        )

    def _create_interface_endpoints(self, settings: Settings) -> None:
        for service in ENDPOINT_SERVICES:
            aws.ec2.VpcEndpoint(
                f"{settings.name}-{service}",
                vpc_id=self.vpc_id,
                service_name=f"com.amazonaws.{settings.region}.{service}",
                vpc_endpoint_type="Interface",
                private_dns_enabled=True,
                subnet_ids=self.subnet_ids,
                security_group_ids=[self.security_group_id("endpoints")],
                opts=child_of(self),
            )
