"""What a stack costs: list prices on the resources that the program asks for, so that the two cannot drift apart. Writes COSTS.md.

Prices are US dollars in us-east-1 without tax, free tiers and commitments; eu-central-1 is about 15 to 20 % dearer. Source: the pricing
pages of AWS, from memory of 2026; look again before you budget.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from infra.settings import ZONES
from infra.testing.mock_engine import Graph, Resource, graph
from jobs.catalogue import catalogue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jobs.catalogue import JobSpec

HOURS = 730  # in a month
PAGE = Path(__file__).with_name("COSTS.md")
FARGATE = {"ARM64": (0.03238, 0.00356), "X86_64": (0.04048, 0.004445)}  # a vCPU-hour, a GB-hour
SPOT_SHARE = 0.3  # of the price, about; it moves
NAT_HOUR, NAT_GB, ADDRESS_HOUR, ENDPOINT_HOUR = 0.045, 0.045, 0.005, 0.01
DATABASE_HOUR = {"db.t4g.micro": 0.016, "db.t4g.small": 0.032, "db.t4g.medium": 0.065, "db.t4g.large": 0.129}
DISK_GB, CACHE_HOUR = 0.115, 0.0128
SECRET, MANAGED_SECRETS, KEY, ALARM, ZONE = 0.40, 0.40, 1.00, 0.10, 0.50
INSIGHTS = 5.00  # metrics of a cluster with few services
RUNS_A_MONTH = 22  # working days
MINUTES = 1  # each step; Fargate counts no less
JOBS_IN_FLOW_WAITING = 5  # minutes that the flow's own task waits for its steps
BIG = {"warehouse_class": "db.t4g.large", "warehouse_gb": "100", "prefect_class": "db.t4g.small"}
PROD = {**BIG, "egress": "nat-per-zone", "spot": "false", "multi_az": "true", "server_replicas": "2"}
CHOICES: dict[str, dict[str, str]] = {
    "Pulumi.dev.yaml": {},
    "x86 instead of ARM": {"architecture": "x86_64"},
    "a NAT gateway in each zone": {"egress": "nat-per-zone"},
    "endpoints, no internet": {"egress": "endpoints"},
    "databases with a standby": {"multi_az": "true"},
    "two servers with Redis": {"server_replicas": "2"},
    "a larger warehouse": BIG,
    "Pulumi.prod.yaml": PROD,
}


class Item(NamedTuple):
    """One line of the monthly bill: what it is for, and US dollars."""

    what: str
    usd: float


def fargate_usd(cpu: int, memory: int, hours: float, architecture: str) -> float:
    """Of a task with `cpu` units and `memory` MiB."""
    vcpu_hour, gb_hour = FARGATE[architecture]
    return hours * (cpu / 1024 * vcpu_hour + memory / 1024 * gb_hour)


def bill(found: Graph) -> Iterator[Item]:
    """What a stack costs in a month in which nothing runs on it."""
    priced: dict[str, Callable[[Resource], Item]] = {
        "ec2/natGateway:NatGateway": lambda _: Item("NAT gateway", NAT_HOUR * HOURS),
        "ec2/eip:Eip": lambda _: Item("NAT gateway", ADDRESS_HOUR * HOURS),
        "rds/instance:Instance": _database,
        "elasticache/replicationGroup:ReplicationGroup": lambda made: Item("Redis", CACHE_HOUR * HOURS * made.inputs["numCacheClusters"]),
        "ecs/cluster:Cluster": lambda _: Item("CloudWatch", INSIGHTS),
        "cloudwatch/metricAlarm:MetricAlarm": lambda _: Item("CloudWatch", ALARM),
        "secretsmanager/secret:Secret": lambda _: Item("secrets and keys", SECRET),
        "kms/key:Key": lambda _: Item("secrets and keys", KEY),
        "servicediscovery/privateDnsNamespace:PrivateDnsNamespace": lambda _: Item("private name", ZONE),
    }
    tasks = {made.name: made for made in found.of("ecs/taskDefinition:TaskDefinition")}
    for made in found.resources:
        if made.type in priced:
            yield priced[made.type](made)
        elif made.type == "ecs/service:Service":
            yield _service(made, tasks[made.name])
        elif made.type == "ec2/vpcEndpoint:VpcEndpoint" and made.inputs["vpcEndpointType"] == "Interface":
            yield Item("endpoints", ENDPOINT_HOUR * HOURS * ZONES)


def _database(made: Resource) -> Item:
    copies = 2 if made.inputs.get("multiAz") else 1
    hour = DATABASE_HOUR[made.inputs["instanceClass"]]
    usd = copies * (hour * HOURS + DISK_GB * made.inputs["allocatedStorage"]) + MANAGED_SECRETS
    return Item(f"database of {'Prefect' if made.name.endswith('prefect') else 'the warehouse'}", usd)


def _service(made: Resource, task: Resource) -> Item:
    cpu, memory = int(task.inputs["cpu"]), int(task.inputs["memory"])
    hours = HOURS * made.inputs["desiredCount"]
    return Item("Prefect's server and worker", fargate_usd(cpu, memory, hours, task.inputs["runtimePlatform"]["cpuArchitecture"]))


def run_usd(found: Graph) -> float:
    """What one daily flow costs: each of its steps for a minute, and the flow's own task while it waits."""
    tasks = {made.name: made for made in found.of("ecs/taskDefinition:TaskDefinition")}
    stack = next(found.of("ecs/cluster:Cluster")).name
    share = SPOT_SHARE if _spot(found) else 1.0
    minutes = {f"{stack}-{spec.name}": MINUTES for spec in steps()} | {f"{stack}-flows": JOBS_IN_FLOW_WAITING}
    return sum(
        share
        * fargate_usd(
            int(tasks[name].inputs["cpu"]),
            int(tasks[name].inputs["memory"]),
            count / 60,
            tasks[name].inputs["runtimePlatform"]["cpuArchitecture"],
        )
        for name, count in minutes.items()
    )


def steps() -> list[JobSpec]:
    """The jobs of the daily flow; dropped files come when they come."""
    return [spec for spec in catalogue() if "drop" not in spec.reads]


def _spot(found: Graph) -> bool:
    (strategy,) = next(found.of("ecs/clusterCapacityProviders:ClusterCapacityProviders")).inputs["defaultCapacityProviderStrategies"]
    return bool(strategy["capacityProvider"] == "FARGATE_SPOT")


def page() -> str:
    """COSTS.md."""
    graphs = {name: graph(choices=choices) for name, choices in CHOICES.items()}
    totals = {name: sum(item.usd for item in bill(found)) for name, found in graphs.items()}
    base = totals["Pulumi.dev.yaml"]
    dev, prod = graphs["Pulumi.dev.yaml"], graphs["Pulumi.prod.yaml"]
    groups = sorted({item.what for found in (dev, prod) for item in bill(found)})
    of = {name: {what: sum(item.usd for item in bill(graphs[name]) if item.what == what) for what in groups} for name in CHOICES}
    biggest = max(groups, key=lambda what: of["Pulumi.dev.yaml"][what])
    lines = [
        "# What it costs",
        "",
        "US dollars a month at list prices in us-east-1, computed by `./scripts/costs` from the resources that the program asks for and",
        "the prices in `costs.py`. No tax, no free tier, no commitment. eu-central-1 is about 15 to 20 % dearer. Data: S3 0.023 a GB and",
        f"month, NAT {NAT_GB} a GB; the lake and the images come through the S3 endpoint, which is free.",
        "",
        "## When nothing runs",
        "",
        "| for | Pulumi.dev.yaml | Pulumi.prod.yaml |",
        "| --- | ---: | ---: |",
        *(f"| {what} | {of['Pulumi.dev.yaml'][what]:.2f} | {of['Pulumi.prod.yaml'][what]:.2f} |" for what in groups),
        f"| **together** | **{base:.2f}** | **{totals['Pulumi.prod.yaml']:.2f}** |",
        "",
        "## What one choice changes, from Pulumi.dev.yaml",
        "",
        "| choice | a month | more |",
        "| --- | ---: | ---: |",
        *(f"| {name} | {total:.2f} | {total - base:+.2f} |" for name, total in totals.items()),
        "",
        "## A run",
        "",
        f"The daily flow: {len(steps())} steps of a minute (Fargate counts no less), and its own task for {JOBS_IN_FLOW_WAITING}:",
        "",
        "| stack | a run | a month of working days |",
        "| --- | ---: | ---: |",
        *(
            f"| {name} | {run_usd(graphs[name]):.4f} | {run_usd(graphs[name]) * RUNS_A_MONTH:.2f} |"
            for name in ("Pulumi.dev.yaml", "Pulumi.prod.yaml")
        ),
        "",
        "## How to halve it",
        "",
        f"- The largest part of a small stack is the {biggest} ({of['Pulumi.dev.yaml'][biggest]:.2f}). Where a VPC with a way out is there",
        "  already, give its gateway to these subnets and take ours out of `network.py`.",
        "- Stop server, worker and databases outside working hours: `aws ecs update-service --desired-count 0` and",
        f"  `aws rds stop-db-instance` in a scheduler, 12 of 24 hours on 22 of 30 days: {_asleep(dev):.2f} a month less.",
        f"- One database instance for both, with two databases on it: {of['Pulumi.dev.yaml']['database of Prefect']:.2f} less; a restart",
        "  of one is a restart of both.",
        "- Spare capacity for jobs is on already (`finelt:spot`); a run costs so little that nothing else about it is worth a thought.",
        "",
    ]
    return "\n".join(lines)


def _asleep(found: Graph) -> float:
    """What does not run at night and at weekends saves; disks and secrets stay."""
    share = 1 - (12 * 22) / (24 * 30)
    services = sum(item.usd for item in bill(found) if item.what.startswith("Prefect's"))
    databases = sum(DATABASE_HOUR[made.inputs["instanceClass"]] * HOURS for made in found.of("rds/instance:Instance"))
    return share * (services + databases)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    click.echo(f"written: {PAGE}")
