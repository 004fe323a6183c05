"""The cost of a stack, computed from list prices and the resources that the program creates. Writes COSTS.md.

Prices are US dollars in us-east-1 without tax, free tiers and commitments; eu-central-1 is about 15 to 20 % more expensive.
Source: the pricing pages of AWS, recalled in 2026 and not fetched; check them before you budget.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click
from jobkit.version import version_option

from infra.nat_instance import DISK_GB as DISK_GB_OF_NAT
from infra.settings import ZONES
from infra.testing.mock_engine import Graph, Resource, graph, start_graphs
from jobs.catalogue import DROP, catalogue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from jobs.catalogue import JobSpec

HOURS = 730  # in a month
PAGE = Path(__file__).with_name("COSTS.md")
FARGATE = {"ARM64": (0.03238, 0.00356), "X86_64": (0.04048, 0.004445)}  # a vCPU-hour, a GB-hour
SPOT_SHARE = 0.3  # of the on-demand price, roughly; it varies
NAT_HOUR, NAT_GB, ADDRESS_HOUR, ENDPOINT_HOUR = 0.045, 0.045, 0.005, 0.01
DATABASE_HOUR = {"db.t4g.micro": 0.016, "db.t4g.small": 0.032, "db.t4g.medium": 0.065, "db.t4g.large": 0.129}
DISK_GB, CACHE_HOUR = 0.115, 0.0128
NAT_INSTANCE_HOUR, NAT_DISK_GB = 0.0042, 0.08  # t4g.nano; gp3
SECRET, MANAGED_SECRETS, KEY, ALARM, DASHBOARD, ZONE = 0.40, 0.40, 1.00, 0.10, 3.00, 0.50
INSIGHTS = 5.00  # Container Insights metrics of a cluster with few services
RUNS_A_MONTH = 22  # working days
STEP_MINUTES = 1  # Fargate bills at least a minute
FLOW_MINUTES = 5  # how long the task of the flow waits for its steps
DEV, PROD = "Pulumi.dev.yaml", "Pulumi.prod.yaml"
LARGE = {"warehouse_class": "db.t4g.large", "warehouse_gb": "100", "prefect_class": "db.t4g.small"}
PROD_CHOICES = {**LARGE, "egress": "nat-per-zone", "spot": "false", "multi_az": "true", "server_replicas": "2"}
LOW_COST = {"egress": "nat-instance", "insights": "false"}
CHOICES: dict[str, dict[str, str]] = {
    DEV: {},
    "low cost: a NAT instance, no insights": LOW_COST,
    "x86 instead of ARM": {"architecture": "x86_64"},
    "a NAT gateway in each zone": {"egress": "nat-per-zone"},
    "endpoints, no internet": {"egress": "endpoints"},
    "databases with a standby": {"multi_az": "true"},
    "two servers with Redis": {"server_replicas": "2"},
    "a larger warehouse": LARGE,
    PROD: PROD_CHOICES,
}


class BillItem(NamedTuple):
    """One line of the monthly bill."""

    group: str
    usd: float


def compute_fargate_usd(cpu: int, memory: int, hours: float, architecture: str) -> float:
    """Return the price of a task with `cpu` Fargate units and `memory` MiB for some hours, in US dollars."""
    vcpu_hour, gb_hour = FARGATE[architecture]
    return hours * (cpu / 1024 * vcpu_hour + memory / 1024 * gb_hour)


def list_bill(stack: Graph) -> Iterator[BillItem]:
    """Yield what a stack costs in a month in which no job runs."""
    prices: dict[str, Callable[[Resource], BillItem]] = {
        "ec2/natGateway:NatGateway": lambda _: BillItem("NAT", NAT_HOUR * HOURS),
        "ec2/instance:Instance": lambda _: BillItem("NAT", NAT_INSTANCE_HOUR * HOURS + NAT_DISK_GB * DISK_GB_OF_NAT),
        "ec2/eip:Eip": lambda _: BillItem("NAT", ADDRESS_HOUR * HOURS),
        "rds/instance:Instance": _price_database,
        "elasticache/replicationGroup:ReplicationGroup": lambda resource: BillItem(
            "Redis", CACHE_HOUR * HOURS * resource.inputs["numCacheClusters"]
        ),
        "ecs/cluster:Cluster": lambda resource: BillItem("CloudWatch", INSIGHTS if _has_insights(resource) else 0.0),
        "cloudwatch/metricAlarm:MetricAlarm": lambda _: BillItem("CloudWatch", ALARM),
        "cloudwatch/dashboard:Dashboard": lambda _: BillItem("CloudWatch", DASHBOARD),
        "secretsmanager/secret:Secret": lambda _: BillItem("secrets and keys", SECRET),
        "kms/key:Key": lambda _: BillItem("secrets and keys", KEY),
        "servicediscovery/privateDnsNamespace:PrivateDnsNamespace": lambda _: BillItem("private DNS zone", ZONE),
    }
    tasks = {resource.name: resource for resource in stack.of("ecs/taskDefinition:TaskDefinition")}
    for resource in stack.resources:
        if resource.type in prices:
            yield prices[resource.type](resource)
        elif resource.type == "ecs/service:Service":
            yield _price_service(resource, tasks[resource.name])
        elif resource.type == "ec2/vpcEndpoint:VpcEndpoint" and resource.inputs["vpcEndpointType"] == "Interface":
            yield BillItem("endpoints", ENDPOINT_HOUR * HOURS * ZONES)


def _has_insights(cluster: Resource) -> bool:
    return cluster.inputs["settings"] == [{"name": "containerInsights", "value": "enabled"}]


def _price_database(resource: Resource) -> BillItem:
    copies = 2 if resource.inputs.get("multiAz") else 1
    hour = DATABASE_HOUR[resource.inputs["instanceClass"]]
    usd = copies * (hour * HOURS + DISK_GB * resource.inputs["allocatedStorage"]) + MANAGED_SECRETS
    return BillItem(f"database of {'Prefect' if resource.name.endswith('prefect') else 'the warehouse'}", usd)


def _price_service(resource: Resource, task: Resource) -> BillItem:
    return BillItem("Prefect's server and worker", _compute_task_usd(task, HOURS * resource.inputs["desiredCount"]))


def compute_run_usd(stack: Graph) -> float:
    """Return what one run of the daily flow costs: each step for a minute, and the flow's own task while it waits."""
    tasks = {resource.name: resource for resource in stack.of("ecs/taskDefinition:TaskDefinition")}
    cluster = next(stack.of("ecs/cluster:Cluster")).name
    share = SPOT_SHARE if _uses_spot(stack) else 1.0
    jobs_usd = sum(_compute_task_usd(tasks[f"{cluster}-{spec.name}"], STEP_MINUTES / 60) for spec in list_daily_jobs())
    return share * jobs_usd + _compute_task_usd(tasks[f"{cluster}-flows"], FLOW_MINUTES / 60)  # flows never run on spare capacity


def _compute_task_usd(task: Resource, hours: float) -> float:
    architecture = task.inputs["runtimePlatform"]["cpuArchitecture"]
    return compute_fargate_usd(int(task.inputs["cpu"]), int(task.inputs["memory"]), hours, architecture)


def _compute_session_usd(stack: Graph) -> float:
    """Return what the bastion costs in an hour in which somebody uses it."""
    return _compute_task_usd(stack.the("ecs/taskDefinition:TaskDefinition", "-bastion"), 1)


def list_daily_jobs() -> list[JobSpec]:
    """Return the jobs of the daily flow: all but the one that an event starts."""
    return [spec for spec in catalogue() if DROP not in spec.reads]


def _uses_spot(stack: Graph) -> bool:
    (strategy,) = next(stack.of("ecs/clusterCapacityProviders:ClusterCapacityProviders")).inputs["defaultCapacityProviderStrategies"]
    return bool(strategy["capacityProvider"] == "FARGATE_SPOT")


def render_page() -> str:
    """Return the text of COSTS.md."""
    start_graphs(CHOICES.values())
    stacks = {name: graph(choices=choices) for name, choices in CHOICES.items()}
    bills = {name: list(list_bill(stack)) for name, stack in stacks.items()}
    sections = [
        _render_head(),
        _render_idle_costs(bills),
        _render_choices(bills),
        _render_run_costs(stacks),
        _render_savings(stacks, bills),
    ]
    return "\n\n".join(sections) + "\n"


def _render_head() -> str:
    return f"""\
# Costs

US dollars per month at list prices in us-east-1. `./scripts/costs` computes them from the resources that the program creates and the
prices in `costs.py`. The prices are not fetched from AWS, so check them before you budget. Taxes, free tiers and commitments are not
included. eu-central-1 is about 15 to 20 % more expensive.
Data costs extra: S3 0.023 per GB and month, NAT {NAT_GB} per GB. Traffic of the lake and the images uses the S3 endpoint, which is free."""


def _render_idle_costs(bills: Mapping[str, list[BillItem]]) -> str:
    dev, prod = _sum_groups(bills[DEV]), _sum_groups(bills[PROD])
    rows = [f"| {group} | {dev.get(group, 0):.2f} | {prod.get(group, 0):.2f} |" for group in sorted({*dev, *prod})]
    total = f"| **total** | **{_sum_bill(bills[DEV]):.2f}** | **{_sum_bill(bills[PROD]):.2f}** |"
    head = ["## Fixed cost per month", "", f"| item | {DEV} | {PROD} |", "| --- | ---: | ---: |"]
    return "\n".join([*head, *rows, total])


def _render_choices(bills: Mapping[str, list[BillItem]]) -> str:
    base = _sum_bill(bills[DEV])
    rows = [f"| {name} | {_sum_bill(bill):.2f} | {_sum_bill(bill) - base:+.2f} |" for name, bill in bills.items()]
    head = [f"## What one choice adds to {DEV}", "", "| choice | per month | difference |", "| --- | ---: | ---: |"]
    return "\n".join([*head, *rows])


def _render_run_costs(stacks: Mapping[str, Graph]) -> str:
    steps, runs = len(list_daily_jobs()), {name: compute_run_usd(stacks[name]) for name in (DEV, PROD)}
    return "\n".join(
        [
            "## Cost of a run",
            "",
            (
                f"A run of the daily flow has {steps} steps of one minute, the least that Fargate bills. The flow's own task runs for "
                f"{FLOW_MINUTES} minutes."
            ),
            "",
            "| stack | per run | per month of 22 working days |",
            "| --- | ---: | ---: |",
            *(f"| {name} | {usd:.4f} | {usd * RUNS_A_MONTH:.2f} |" for name, usd in runs.items()),
            "",
            f"An hour of `./scripts/stack connect` costs {_compute_session_usd(stacks[DEV]):.3f}.",
        ]
    )


def _render_savings(stacks: Mapping[str, Graph], bills: Mapping[str, list[BillItem]]) -> str:
    groups = _sum_groups(bills[DEV])
    largest = max(sorted(groups), key=lambda group: groups[group])
    low = _sum_bill(bills["low cost: a NAT instance, no insights"])
    return f"""\
## How to spend less

- **A stack for {low:.2f} a month**: set `finelt:egress: nat-instance` and `finelt:insights: false`. One alarm for failed runs
  replaces those of the jobs, and there is no dashboard. A small machine replaces the NAT gateway. If it fails, jobs reach no vendor
  for the minutes that AWS needs to restart it. Nobody patches it: replace it a few times a year with `pulumi up --replace` and its URN.
- The most expensive item of a small stack is {largest} ({groups[largest]:.2f}). If you have a VPC with a NAT gateway, route the stack's
  subnets through it and remove the gateway from `network.py`.
- Stop server, worker and databases outside working hours: schedule `aws ecs update-service --desired-count 0` and
  `aws rds stop-db-instance`. With 12 hours on 22 days per month this saves {_compute_off_hours_saving(stacks[DEV], bills[DEV]):.2f}.
- Put both databases on one instance. This saves {groups["database of Prefect"]:.2f}, but then they can only restart together.
- Jobs already run on spare capacity (`finelt:spot`); flows do not, because nothing retries a flow. A run costs so little that optimising it
  further saves almost nothing."""


def _sum_groups(bill: Iterable[BillItem]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for item in bill:
        sums[item.group] = sums.get(item.group, 0.0) + item.usd
    return sums


def _sum_bill(bill: Iterable[BillItem]) -> float:
    return sum(item.usd for item in bill)


def _compute_off_hours_saving(stack: Graph, bill: Iterable[BillItem]) -> float:
    """Return what stopping services and databases saves a month; disks and secrets still cost."""
    share = 1 - (12 * 22) / (24 * 30)
    services = sum(item.usd for item in bill if item.group.startswith("Prefect's"))
    databases = sum(DATABASE_HOUR[resource.inputs["instanceClass"]] * HOURS for resource in stack.of("rds/instance:Instance"))
    return share * (services + databases)


@click.command()
@version_option()
def main() -> None:
    """Write infra/COSTS.md: the cost of each choice for a stack, computed from the resources in the program."""
    PAGE.write_text(render_page(), encoding="utf-8")
    click.echo(f"written: {PAGE}")
