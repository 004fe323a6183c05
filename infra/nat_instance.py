"""A small machine that forwards the traffic of private subnets to the internet, for a fifth of the price of a NAT gateway."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

INSTANCE_TYPE = "t4g.nano"
DISK_GB = 8
AMI_PARAMETER = "/aws/service/ami-amazon-linux-latest/al2023-ami-minimal-kernel-default-arm64"
# Source: "Work with NAT instances" in the Amazon VPC user guide.
START_SCRIPT = """#!/bin/sh
set -eu
dnf install --assumeyes iptables-services
echo net.ipv4.ip_forward=1 > /etc/sysctl.d/nat.conf
sysctl --load /etc/sysctl.d/nat.conf
iptables -t nat -A POSTROUTING -o "$(ip -o route get 1.1.1.1 | sed 's/.* dev \\([^ ]*\\).*/\\1/')" -j MASQUERADE
iptables -F FORWARD
iptables-save > /etc/sysconfig/iptables
systemctl enable --now iptables
"""


@dataclass(frozen=True)
class NatInstanceArgs:
    """Arguments of `NatInstance`: a public subnet, its route to the internet, and the security group that lets the clients in."""

    subnet_id: pulumi.Input[str]
    way_out: aws.ec2.Route
    security_group_id: pulumi.Input[str]


class NatInstance(pulumi.ComponentResource):
    """The machine with its public address. Nobody can log in to it; to update its system, replace it."""

    network_interface_id: pulumi.Output[str]

    def __init__(self, name: str, args: NatInstanceArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("finelt:infra:NatInstance", name, None, opts)
        child = pulumi.ResourceOptions(parent=self, depends_on=[args.way_out])
        instance = aws.ec2.Instance(
            name,
            ami=aws.ssm.get_parameter_output(name=AMI_PARAMETER).value,
            instance_type=INSTANCE_TYPE,
            subnet_id=args.subnet_id,
            vpc_security_group_ids=[args.security_group_id],
            source_dest_check=False,
            associate_public_ip_address=True,  # the script needs it before the fixed address is attached
            metadata_options={"http_tokens": "required"},
            root_block_device={"encrypted": True, "volume_size": DISK_GB, "volume_type": "gp3"},
            user_data=START_SCRIPT,
            user_data_replace_on_change=True,
            opts=pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(ignore_changes=["ami"])),  # a newer one would replace it
        )
        aws.ec2.Eip(name, domain="vpc", instance=instance.id, opts=child)
        self.network_interface_id = instance.primary_network_interface_id
        self.register_outputs({"network_interface_id": self.network_interface_id})
